//! Min-sum belief propagation, then iterated conditional modes.
//!
//! Source  Pearl (1988) on a grid with loops; cells of two colours send in turn, as on a chessboard.

use super::super::problem::{Problem, first_least};
use super::{Solve, improve};

/// Belief propagation with so many rounds, then so many sweeps of iterated conditional modes.
#[derive(Debug, Clone, Copy)]
pub struct BeliefPropagation {
    /// Rounds in which every cell sends once to each of its neighbours.
    pub rounds: usize,
    /// Sweeps of iterated conditional modes after them.
    pub sweeps: usize,
}

impl Default for BeliefPropagation {
    fn default() -> Self {
        Self { rounds: 10, sweeps: 2 }
    }
}

impl BeliefPropagation {
    /// The labels that cells believe in after the last round, before they are improved.
    fn believed(self, problem: &Problem) -> Vec<usize> {
        let (b, labels) = (problem.blocks, problem.costs.labels());
        let cells = b * b;
        // What each cell was told: one message from each of its neighbours, in their order.
        let mut told = vec![0.0; cells * 4 * labels];
        let mut belief = vec![0.0; labels];
        let mut without = vec![0.0; labels];
        let believe = |told: &[f64], cell: usize, belief: &mut [f64]| {
            belief.copy_from_slice(problem.unary_of(cell));
            for message in told[cell * 4 * labels..][..4 * labels].chunks_exact(labels) {
                belief.iter_mut().zip(message).for_each(|(sum, one)| *sum += one);
            }
        };
        for _ in 0..self.rounds {
            for colour in 0..2 {
                for cell in (0..cells).filter(|cell| (cell / b + cell % b) % 2 == colour) {
                    believe(&told, cell, &mut belief);
                    for (at, other) in problem.neighbours(cell).enumerate() {
                        let heard = &told[(cell * 4 + at) * labels..][..labels];
                        for ((to, sum), one) in without.iter_mut().zip(&belief).zip(heard) {
                            *to = sum - one;
                        }
                        let Some(place) = problem.neighbours(other).position(|back| back == cell) else {
                            continue;
                        };
                        let message = &mut told[(other * 4 + place) * labels..][..labels];
                        problem.costs.least(&without, problem.weight, message);
                        // A constant in a message changes nothing, but would grow.
                        let low = message.iter().fold(f64::INFINITY, |low, one| low.min(*one));
                        message.iter_mut().for_each(|one| *one -= low);
                    }
                }
            }
        }
        (0..cells)
            .map(|cell| {
                believe(&told, cell, &mut belief);
                first_least(belief.iter().copied())
            })
            .collect()
    }

    /// The labels that cells believe in, improved.
    pub(super) fn found(self, problem: &Problem) -> Vec<usize> {
        let mut labels = self.believed(problem);
        improve(problem, &mut labels, self.sweeps);
        labels
    }
}

impl Solve for BeliefPropagation {
    fn solve(&self, problem: &Problem) -> Vec<usize> {
        // Labels that no cell can want are the cheapest of no message either: without them it goes faster to the same end.
        let (problem, kept) = problem.pruned();
        self.found(&problem).into_iter().map(|label| kept[label]).collect()
    }
}
