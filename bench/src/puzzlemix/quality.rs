//! How far each solver is from the optimum.
//!
//! The gap of labels is (E - E of the optimum) / (E expected of random labels - E of the optimum), energies in float64.

use std::fmt::Write as _;

use admix::output::{self, Format};
use admix_plugins::mixers::puzzlemix::Problem;
use admix_plugins::mixers::puzzlemix::energy::mask_of;
use admix_plugins::mixers::puzzlemix::solve::{Icm, MinCut, Profile, Solve};
use admix_torch::{Kind, Tensor, no_grad};
use anyhow::{Result, ensure};
use serde::Serialize;

use super::problems::Problems;

/// Gaps up to this are equality: costs are float32.
const ROUNDING: f64 = 1e-6;
/// What may be lost by the solver that training uses: mean and largest gap.
const GAP: (f64, f64) = (5e-4, 0.02);
/// How far its masks' means may be from the exact ones': mean distance, and distance of mean and quartiles.
const MEANS: f64 = 0.02;

/// What is expected of a solver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    /// The optimum.
    Optimum,
    /// To be near it: the solver that training uses on a GPU.
    Near,
    /// Nothing: shown for comparison.
    Nothing,
}

/// One solver on one grid.
#[derive(Debug, Serialize)]
struct Row {
    blocks: i64,
    problems: usize,
    solver: String,
    expected: Expected,
    lowest_gap: f64,
    mean_gap: f64,
    largest_gap: f64,
    /// Share of problems whose optimum was found.
    exact: f64,
    /// Mean distance of a mask's mean from the exact one's.
    dr: f64,
    /// Mean and quartiles of the masks' means.
    mean: f64,
    quartiles: [f64; 3],
}

/// Solves all problems with all solvers, prints the tables, and fails if a solver does not do what is expected of it.
pub fn quality(problems: impl Iterator<Item = Result<Problems>>, format: Format) -> Result<()> {
    let _no_graph = no_grad();
    let mut all = Vec::new();
    let mut missed = Vec::new();
    for problems in problems {
        let problems = problems?;
        let rows = rows(&problems)?;
        missed.extend(rows.iter().filter_map(|row| verdict(row, &rows[0])));
        if format == Format::Text {
            output::print(&table(&rows, quartiles(&problems.lambda)?))?;
        }
        all.extend(rows);
    }
    if format == Format::Json {
        output::print_json(&all)?;
    }
    ensure!(missed.is_empty(), "{}", missed.join("; "));
    Ok(())
}

/// The solvers of a grid; the first one's labels are the optimum.
fn solvers(blocks: i64, labels: i64) -> Vec<(String, Expected, Box<dyn Solve>)> {
    let icm = |iterations, sweeps| Box::new(Icm { iterations, sweeps }) as Box<dyn Solve>;
    let sweeps = Icm::default().sweeps;
    let mut all = vec![("minimum cut".to_string(), Expected::Optimum, Box::new(MinCut) as Box<dyn Solve>)];
    if Profile::states(blocks, labels).is_some() {
        all.push(("profile".into(), Expected::Optimum, Box::new(Profile)));
    }
    let default = Icm::default().iterations;
    all.push((format!("primal-dual {default} + ICM (default)"), Expected::Near, Box::new(Icm::default())));
    for iterations in [25, 50, 100, 200, 400].into_iter().filter(|iterations| *iterations != default) {
        let name = format!("primal-dual {iterations} + ICM");
        all.push((name, Expected::Nothing, icm(iterations, sweeps)));
    }
    all.push(("ICM alone".into(), Expected::Nothing, icm(0, 5)));
    all.push(("unary argmin".into(), Expected::Nothing, icm(0, 0)));
    all
}

