//! Co-Mixup: costs, energies, solvers, the whole search, objectives, targets and mixed images.
//!
//! The search is sensitive: one other labelling changes everything after it. So solvers are judged labelling by labelling,
//! by energies. With the authors' solver and form the search makes the authors' outputs, but where labellings cost the
//! same: half of the cases are enough.

use std::sync::Mutex;

use admix_api::{Credit, LossInput, MixInput, Mixer, Plan, Value};
use admix_plugins::mixers::CoMixup;
use admix_plugins::mixers::co_mixup::part::{Assignment, Part, Search, compatibility};
use admix_plugins::mixers::co_mixup::problem::{PairCosts, Problem};
use admix_plugins::mixers::co_mixup::solve::{BeliefPropagation, Both, Solve, Swap};
use admix_plugins::mixers::co_mixup::{Form, Solver, Threshold, composed};
use admix_torch::{Device, Kind, Tensor};

use super::{Golden, Tolerance};

/// float32 products and logarithms in another order.
const COSTS: Tolerance = Tolerance::absolute(2e-6);
/// Sums of a few hundred of them.
const OBJECTIVE: Tolerance = Tolerance::relative(1e-6, 1e-5);
const SHARES: Tolerance = Tolerance::absolute(1e-6);
const IMAGES: Tolerance = Tolerance::absolute(1e-5);

fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).reshape([-1])).expect("numbers")
}

/// One stored labelling of one output.
struct Stored {
    name: String,
    problem: Problem,
    /// Of the whole numbers that the authors' solver minimises.
    whole: Problem,
    labels: Vec<usize>,
    energy: f64,
}

impl Stored {
    fn of(golden: &Golden, inputs: usize, name: String) -> Self {
        let member = |member: &str| format!("{name}.{member}");
        let (unary, table) = (golden.get(&member("unary")), golden.get(&member("pairwise")));
        let (blocks, _, count) = unary.size3().expect("unary costs");
        let edge = golden.get(&member("edge")).to_kind(Kind::Float);
        let problem = |unary: &Tensor, weight: f64, table: &Tensor| {
            let table = numbers(table);
            let rows: Vec<&[f64]> = table.chunks_exact(count as usize).collect();
            let pairs = rows[inputs..].iter().map(|row| row.to_vec()).collect();
            let costs = PairCosts::of_rows(inputs, pairs);
            for (one, row) in rows.iter().enumerate() {
                for (other, cost) in row.iter().enumerate() {
                    assert_eq!(costs.between(one, other), *cost, "{name}: labels {one} and {other}");
                }
            }
            Problem { blocks: blocks as usize, unary: numbers(unary), weight, costs }
        };
        Self {
            problem: problem(&unary, numbers(&edge)[0], &table),
            // Products of float32, truncated; the table in hundredths.
            whole: problem(
                &(&unary * 1e5).trunc(),
                numbers(&(&edge * 1e3).trunc())[0] * 100.0,
                &((&table * 100.0).trunc() / 100.0),
            ),
            labels: golden.integers(&member("labels")).into_iter().map(|label| label as usize).collect(),
            energy: golden.number(&member("energy_int")),
            name,
        }
    }

    /// By how much the energy of labels is above the stored one, relative to what the stored labels gain over the cheapest
    /// label of each cell.
    fn gap(&self, labels: &[usize]) -> f64 {
        let gain = self.whole.energy(&self.whole.cheapest()) - self.energy;
        (self.whole.energy(labels) - self.energy) / gain.abs().max(1.0)
    }

    /// The pairs of inputs that the labels after the inputs stand for.
    fn pairs(&self, inputs: usize) -> Vec<[usize; 2]> {
        let members = |label: usize| {
            let members: Vec<usize> =
                (0..inputs).filter(|input| self.problem.costs.between(label, *input) == 0.25).collect();
            members.try_into().expect("a pair has two members")
        };
        (inputs..self.problem.costs.labels()).map(members).collect()
    }
}

/// The authors' solver: swap moves on whole numbers, products of float32 that are truncated. Keeps what it was asked and
/// what it answered.
#[derive(Debug, Default)]
struct Authors(Mutex<Vec<(Problem, Vec<usize>)>>);

impl Solve for Authors {
    fn solve(&self, problem: &Problem) -> Vec<usize> {
        let whole = |value: f64, unit: f32| f64::from((value as f32 * unit).trunc());
        let labels = Swap.solve(&Problem {
            unary: problem.unary.iter().map(|cost| whole(*cost, 1e5)).collect(),
            // The table has no more than two decimals.
            weight: whole(problem.weight, 1e3) * 100.0,
            ..problem.clone()
        });
        self.0.lock().expect("no panic").push((problem.clone(), labels.clone()));
        labels
    }
}

