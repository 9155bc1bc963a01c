//! `admix-bench comixup`: what Co-Mixup's solvers make of the same parts of real images.
//!
//! Every solver searches from the same starts. The reference are swap moves, as in the authors' code. Gaps are of single
//! labellings, those that come up in the reference's searches: (E - E of swap moves) / |E of swap moves - E of the
//! cheapest label of each cell|.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use admix::device::DeviceArgs;
use admix::output::{self, Format};
use admix::recipes::Changes;
use admix_plugins::mixers::CoMixup;
use admix_plugins::mixers::co_mixup::part::{Assignment, Part, Search};
use admix_plugins::mixers::co_mixup::places::{distances, places};
use admix_plugins::mixers::co_mixup::problem::Problem;
use admix_plugins::mixers::co_mixup::solve::{BeliefPropagation, Both, Solve, Swap};
use admix_plugins::mixers::puzzlemix::grid::saliency_shares;
use admix_torch::{Device, Kind, Tensor, no_grad};
use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::salient::Viewer;

/// How much more a labelling may cost than the reference's, as a gap.
const GAP: f64 = 0.01;
/// How far inputs per output and the spread of their use may be from the reference's, relative to it.
const USE: f64 = 0.15;

/// Flags of `admix-bench comixup`.
#[derive(Args)]
pub struct ComixupArgs {
    /// A trained run, its folder or a checkpoint: its network and training images make the parts.
    #[arg(long, value_name = "PATH")]
    checkpoint: PathBuf,
    #[command(flatten)]
    changes: Changes,
    /// Compare what the solvers end with, and hold the default to what is expected of it.
    #[arg(long, required = true)]
    quality: bool,
    /// Parts of 20 images.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(50..))]
    parts: u32,
    #[command(flatten)]
    device: DeviceArgs,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// A mean and its standard error.
#[derive(Debug, Clone, Copy, Serialize)]
struct Mean {
    mean: f64,
    error: f64,
}

impl Mean {
    fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Self { mean, error: (squares / (n - 1.0) / n).sqrt() }
    }

    fn told(self) -> String {
        format!("{:.2} +- {:.2}", self.mean, self.error)
    }
}

/// What one solver made of all parts.
#[derive(Debug, Serialize)]
struct Row {
    solver: &'static str,
    parts: usize,
    /// At the end, with the hard threshold.
    objective: Mean,
    /// Less that of swap moves on the same part.
    beyond_swap: Mean,
    inputs_per_output: f64,
    /// Standard deviation of how many whole outputs each input fills, mean over parts.
    spread: f64,
    /// Of the labellings of the reference's searches.
    mean_gap: f64,
    largest_gap: f64,
    /// Share of labellings with a gap above 1 %.
    above: f64,
    ms_per_part: f64,
}

/// Swap moves that keep what they were asked.
#[derive(Debug, Default)]
struct Kept(Mutex<Vec<Problem>>);

impl Solve for Kept {
    fn solve(&self, problem: &Problem) -> Vec<usize> {
        // Poisoned only by a panic, which ends the program.
        if let Ok(mut kept) = self.0.lock() {
            kept.push(problem.clone());
        }
        Swap.solve(problem)
    }
}

/// Measures Co-Mixup.
pub fn comixup(args: &ComixupArgs) -> Result<()> {
    let device = args.device.open()?;
    let viewer = Viewer::open(&args.checkpoint, &args.changes.set, device)?;
    let mixer = CoMixup::default();
    let posed = (0..args.parts as usize).map(|n| part(&viewer, &mixer, n)).collect::<Result<Vec<_>>>()?;
    let rows = rows(&mixer, &posed);
    match args.format {
        Format::Json => output::print_json(&rows)?,
        Format::Text => output::print(&told(&rows))?,
    }
    let missed = verdict(&rows[0], &rows[1]);
    ensure!(missed.is_empty(), "{}", missed.join("; "));
    Ok(())
}

/// A part as the mixer poses it in training, and its start.
fn part(viewer: &Viewer, mixer: &CoMixup, number: usize) -> Result<(Part, Assignment)> {
    let (inputs, blocks) = (mixer.part as usize, mixer.blocks[0]);
    let batch = viewer.batch(number, inputs)?;
    let _no_graph = no_grad();
    let list = |tensor: &Tensor| -> Result<Vec<f64>> {
        let host = tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?.f_contiguous()?;
        Ok(Vec::try_from(host.f_reshape([-1])?)?)
    };
    let shares = list(&saliency_shares(&batch.saliency, (blocks, blocks))?)?;
    let apart = distances(&list(&places(&batch.saliency, mixer.window, mixer.stride)?)?);
    let mut draws = viewer.streams().draws("mix", "bench", 0, number as u64);
    let prior = draws.dirichlet(2.0, inputs)?;
    let start: Vec<usize> = (0..inputs * (blocks * blocks) as usize).map(|_| draws.below(inputs)).collect();
    Ok((mixer.posed(&shares, &apart, &prior), Assignment::of_inputs(inputs, &start)))
}