fn rows(problems: &Problems) -> Result<Vec<Row>> {
    let Problems { blocks, problem, .. } = problems;
    let labels = problem.shape()?.2;
    let double = Problem {
        unary: problem.unary.f_to_kind(Kind::Double)?,
        vertical: problem.vertical.f_to_kind(Kind::Double)?,
        horizontal: problem.horizontal.f_to_kind(Kind::Double)?,
    };
    let random = random_energy(&double)?;
    let mut exact: Option<(Tensor, Tensor)> = None;
    let mut rows = Vec::new();
    for (solver, expected, how) in solvers(*blocks, labels) {
        let found = how.solve(problem)?;
        let energy = double.energy(&found)?;
        let mean = mask_of(&found, labels)?.f_mean_dim([1i64, 2].as_slice(), false, Kind::Double)?;
        let (optimum, exact_mean) =
            exact.get_or_insert_with(|| (energy.shallow_clone(), mean.shallow_clone()));
        let gap = energy.f_sub(optimum)?.f_div(&random.f_sub(optimum)?)?;
        let number = |of: Tensor| of.f_double_value(&[]);
        rows.push(Row {
            blocks: *blocks,
            problems: gap.size1()? as usize,
            solver,
            expected,
            lowest_gap: number(gap.f_min()?)?,
            mean_gap: number(gap.f_mean(Kind::Double)?)?,
            largest_gap: number(gap.f_max()?)?,
            exact: number(gap.f_le(ROUNDING)?.f_to_kind(Kind::Double)?.f_mean(Kind::Double)?)?,
            dr: number(mean.f_sub(exact_mean)?.f_abs()?.f_mean(Kind::Double)?)?,
            mean: number(mean.f_mean(Kind::Double)?)?,
            quartiles: quartiles(&mean)?,
        });
    }
    Ok(rows)
}

/// The energy that is expected of uniform random labels, `[N]`.
fn random_energy(problem: &Problem) -> Result<Tensor> {
    let (n, _, labels) = problem.shape()?;
    // Labels of different cells are independent: E (l - l')^2 = 2 Var l = (L^2 - 1) / 6.
    let pair = ((labels * labels - 1) as f64 / 6.0) / ((labels - 1) * (labels - 1)) as f64;
    let sum = |of: &Tensor| of.f_reshape([n, -1])?.f_sum_dim_intlist([1i64].as_slice(), false, None);
    let edges = sum(&problem.vertical)?.f_add(&sum(&problem.horizontal)?)?.f_mul_scalar(pair)?;
    Ok(sum(&problem.unary)?.f_div_scalar(labels as f64)?.f_add(&edges)?)
}

fn quartiles(of: &Tensor) -> Result<[f64; 3]> {
    let mut sorted: Vec<f64> =
        Vec::try_from(of.f_to_device(admix_torch::Device::Cpu)?.f_to_kind(Kind::Double)?)?;
    sorted.sort_by(f64::total_cmp);
    Ok([0.25, 0.5, 0.75].map(|share| {
        let place = share * (sorted.len() - 1) as f64;
        let (below, part) = (place.floor() as usize, place.fract());
        sorted[below] + part * (sorted[(below + 1).min(sorted.len() - 1)] - sorted[below])
    }))
}

