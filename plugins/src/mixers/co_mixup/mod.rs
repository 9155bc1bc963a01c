//! Co-Mixup in parts: the mixer, the problem that a part of the batch poses, and its solvers.

#[allow(clippy::module_inception, reason = "the file of the mixer of this name")]
mod co_mixup;
pub mod part;
pub mod places;
pub mod problem;
pub mod solve;

pub use co_mixup::{CoMixup, Form, Solver, Threshold, composed};
