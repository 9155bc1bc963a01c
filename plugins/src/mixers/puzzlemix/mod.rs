//! PuzzleMix in parts: the mixer, the energy of its mask, the solvers that minimise it, and the transport of patches.
//!
//! Source  Kim et al., ICML 2020, arXiv:2009.06962. Names follow the paper: a mask `z` on a grid of blocks, 1 where the
//!         own image is chosen; saliency `s`; transport plans `Pi`.

pub mod energy;
pub mod grid;
#[allow(clippy::module_inception, reason = "the file of the mixer of this name")]
mod puzzlemix;
pub mod solve;
pub mod transport;

pub use energy::{Problem, Smoothness, Terms};
pub use puzzlemix::{PuzzleMix, Solver};
