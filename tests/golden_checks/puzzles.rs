//! PuzzleMix: costs, energies, solvers, transport and mixed images.
//!
//! In these vectors every visible patch stays where it is: distance is dearer than what saliency gains. So they hold
//! the size of both; patches that move and compete are in the tests of `transport`.

use admix_api::contract::wild;
use admix_plugins::mixers::PuzzleMix;
use admix_plugins::mixers::puzzlemix::energy::mask_of;
use admix_plugins::mixers::puzzlemix::grid::{grown, saliency_shares};
use admix_plugins::mixers::puzzlemix::solve::{Icm, MinCut, Profile, Solve};
use admix_plugins::mixers::puzzlemix::{Problem, transport};
use admix_torch::{Kind, Tensor};

use super::{Golden, Tolerance};

/// float32 sums in another order.
const COSTS: Tolerance = Tolerance::relative(1e-5, 1e-7);
/// Truncated products of float32.
const WHOLE: Tolerance = Tolerance::absolute(1.0);
const IMAGES: Tolerance = Tolerance::absolute(1e-5);

/// One case of a file.
struct Case<'a> {
    golden: &'a Golden,
    prefix: String,
    blocks: i64,
    labels: i64,
    noisy: bool,
    mixer: PuzzleMix,
    partner: Tensor,
}

impl<'a> Case<'a> {
    fn of(golden: &'a Golden, prefix: String) -> Self {
        let settings = golden.integers(&format!("{prefix}.params_block_L_neigh_transport_tsize_adv1_adv2"));
        let strengths = golden.numbers(&format!("{prefix}.beta_gamma_eta_teps"));
        let mixer = PuzzleMix {
            blocks: vec![settings[0]],
            labels: settings[1],
            neigh: settings[2],
            transport: settings[3] == 1,
            t_size: settings[4],
            beta: strengths[0],
            gamma: strengths[1],
            eta: strengths[2],
            t_eps: strengths[3],
            std: Some(golden.numbers("std")),
            ..PuzzleMix::default()
        };
        assert_eq!(settings[5], settings[6], "noise on both images or on none");
        Self {
            partner: golden.get(&format!("{prefix}.perm")),
            golden,
            blocks: settings[0],
            labels: settings[1],
            noisy: settings[5] == 1,
            mixer,
            prefix,
        }
    }

    fn name(&self, member: &str) -> String {
        format!("{}.{member}", self.prefix)
    }

    fn get(&self, member: &str) -> Tensor {
        self.golden.get(&self.name(member))
    }

    fn check(&self, member: &str, found: &Tensor, tolerance: Tolerance) {
        self.golden.check(&self.name(member), found, tolerance);
    }

    fn partners(&self, of: &Tensor) -> Tensor {
        of.index_select(0, &self.partner)
    }

    /// The costs from images and saliency, and their whole numbers.
    fn costs(&self) {
        let (images, saliency) = (self.golden.get("images"), self.golden.get("saliency"));
        let shares = saliency_shares(&saliency, (self.blocks, self.blocks)).expect("shares");
        let terms = self
            .mixer
            .terms((&images, &self.partners(&images)), (&shares, &self.partners(&shares)))
            .expect("terms");
        self.check("unary_img2", &terms.own, COSTS);
        self.check("unary_img1", &terms.partner, COSTS);
        self.check("pw_v", &terms.vertical, COSTS);
        self.check("pw_h", &terms.horizontal, COSTS);
        let problem = terms.problem(&self.get("alpha"), self.labels, self.mixer.eta).expect("a problem");
        let unit = (1000 * self.blocks * self.blocks) as f64;
        self.check("cost_int", &(problem.unary * unit).trunc(), WHOLE);
        self.check("edge_v_int", &(problem.vertical * unit).trunc(), WHOLE);
        self.check("edge_h_int", &(problem.horizontal * unit).trunc(), WHOLE);
    }

    /// The problem that the authors' solver was given.
    fn whole_problem(&self) -> Problem {
        let of = |member| self.get(member).to_kind(Kind::Double);
        Problem { unary: of("cost_int"), vertical: of("edge_v_int"), horizontal: of("edge_h_int") }
    }

