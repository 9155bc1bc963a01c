//! Methods: what one training step does, as a script.

mod draws;
mod execute;
mod frame;
mod freeze;
mod gradient;
mod host;
pub(crate) mod operand;
mod row;
mod trace;
pub(crate) mod verbs;
pub(crate) mod vocabulary;

pub use execute::{MixReport, StepReport};
pub(crate) use execute::{lambda_of, saliency_of, verdict};
pub use frame::{Clock, Frame, Mode, Recorded};
pub use host::{Method, Param, Scheduled};
pub use vocabulary::{Takes, VERBS, Verb};
