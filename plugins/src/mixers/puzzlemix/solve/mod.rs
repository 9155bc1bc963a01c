//! Solvers of PuzzleMix's problem. The pair cost is convex in the labels, so that an optimum can be found exactly:
//! by dynamic programming on small grids, by one minimum cut on any (Ishikawa, TPAMI 2003, DOI 10.1109/TPAMI.2003.1233908).

mod icm;
mod min_cut;
mod profile;

use admix_api::prelude::*;

use super::Problem;

pub use icm::Icm;
pub use min_cut::MinCut;
pub use profile::Profile;

/// Finds labels of low energy.
pub trait Solve: std::fmt::Debug {
    /// Labels `[N, b, b]`, int64, on the device of the problem.
    ///
    /// # Errors
    /// Shapes that do not fit, or a problem that is too large for this solver.
    fn solve(&self, problem: &Problem) -> Result<Tensor>;
}

#[cfg(test)]
mod tests;