/// One case of the file.
struct Case<'a> {
    golden: &'a Golden,
    prefix: String,
    mixer: CoMixup,
    inputs: usize,
    blocks: i64,
    part: Part,
    solves: Vec<Stored>,
}

impl<'a> Case<'a> {
    fn all(golden: &'a Golden) -> Vec<Self> {
        let marker = ".params_m_block_niter_soft_resolve";
        let prefixes: Vec<String> =
            golden.names().filter_map(|name| Some(name.strip_suffix(marker)?.to_string())).collect();
        assert!(!prefixes.is_empty());
        prefixes.into_iter().map(|prefix| Self::of(golden, prefix, |mixer| mixer)).collect()
    }

    /// With settings changed by `change`.
    fn of(golden: &'a Golden, prefix: String, change: fn(CoMixup) -> CoMixup) -> Self {
        let name = |member: &str| format!("{prefix}.{member}");
        let params = golden.integers(&name("params_m_block_niter_soft_resolve"));
        let weights = golden.numbers(&name("beta_gamma_thres_eta_alpha_omega"));
        let mixer = change(CoMixup {
            blocks: vec![params[1]],
            part: params[0],
            sweeps: params[2] as usize,
            threshold: if params[3] == 1 { Threshold::Soft } else { Threshold::Hard },
            resolve: params[4] == 1,
            beta: weights[0],
            gamma: weights[1],
            tau: weights[2],
            eta: weights[3],
            omega: weights[5],
            form: Form::Code,
            solver: Solver::Swap,
            ..CoMixup::default()
        });
        let inputs = params[0] as usize;
        let saliency = golden.numbers(&name("saliency_norm"));
        let mut part =
            mixer.posed(&saliency, &vec![0.0; inputs * inputs], &golden.numbers(&name("dirichlet")));
        part.compatibility = golden.numbers(&name("A"));
        let stored = |k: usize| {
            let solve = name(&format!("solve{k}"));
            golden.has(&format!("{solve}.energy_int")).then(|| Stored::of(golden, inputs, solve))
        };
        let solves = (0..).map_while(stored).collect();
        Self { golden, inputs, blocks: params[1], part, mixer, solves, prefix }
    }

    fn name(&self, member: &str) -> String {
        format!("{}.{member}", self.prefix)
    }

    fn get(&self, member: &str) -> Tensor {
        self.golden.get(&self.name(member))
    }

    fn start(&self) -> Assignment {
        let cells = self.golden.integers(&self.name("init_labels"));
        Assignment::of_inputs(self.inputs, &cells.into_iter().map(|input| input as usize).collect::<Vec<_>>())
    }

    /// The assignment of the authors' code.
    fn assignment(&self) -> Assignment {
        let cell = |halves: &[f64]| -> [usize; 2] {
            let shown = halves.iter().enumerate().flat_map(|(i, n)| std::iter::repeat_n(i, *n as usize));
            shown.collect::<Vec<_>>().try_into().expect("two halves")
        };
        let halves = numbers(&self.get("assignment"));
        Assignment::new(self.inputs, halves.chunks_exact(self.inputs).map(cell).collect())
    }

    /// Labels `[m, 2, b, b]` of an assignment, as they go to the device.
    fn labels(&self, assignment: &Assignment) -> Tensor {
        let cells: Vec<i64> = assignment.cells().iter().flatten().map(|input| *input as i64).collect();
        Tensor::from_slice(&cells)
            .reshape([self.inputs as i64, self.blocks, self.blocks, 2])
            .permute([0i64, 3, 1, 2])
    }

    /// The compatibility, from distances of which only the ratios are known.
    fn compatibilities(&self) {
        let a = self.part.compatibility.clone();
        let apart = |at: usize| at / self.inputs != at % self.inputs;
        let distances: Vec<f64> =
            a.iter().enumerate().map(|(at, a)| if apart(at) { 7.0 * a } else { 0.0 }).collect();
        let found = compatibility(&distances, self.inputs, self.mixer.omega);
        COSTS.check(&self.name("A"), &Tensor::from_slice(&found), &Tensor::from_slice(&a));
    }

    /// The labelling of the first outputs of the first sweep, from the start and the labels stored for those before.
    fn first_problems(&self) {
        let start = self.start();
        let mut counts: Vec<Vec<f64>> = (0..self.inputs).map(|output| start.counts(output)).collect();
        // Of few solves the second is of a later sweep.
        for (output, stored) in self.solves.iter().enumerate().take(if self.solves.len() > 2 { 2 } else { 1 })
        {
            let others: Vec<f64> = (0..self.inputs)
                .map(|input| counts.iter().map(|of| of[input]).sum::<f64>() - counts[output][input])
                .collect();
            let problem = self.part.problem(&self.part.penalty(&others), &[]);
            self.same_problem(stored, &problem);
            counts[output] = (0..self.inputs)
                .map(|input| stored.labels.iter().filter(|label| **label == input).count() as f64)
                .collect();
        }
    }