    /// The energy as the authors' solver counts it: 100 times the costs, a table of whole numbers.
    fn energy(&self, problem: &Problem, labels: &Tensor) -> Tensor {
        let last = (self.labels - 1) as f64;
        // (l - l')^2 100 / (L - 1)^2: the product first, so that a whole number stays one.
        let pairs = problem
            .energy_by(labels, |squares| Ok((squares * 100.0 / (last * last)).trunc()))
            .expect("an energy");
        let own = problem.energy_by(labels, |squares| Ok(squares.zeros_like())).expect("an energy");
        pairs + own * 99.0
    }

    fn energies(&self) {
        let mask = self.get("mask");
        let labels: Tensor = (1.0 - &mask) * (self.labels - 1) as f64;
        let labels = labels.round().to_kind(Kind::Int64);
        Tolerance::absolute(1e-6).check(
            "the mask of labels",
            &mask_of(&labels, self.labels).expect("a mask"),
            &mask,
        );
        self.check("energy_int", &self.energy(&self.whole_problem(), &labels), Tolerance::EXACT);
        self.check("ratio", &mask.mean_dim([1i64, 2].as_slice(), false, None), Tolerance::absolute(1e-6));
    }

    /// Solutions: exact ones have the known optimum, others are near it and never below.
    fn solutions(&self, gaps: &mut Vec<f64>, reference: &mut Vec<f64>) {
        let optimal = self.get("energy_int_optimal").to_kind(Kind::Double);
        let problem = self.whole_problem();
        if self.labels == 4 {
            // The table of whole numbers is another problem, whose optimum was not computed.
            assert!(optimal.eq(-1.0).all().int64_value(&[]) == 1);
            return;
        }
        let exact = self.energy(&problem, &MinCut.solve(&problem).expect("labels"));
        self.check("energy_int_optimal", &exact, Tolerance::EXACT);
        if Profile::states(self.blocks, self.labels).is_some() {
            let exact = self.energy(&problem, &Profile.solve(&problem).expect("labels"));
            self.check("energy_int_optimal", &exact, Tolerance::EXACT);
        }
        // As in training: float32 costs that were never rounded are as good, these are the ones that can be judged.
        let single = Problem {
            unary: problem.unary.to_kind(Kind::Float),
            vertical: problem.vertical.to_kind(Kind::Float),
            horizontal: problem.horizontal.to_kind(Kind::Float),
        };
        let found = self.energy(&problem, &Icm::default().solve(&single).expect("labels"));
        assert!(found.ge_tensor(&optimal).all().int64_value(&[]) == 1, "{}: below the optimum", self.prefix);
        let random = (0..20).map(|i| {
            let draw = wild(&self.get("mask").size(), f64::from(i), Kind::Double).abs();
            self.energy(
                &problem,
                &(draw * self.labels as f64).floor().clamp_max((self.labels - 1) as f64).to_kind(Kind::Int64),
            )
        });
        let random = Tensor::stack(&random.collect::<Vec<_>>(), 0).mean_dim([0i64].as_slice(), false, None);
        let gap = |energy: &Tensor| {
            Vec::<f64>::try_from((energy - &optimal) / (&random - &optimal)).expect("numbers")
        };
        gaps.extend(gap(&found));
        reference.extend(gap(&self.get("energy_int").to_kind(Kind::Double)));
    }

    /// Own and partner images as they are mixed, with the adversarial noise of the case.
    fn images(&self) -> (Tensor, Tensor) {
        let images = self.golden.get("images");
        if !self.noisy {
            return (images.shallow_clone(), self.partners(&images));
        }
        let (mean, std) = (self.golden.get("mean"), self.golden.get("std"));
        let noise = self.get("noise");
        let noisy = |images: &Tensor, noise: &Tensor| {
            ((images * &std + &mean + noise).clamp(0.0, 1.0) - &mean) / &std
        };
        (noisy(&images, &noise), noisy(&self.partners(&images), &self.partners(&noise)))
    }

