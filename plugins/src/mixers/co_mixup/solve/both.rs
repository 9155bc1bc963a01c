//! Belief propagation and swap moves together: the lower of two local optima.

use super::super::problem::Problem;
use super::{BeliefPropagation, Solve, Swap};

/// What belief propagation finds, improved by swap moves, or what swap moves find from the first label: whichever is lower.
#[derive(Debug, Clone, Copy, Default)]
pub struct Both;

impl Solve for Both {
    fn solve(&self, problem: &Problem) -> Vec<usize> {
        let (problem, kept) = problem.pruned();
        let mut one = BeliefPropagation::default().found(&problem);
        Swap::improve(&problem, &mut one);
        let other = Swap.solve(&problem);
        let lower = if problem.energy(&other) < problem.energy(&one) { other } else { one };
        lower.into_iter().map(|label| kept[label]).collect()
    }
}