    fn same_problem(&self, stored: &Stored, problem: &Problem) {
        COSTS.check(
            &format!("{}.unary", stored.name),
            &Tensor::from_slice(&problem.unary),
            &Tensor::from_slice(&stored.problem.unary),
        );
        COSTS.check_number(&format!("{}.edge", stored.name), problem.weight, stored.problem.weight);
        assert_eq!(problem.costs, stored.problem.costs, "{}.pairwise", stored.name);
    }

    /// Pair labels, from the costs of their members.
    fn pair_labels(&self) {
        for stored in &self.solves {
            let labels = stored.problem.costs.labels();
            let pairs = stored.pairs(self.inputs);
            let no_cells = Part { unary: vec![0.0; self.part.unary.len()], ..self.part.clone() };
            assert_eq!(no_cells.problem(&vec![0.0; self.inputs], &pairs).costs, stored.problem.costs);
            // The costs of the inputs as they are stored, those of the pairs from there.
            let inputs =
                stored.problem.unary.chunks_exact(labels).flat_map(|row| &row[..self.inputs]).copied();
            let part = Part { unary: inputs.collect(), ..self.part.clone() };
            self.same_problem(stored, &part.problem(&vec![0.0; self.inputs], &pairs));
        }
    }

    /// The whole search with the authors' solver. Tells whether it went the way of theirs: through every labelling and every
    /// value that is stored, to the same outputs.
    fn searches(&self) -> bool {
        let authors = Authors::default();
        let found = |sweeps: usize, resolve: bool| {
            self.part.search(self.start(), &Search { sweeps, resolve, solver: &authors })
        };
        if found(self.mixer.sweeps, self.mixer.resolve) != self.assignment() {
            return false;
        }
        let asked = std::mem::take(&mut *authors.0.lock().expect("no panic"));
        let mut later = asked.iter();
        let came_up = |stored: &Stored| {
            later.any(|(problem, labels)| {
                let gaps =
                    problem.unary.iter().zip(&stored.problem.unary).map(|(one, other)| (one - other).abs());
                problem.costs == stored.problem.costs
                    && gaps.fold(0.0, f64::max) < COSTS.absolute
                    && *labels == stored.labels
            })
        };
        // What is parted is so in the last sweep alone.
        let last = |sweeps| sweeps == self.mixer.sweeps;
        let value = |sweeps: usize| self.part.objective(&found(sweeps, self.mixer.resolve && last(sweeps)));
        let trace = self.golden.numbers(&self.name("objective_trace"));
        self.solves.iter().all(came_up)
            && (1..trace.len())
                .all(|sweeps| (value(sweeps) - trace[sweeps]).abs() < OBJECTIVE.relative * 100.0)
    }

    fn objectives(&self) {
        let (start, end) = (self.start(), self.assignment());
        let trace = self.golden.numbers(&self.name("objective_trace"));
        OBJECTIVE.check_number("the start of the trace", self.part.objective(&start), trace[0]);
        OBJECTIVE.check_number("the end of the trace", self.part.objective(&end), trace[trace.len() - 1]);
        let found = [self.part.objective(&end), self.part.thresholded(&end)];
        self.golden.check(&self.name("objective"), &Tensor::from_slice(&found), OBJECTIVE);
    }

    /// Targets and images of the stored assignment.
    fn outputs(&self) {
        let assignment = self.assignment();
        let cells = (self.blocks * self.blocks) as f64;
        let shares: Vec<f32> = (0..self.inputs)
            .flat_map(|output| assignment.counts(output))
            .map(|count| (count / cells) as f32)
            .collect();
        let m = self.inputs as i64;
        let sources = Tensor::arange(m, (Kind::Int64, Device::Cpu)).unsqueeze(0).expand([m, m], false);
        self.check_target(&Credit::Shares { sources, shares: Tensor::from_slice(&shares).reshape([m, m]) });
        if self.golden.has(&self.name("out")) {
            let images = self.golden.get("images").narrow(0, 0, m);
            let out = composed(&images, None, &self.labels(&assignment)).expect("images");
            self.golden.check(&self.name("out"), &out, IMAGES);
        }
    }

    fn check_target(&self, credit: &Credit) {
        let labels = self.golden.get("labels").narrow(0, 0, self.inputs as i64);
        let input = LossInput::default().with_target(credit, &labels).expect("a target");
        let wanted = self.get("target");
        let (of, shares) =
            (input.get("target.labels").expect("labels"), input.get("target.shares").expect("shares"));
        let dense = wanted.zeros_like().scatter_add(1, of, shares);
        self.golden.check(&self.name("target"), &dense, SHARES);
    }

