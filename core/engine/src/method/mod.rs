//! Methods: what one training step does, as a script.

mod capture;
mod draws;
mod execute;
mod frame;
mod freeze;
mod gradient;
mod host;
pub(crate) mod operand;
mod recompute;
mod recorded;
mod row;
mod tally;
mod trace;
mod tryout;
pub(crate) mod verbs;
pub(crate) mod vocabulary;

pub use capture::{CaptureReport, CudaRecorder, Fixed, GraphRecorder, Work};
pub(crate) use capture::{StepGraphs, Turn, refusal};
pub use execute::{MixReport, StepReport};
pub(crate) use execute::{lambda_of, saliency_of, verdict};
pub use frame::{Clock, Frame, Mode};
pub use host::{Method, Param, Scheduled};
pub(crate) use recorded::{Recorded, Traced};
pub(crate) use tally::{Tally, broken, tally};
pub use vocabulary::{Takes, VERBS, Verb};
