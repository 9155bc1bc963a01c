//! What each solver costs.

use std::fmt::Write as _;

use admix::output::{self, Format};
use admix_plugins::mixers::puzzlemix::Problem;
use admix_plugins::mixers::puzzlemix::solve::{Icm, MinCut, Profile, Solve};
use admix_torch::{no_grad, threads};
use anyhow::Result;
use serde::Serialize;

use super::problems::Problems;
use crate::in_turn::{Cost, all_in_turn};

/// Problems that are solved together: the batches of the reference's timings.
const BATCHES: [i64; 2] = [32, 100];

/// One solver on one grid.
#[derive(Debug, Serialize)]
struct Row {
    blocks: i64,
    batch: i64,
    solver: &'static str,
    #[serde(flatten)]
    cost: Cost,
}

/// Times the solvers in turn on the same problems, and prints the table.
pub fn speed(problems: impl Iterator<Item = Result<Problems>>, rounds: u32, format: Format) -> Result<()> {
    let _no_graph = no_grad();
    let mut rows = Vec::new();
    for problems in problems {
        let Problems { blocks, problem, .. } = problems?;
        let (have, _, labels) = problem.shape()?;
        let mut solvers: Vec<(&str, Box<dyn Solve>)> =
            vec![("minimum cut", Box::new(MinCut)), ("primal-dual + ICM", Box::new(Icm::default()))];
        if Profile::states(blocks, labels).is_some() {
            solvers.push(("profile", Box::new(Profile)));
        }
        for batch in BATCHES.into_iter().filter(|batch| *batch <= have) {
            let first = |of: &admix_torch::Tensor| of.f_narrow(0, 0, batch);
            let part = &Problem {
                unary: first(&problem.unary)?,
                vertical: first(&problem.vertical)?,
                horizontal: first(&problem.horizontal)?,
            };
            let call = |solver: &'_ dyn Solve| -> Result<()> {
                // A GPU is done when a label can be read.
                solver.solve(part)?.f_select(0, 0)?.f_int64_value(&[0, 0])?;
                Ok(())
            };
            let calls = solvers.iter().map(|(_, solver)| {
                Box::new(move || call(solver.as_ref())) as Box<dyn FnMut() -> Result<()> + '_>
            });
            let costs = all_in_turn(rounds, calls.collect())?;
            rows.extend(solvers.iter().zip(costs).map(|((solver, _), cost)| Row {
                blocks,
                batch,
                solver,
                cost,
            }));
        }
    }
    match format {
        Format::Json => output::print_json(&rows),
        Format::Text => output::print(&table(&rows, rounds)),
    }
}

fn table(rows: &[Row], rounds: u32) -> String {
    let mut text = format!(
        "{} threads, medians of {rounds} calls in turn\n\n| b | problems | solver | ms | core-ms |\n|---|---|---|---|---|\n",
        threads()
    );
    for Row { blocks, batch, solver, cost } in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {blocks} | {batch} | {solver} | {:.2} | {:.2} |", cost.ms, cost.core_ms);
    }
    text
}