    /// The mixer itself. Only where all inputs go together equally (omega 0): the whole saliency is not stored. Tells whether
    /// it made the stored assignment.
    fn mixes(&self) -> bool {
        let m = self.inputs as i64;
        let images = self.golden.get("images").narrow(0, 0, m);
        let (_, _, height, width) = images.size4().expect("images");
        let tall = [height / self.blocks, width / self.blocks];
        let saliency = self
            .get("saliency_norm")
            .repeat_interleave_self_int(tall[0], 1, None)
            .repeat_interleave_self_int(tall[1], 2, None);
        let plan = Plan::default()
            .with("prior", Value::Floats(self.golden.numbers(&self.name("dirichlet"))))
            .with("start", Value::Ints(self.golden.integers(&self.name("init_labels"))));
        let input = MixInput { saliency: Some(&saliency), ..MixInput::of(&images) };
        let mixed = self.mixer.clone().mix(&input, &plan.on(Device::Cpu).expect("a plan")).expect("a mix");
        let stored = self.get("assignment").to_kind(Kind::Float).permute([0i64, 3, 1, 2]) / 2.0;
        if !mixed.extras["assignment"].equal(&stored) {
            return false;
        }
        self.check_target(&mixed.credit);
        let blown = stored
            .repeat_interleave_self_int(tall[0], 2, None)
            .repeat_interleave_self_int(tall[1], 3, None)
            .unsqueeze(2);
        let blended = (blown * images.unsqueeze(0)).sum_dim_intlist([1i64].as_slice(), false, None);
        IMAGES.check(&self.name("mixed images"), &mixed.images, &blended);
        true
    }
}

pub fn mixers_comixup(golden: &Golden) {
    let cases = Case::all(golden);
    let solvers = [&BeliefPropagation::default() as &dyn Solve, &Swap, &Both];
    let mut gaps = [Vec::new(), Vec::new(), Vec::new()];
    for case in &cases {
        case.compatibilities();
        case.first_problems();
        case.pair_labels();
        case.objectives();
        case.outputs();
        for stored in &case.solves {
            assert_eq!(stored.whole.energy(&stored.labels), stored.energy, "{}", stored.name);
            for (gaps, solver) in gaps.iter_mut().zip(solvers) {
                gaps.push(stored.gap(&solver.solve(&stored.problem)));
            }
        }
    }
    let [bp, swap, both] = gaps.each_ref().map(|gaps| {
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        (mean, gaps.iter().fold(f64::MIN, |most, gap| most.max(*gap)))
    });
    assert!(gaps[0].len() > 20);
    // The default on every labelling, as good as the authors' solver or better.
    assert!(both.0 <= 0.0 && both.1 <= 0.01, "{both:?} of both");
    assert!(swap.0 <= 0.01, "{swap:?} of swap moves");
    assert!(bp.0 <= 0.01, "{bp:?} of belief propagation");
    let same = cases.iter().filter(|case| case.searches()).count();
    assert!(2 * same >= cases.len(), "the search went the authors' way in {same} of {} cases", cases.len());
    let mut alike = cases.iter().filter(|case| case.mixer.omega == 0.0).map(Case::mixes);
    assert!(alike.any(|same| same), "the mixer made no assignment of the authors' code");
}

#[test]
fn the_reference_tells_costs_and_objective_from_other_forms() {
    let golden = Golden::open("mixers_comixup");
    let holds = |change: fn(CoMixup) -> CoMixup, work: fn(&Case<'_>)| {
        let case = Case::of(&golden, "case0".into(), change);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&case))).is_ok()
    };
    let all: [fn(&Case<'_>); 3] =
        [|case| case.first_problems(), |case| case.pair_labels(), |case| case.objectives()];
    for work in all {
        assert!(holds(|mixer| mixer, work));
    }
    let first = all[0];
    assert!(!holds(|mixer| CoMixup { gamma: mixer.gamma * 1.01, ..mixer }, first), "another gamma");
    assert!(!holds(|mixer| CoMixup { eta: mixer.eta * 1.01, ..mixer }, first), "another prior");
    assert!(!holds(|mixer| CoMixup { beta: mixer.beta * 1.01, ..mixer }, first), "another beta");
    assert!(!holds(|mixer| CoMixup { tau: mixer.tau * 1.1, ..mixer }, first), "another threshold");
    assert!(
        !holds(|mixer| CoMixup { threshold: Threshold::Soft, ..mixer }, first),
        "another kind of threshold"
    );
    assert!(!holds(|mixer| CoMixup { form: Form::Objective, ..mixer }, first), "the penalty of all inputs");
    assert!(!holds(|mixer| CoMixup { form: Form::Objective, ..mixer }, all[1]), "pairs beside third inputs");
    assert!(!holds(|mixer| CoMixup { beta: mixer.beta * 1.01, ..mixer }, all[2]), "another smoothness");
}
