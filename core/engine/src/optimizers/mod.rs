//! Optimisers: the rules by which parameters move, one file each.

mod adamw;
mod contract;
mod kind;
mod lars;
mod rule;
mod sgd;

pub use adamw::AdamW;
pub use lars::Lars;
pub use rule::{Bucket, OptimizerConfig, OptimizerRule};
pub use sgd::Sgd;