/// What a solver does that is not expected of it.
fn verdict(row: &Row, exact: &Row) -> Option<String> {
    let of = |what: String| Some(format!("b = {}, {}: {what}", row.blocks, row.solver));
    if row.lowest_gap < -ROUNDING {
        return of(format!("an energy below the optimum, by {:.2e} of the gap", -row.lowest_gap));
    }
    match row.expected {
        Expected::Nothing => None,
        Expected::Optimum if row.largest_gap > ROUNDING => {
            of(format!("not exact, largest gap {:.2e}", row.largest_gap))
        }
        Expected::Optimum => None,
        Expected::Near if row.mean_gap > GAP.0 || row.largest_gap > GAP.1 => of(format!(
            "mean gap {}, largest {}; expected at most {} and {}",
            percent(row.mean_gap),
            percent(row.largest_gap),
            percent(GAP.0),
            percent(GAP.1)
        )),
        Expected::Near if row.dr > MEANS => of(format!("dr {:.4}, expected at most {MEANS}", row.dr)),
        Expected::Near => {
            let pairs = row.quartiles.iter().zip(&exact.quartiles).chain([(&row.mean, &exact.mean)]);
            let furthest = pairs.map(|(own, exact)| (own - exact).abs()).fold(0.0, f64::max);
            if furthest <= MEANS {
                return None;
            }
            of(format!(
                "mean or a quartile of the masks' means is off by {furthest:.4}, expected at most {MEANS}"
            ))
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.4} %", 100.0 * share)
}

fn table(rows: &[Row], lambda: [f64; 3]) -> String {
    let spread = |of: [f64; 3]| of.map(|q| format!("{q:.3}")).join(" / ");
    let mut text = format!(
        "b = {}, {} problems, quartiles of lambda {}\n\n\
         | solver | mean gap | largest gap | solved exactly | dr | quartiles of the masks' means |\n\
         |---|---|---|---|---|---|\n",
        rows[0].blocks,
        rows[0].problems,
        spread(lambda)
    );
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.1} % | {:.4} | {} |",
            row.solver,
            percent(row.mean_gap.max(0.0)),
            percent(row.largest_gap.max(0.0)),
            100.0 * row.exact,
            row.dr,
            spread(row.quartiles)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use admix_torch::Device;

    fn problem() -> Problem {
        let costs = |shape: &[i64], scale: f64| {
            let count: i64 = shape.iter().product();
            (Tensor::arange(count, (Kind::Double, Device::Cpu)) * scale).sin().abs().reshape(shape)
        };
        Problem {
            unary: costs(&[2, 2, 2, 3], 1.7),
            vertical: costs(&[2, 1, 2], 2.3),
            horizontal: costs(&[2, 2, 1], 0.9),
        }
    }

    #[test]
    fn the_energy_of_random_labels_is_the_mean_over_all_labels() {
        let problem = problem();
        let all = (0..81i64).map(|code| {
            let digits: Vec<i64> = (0..4).map(|i| code / 3i64.pow(i) % 3).collect();
            let labels = Tensor::from_slice(&digits).reshape([1, 2, 2]).expand([2, 2, 2], false);
            problem.energy(&labels).expect("an energy")
        });
        let mean =
            Tensor::stack(&all.collect::<Vec<_>>(), 0).mean_dim([0i64].as_slice(), false, Kind::Double);
        let found = random_energy(&problem).expect("an energy");
        assert!((found - mean).abs().max().double_value(&[]) < 1e-12);
    }

    #[test]
    fn quartiles_lie_between_values() {
        let of = |values: &[f64]| quartiles(&Tensor::from_slice(values)).expect("quartiles");
        assert_eq!(of(&[4.0, 0.0, 2.0, 1.0, 3.0]), [1.0, 2.0, 3.0]);
        assert_eq!(of(&[1.0, 0.0]), [0.25, 0.5, 0.75]);
        assert_eq!(of(&[5.0]), [5.0; 3]);
    }

    #[test]
    fn every_rule_can_be_missed() {
        let row = |expected| Row {
            blocks: 4,
            problems: 40,
            solver: "this one".into(),
            expected,
            lowest_gap: 0.0,
            mean_gap: 0.0,
            largest_gap: 0.0,
            exact: 1.0,
            dr: 0.0,
            mean: 0.5,
            quartiles: [0.25, 0.5, 0.75],
        };
        let exact = row(Expected::Optimum);
        let says = |row: &Row| verdict(row, &exact).unwrap_or_default();
        for expected in [Expected::Optimum, Expected::Near, Expected::Nothing] {
            assert_eq!(says(&row(expected)), "");
            assert!(says(&Row { lowest_gap: -1e-3, ..row(expected) }).contains("below the optimum"));
        }
        assert!(says(&Row { largest_gap: 1e-4, ..row(Expected::Optimum) }).contains("not exact"));
        let near = || row(Expected::Near);
        assert_eq!(says(&Row { largest_gap: 0.019, mean_gap: 4e-4, dr: 0.019, ..near() }), "");
        assert!(says(&Row { largest_gap: 0.021, ..near() }).contains("largest 2.1000 %"));
        assert!(says(&Row { mean_gap: 6e-4, ..near() }).starts_with("b = 4, this one: mean gap 0.0600 %"));
        assert!(says(&Row { dr: 0.021, ..near() }).contains("dr 0.0210"));
        assert!(says(&Row { mean: 0.53, ..near() }).contains("off by 0.0300"));
        assert!(says(&Row { quartiles: [0.25, 0.5, 0.70], ..near() }).contains("off by 0.0500"));
        assert_eq!(says(&Row { largest_gap: 0.5, dr: 0.5, ..row(Expected::Nothing) }), "");
    }
}
