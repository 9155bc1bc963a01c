//! Solvers of the labelling of one output. Its pair costs are no metric and not convex, so that none is exact.

mod both;
mod bp;
mod swap;

use super::problem::{Problem, first_least};

pub use both::Both;
pub use bp::BeliefPropagation;
pub use swap::Swap;

/// Finds labels of low energy.
pub trait Solve: std::fmt::Debug + Sync {
    /// A label for each cell, cells in rows.
    fn solve(&self, problem: &Problem) -> Vec<usize>;
}

/// Iterated conditional modes: one cell after the other takes its cheapest label beside its neighbours, until none changes
/// or so many sweeps are done. The energy never rises.
fn improve(problem: &Problem, labels: &mut [usize], sweeps: usize) {
    for _ in 0..sweeps {
        let mut changed = false;
        for cell in 0..labels.len() {
            let costs = (0..problem.costs.labels()).map(|label| problem.beside(labels, cell, label));
            let best = first_least(costs);
            if problem.beside(labels, cell, best) < problem.beside(labels, cell, labels[cell]) {
                labels[cell] = best;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
}

#[cfg(test)]
mod tests;