/// The reference first, then the default.
fn rows(mixer: &CoMixup, posed: &[(Part, Assignment)]) -> Vec<Row> {
    let kept = Kept::default();
    let search = |part: &Part, start: &Assignment, solver: &dyn Solve| {
        part.search(start.clone(), &Search { sweeps: mixer.sweeps, resolve: mixer.resolve, solver })
    };
    for (part, start) in posed {
        search(part, start, &kept);
    }
    let labellings = kept.0.into_inner().unwrap_or_default();
    let reference: Vec<f64> = labellings.iter().map(|problem| problem.energy(&Swap.solve(problem))).collect();
    let bp = BeliefPropagation::default();
    let solvers: [(&str, &dyn Solve); 3] = [("Swap", &Swap), ("Both", &Both), ("Bp", &bp)];
    let mut of_swap = Vec::new();
    let mut rows = Vec::new();
    for (name, solver) in solvers {
        let (mut objectives, mut used, mut spreads) = (Vec::new(), 0.0, 0.0);
        let begin = Instant::now();
        let found: Vec<Assignment> = posed.iter().map(|(part, start)| search(part, start, solver)).collect();
        let ms_per_part = begin.elapsed().as_secs_f64() * 1e3 / posed.len() as f64;
        for ((part, _), found) in posed.iter().zip(&found) {
            objectives.push(part.thresholded(found));
            let (m, cells) = (part.inputs as f64, (part.blocks * part.blocks) as f64);
            let counts: Vec<Vec<f64>> = (0..part.inputs).map(|output| found.counts(output)).collect();
            used += counts.iter().flatten().filter(|count| **count > 0.0).count() as f64 / m;
            let filled = |input: usize| counts.iter().map(|of| of[input]).sum::<f64>() / cells;
            // Their mean is 1.
            spreads += ((0..part.inputs).map(|i| (filled(i) - 1.0).powi(2)).sum::<f64>() / m).sqrt();
        }
        if of_swap.is_empty() {
            of_swap.clone_from(&objectives);
        }
        let beyond: Vec<f64> = objectives.iter().zip(&of_swap).map(|(own, swap)| own - swap).collect();
        let gaps: Vec<f64> = labellings
            .iter()
            .zip(&reference)
            .filter_map(|(problem, swap)| {
                let gain = (swap - problem.energy(&problem.cheapest())).abs();
                (gain > 1e-9).then(|| (problem.energy(&solver.solve(problem)) - swap) / gain)
            })
            .collect();
        let count = gaps.len().max(1) as f64;
        rows.push(Row {
            solver: name,
            parts: posed.len(),
            objective: Mean::of(&objectives),
            beyond_swap: Mean::of(&beyond),
            inputs_per_output: used / posed.len() as f64,
            spread: spreads / posed.len() as f64,
            mean_gap: gaps.iter().sum::<f64>() / count,
            largest_gap: gaps.iter().fold(f64::MIN, |most, gap| most.max(*gap)),
            above: gaps.iter().filter(|gap| **gap > GAP).count() as f64 / count,
            ms_per_part,
        });
    }
    rows
}

/// What the default misses.
fn verdict(swap: &Row, own: &Row) -> Vec<String> {
    let mut missed = Vec::new();
    let objective = own.objective.mean - swap.objective.mean;
    if objective > swap.objective.error {
        missed.push(format!("the objective of {} is {objective:.2} above that of swap moves", own.solver));
    }
    for (what, own, swap) in [
        ("inputs per output", own.inputs_per_output, swap.inputs_per_output),
        ("the spread of use", own.spread, swap.spread),
    ] {
        if (own / swap - 1.0).abs() > USE {
            missed.push(format!("{what}: {own:.3}, with swap moves {swap:.3}"));
        }
    }
    if own.largest_gap > GAP {
        missed.push(format!("a labelling of {} has a gap of {:.4}", own.solver, own.largest_gap));
    }
    missed
}

fn told(rows: &[Row]) -> String {
    let heading = [
        "solver",
        "objective",
        "beyond Swap",
        "inputs per output",
        "spread",
        "mean gap",
        "largest gap",
        "above 1 %",
        "ms per part",
    ];
    let mut table = vec![heading.map(String::from).to_vec()];
    table.extend(rows.iter().map(|row| {
        vec![
            row.solver.to_string(),
            row.objective.told(),
            row.beyond_swap.told(),
            format!("{:.3}", row.inputs_per_output),
            format!("{:.3}", row.spread),
            format!("{:.2} %", 100.0 * row.mean_gap),
            format!("{:.2} %", 100.0 * row.largest_gap),
            format!("{:.2} %", 100.0 * row.above),
            format!("{:.2}", row.ms_per_part),
        ]
    }));
    output::table(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(mean: f64, inputs_per_output: f64, largest_gap: f64) -> Row {
        let of = |mean| Mean { mean, error: 1.0 };
        Row {
            solver: "Both",
            parts: 50,
            objective: of(mean),
            beyond_swap: of(0.0),
            inputs_per_output,
            spread: 0.2,
            mean_gap: 0.0,
            largest_gap,
            above: 0.0,
            ms_per_part: 1.0,
        }
    }

    #[test]
    fn the_default_is_held_to_objective_use_and_every_labelling() {
        let swap = row(-8.0, 2.0, 0.0);
        assert!(verdict(&swap, &row(-7.5, 2.2, 0.01)).is_empty());
        for (own, said) in [
            (row(-6.5, 2.0, 0.0), "the objective of Both is 1.50 above"),
            (row(-8.0, 2.4, 0.0), "inputs per output: 2.400"),
            (row(-8.0, 2.0, 0.02), "a gap of 0.0200"),
        ] {
            let missed = verdict(&swap, &own);
            assert!(missed.len() == 1 && missed[0].contains(said), "{missed:?}");
        }
    }

    #[test]
    fn a_mean_has_its_standard_error() {
        let mean = Mean::of(&[1.0, 2.0, 3.0]);
        assert!((mean.mean - 2.0).abs() < 1e-12 && (mean.error - (1.0f64 / 3.0).sqrt()).abs() < 1e-12);
    }
}