    fn plans(&self) {
        let saliency = self.golden.get("saliency");
        let (_, height, width) = saliency.size3().expect("saliency");
        let grid = self.mixer.patches((height, width), self.blocks);
        let mask = grown(&self.get("mask"), grid).expect("a mask");
        self.check("transport_mask", &mask.unsqueeze(1), Tolerance::EXACT);
        let shares = saliency_shares(&saliency, grid).expect("shares");
        for (member, mask, shares) in [
            ("plan1_src", mask.shallow_clone(), shares.shallow_clone()),
            ("plan2_src", 1.0 - &mask, self.partners(&shares)),
        ] {
            let plan = transport::plan(&mask, &shares, self.mixer.t_eps).expect("a plan");
            let seen = mask.gt(0.0).flatten(1, 2);
            let wanted = self.get(member).to_kind(Kind::Int64);
            let hole = wanted.eq(-1);
            let wanted = wanted.masked_fill(&hole, grid.0 * grid.1);
            let wrong = plan.ne_tensor(&wanted).logical_and(&seen).sum(Kind::Int64).int64_value(&[]);
            assert_eq!(wrong, 0, "{}", self.name(member));
        }
    }

    fn blends(&self) {
        let (own, partner) = self.images();
        let saliency = self.golden.get("saliency");
        let mask = self.get("mask");
        let out = self
            .mixer
            .blend((&own, &partner), (&saliency, &self.partners(&saliency)), &mask)
            .expect("images");
        self.check("out", &out, IMAGES);
    }
}

fn check(golden: &Golden) {
    let (mut gaps, mut reference) = (Vec::new(), Vec::new());
    let prefixes: Vec<String> = golden
        .names()
        .filter_map(|name| Some(name.strip_suffix(".params_block_L_neigh_transport_tsize_adv1_adv2")?.into()))
        .collect();
    assert!(!prefixes.is_empty());
    for prefix in prefixes {
        let case = Case::of(golden, prefix);
        case.costs();
        case.energies();
        case.solutions(&mut gaps, &mut reference);
        if case.mixer.transport {
            case.plans();
        }
        if golden.has(&case.name("out")) {
            case.blends();
        }
    }
    let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
    let most = gaps.iter().fold(0.0, |most: f64, gap| most.max(*gap));
    let (own, theirs) = (mean(&gaps), mean(&reference));
    assert!(own <= 5e-4 && most <= 0.02, "the gap of ICM: mean {own}, at most {most}");
    assert!(own <= theirs + 2e-4, "the gap of ICM is {own}, the reference's {theirs}");
}

pub fn mixers_puzzlemix_mask(golden: &Golden) {
    check(golden);
}

pub fn mixers_puzzlemix_64(golden: &Golden) {
    check(golden);
}

pub fn mixers_puzzlemix_transport(golden: &Golden) {
    check(golden);
}

#[test]
fn the_reference_tells_costs_and_transport_from_other_forms() {
    let golden = Golden::open("mixers_puzzlemix_transport");
    let case = |mixer: fn(PuzzleMix) -> PuzzleMix| {
        let mut case = Case::of(&golden, "case5".into());
        case.mixer = mixer(case.mixer);
        case
    };
    let holds = |work: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_ok();
    let same = case(|mixer| mixer);
    assert!(holds(&|| same.costs()) && holds(&|| same.plans()) && holds(&|| same.blends()));
    for (what, other) in [
        ("another gamma", case(|mixer| PuzzleMix { gamma: mixer.gamma * 1.01, ..mixer })),
        ("another beta", case(|mixer| PuzzleMix { beta: mixer.beta * 1.01, ..mixer })),
        ("another prior", case(|mixer| PuzzleMix { eta: mixer.eta * 1.1, ..mixer })),
        ("another neighbourhood", case(|mixer| PuzzleMix { neigh: mixer.neigh / 2, ..mixer })),
        (
            "one deviation for all channels",
            case(|mixer| PuzzleMix { std: mixer.std.map(|all| vec![all[0]]), ..mixer }),
        ),
    ] {
        assert!(!holds(&|| other.costs()), "the reference does not notice {what}");
    }
    let near = case(|mixer| PuzzleMix { t_eps: 0.0, ..mixer });
    assert!(!holds(&|| near.plans()), "the reference does not notice that moving costs nothing");
}
