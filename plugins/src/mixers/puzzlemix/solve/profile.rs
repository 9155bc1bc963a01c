//! Exact dynamic programming with a moving profile: the labels of the last b cells are the state.
//!
//! The cells are taken in rows. With them the costs of all L^b states are kept, and for each state which label it
//! replaced: b^2 steps of elementwise operations and a minimum over L. Tensor operations alone, nothing is read on
//! the host.

use admix_api::prelude::*;

use super::super::Problem;
use super::Solve;

/// The solver for small grids.
#[derive(Debug, Clone, Copy, Default)]
pub struct Profile;

impl Profile {
    /// The most states that are kept for a sample: b = 8 with 3 labels.
    pub const MOST_STATES: i64 = 6561;

    /// The states of a grid, if they are not too many.
    pub fn states(blocks: i64, labels: i64) -> Option<i64> {
        labels.checked_pow(u32::try_from(blocks).ok()?).filter(|states| *states <= Self::MOST_STATES)
    }
}

impl Solve for Profile {
    fn solve(&self, problem: &Problem) -> Result<Tensor> {
        let (n, b, labels) = problem.shape()?;
        let Some(states) = Self::states(b, labels) else {
            return Err(Error::range(
                "the grid of the profile solver",
                format!("{b} x {b} blocks with {labels} labels"),
                format!("at most {} states (labels to the power of blocks)", Self::MOST_STATES),
            ));
        };
        let device = problem.unary.device();
        let line = Tensor::f_arange(labels, (problem.unary.kind(), device))?;
        let last = (labels - 1) as f64;
        let pair = line.f_reshape([-1, 1])?.f_sub(&line)?.f_square()?.f_div_scalar(last * last)?;
        let pair = pair.f_reshape([1, 1, labels, labels, 1])?;
        let weight = |of: &Tensor, row: i64, column: i64| -> Result<Tensor> {
            let each = of.f_select(1, row)?.f_select(1, column)?.f_reshape([n, 1, 1, 1, 1])?;
            Ok(each.f_mul(&pair)?)
        };
        // The label of column c is the digit with `after` below it and `before` above it.
        let digit = |column: i64| (labels.pow(column as u32), labels.pow((b - 1 - column) as u32));
        let mut cost = Tensor::f_zeros([n, states], (problem.unary.kind(), device))?;
        let mut replaced = Vec::new();
        for row in 0..b {
            for column in 0..b {
                let (before, after) = digit(column);
                if row > 0 {
                    let by_old = cost.f_reshape([n, before, labels, 1, after])?;
                    let by_both = by_old.f_add(&weight(&problem.vertical, row - 1, column)?)?;
                    let (best, old) = by_both.f_min_dim(2, false)?;
                    cost = best;
                    // Bytes: on b = 8 these are the bulk of the memory.
                    replaced.push(old.f_to_kind(Kind::Uint8)?.f_reshape([n, states])?);
                }
                if column > 0 {
                    let edge = weight(&problem.horizontal, row, column - 1)?;
                    cost = cost.f_reshape([n, before / labels, labels, labels, after])?.f_add(&edge)?;
                }
                let own = problem.unary.f_select(1, row)?.f_select(1, column)?;
                let own = own.f_reshape([n, 1, labels, 1])?;
                cost = cost.f_reshape([n, before, labels, after])?.f_add(&own)?;
            }
        }
        let mut state = cost.f_reshape([n, states])?.f_argmin(1, true)?;
        let mut found = Vec::new();
        for row in (0..b).rev() {
            for column in (0..b).rev() {
                let after = digit(column).1;
                let label = state.f_div_scalar_mode(after, "floor")?.f_remainder(labels)?;
                if let (true, Some(old)) = (row > 0, replaced.pop()) {
                    let old = old.f_gather(1, &state, false)?.f_to_kind(Kind::Int64)?;
                    state = state.f_add(&old.f_sub(&label)?.f_mul_scalar(after)?)?;
                }
                found.push(label);
            }
        }
        found.reverse();
        Ok(Tensor::f_cat(&found, 1)?.f_reshape([n, b, b])?)
    }
}
