//! Optimisers: the rules by which parameters move, one file each.

mod adamw;
mod contract;
mod kind;
mod rule;
mod sgd;

pub use adamw::AdamW;
pub use rule::{Bucket, OptimizerConfig, OptimizerRule};
pub use sgd::Sgd;
