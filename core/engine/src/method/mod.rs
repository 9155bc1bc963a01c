//! Methods: what one training step does, as a script.

mod capture;
mod cell;
mod clock;
mod cut;
mod entry;
mod execute;
mod frame;
mod graph;
mod handle;
mod health;
#[allow(clippy::module_inception, reason = "the file of the struct of this name")]
mod method;
pub(crate) mod operand;
mod parts;
mod recompute;
mod recorder;
mod report;
mod slots;
mod tally;
mod trace;
mod traced;
mod tryout;
mod verb;
pub(crate) mod vocabulary;

pub use capture::CaptureReport;
pub(crate) use capture::{StepGraphs, Turn, refusal};
pub(crate) use cell::{Cell, Growing, HiddenMix, Id};
pub use clock::Clock;
pub use entry::Line;
pub(crate) use entry::{Entry, line};
pub(crate) use execute::Executing;
pub(crate) use frame::Spent;
pub use frame::{Frame, Mode};
pub(crate) use health::verdict;
pub use method::{Method, Scheduled};
pub(crate) use operand::{Operand, Outcome, refuse};
pub(crate) use parts::{Underway, execute};
pub use recorder::{CudaRecorder, Fixed, GraphRecorder, Work};
pub use report::{MixReport, StepReport};
pub(crate) use slots::{SlotId, Slots};
pub(crate) use tally::{Guesses, broken, tally};
pub(crate) use trace::{Node, Op, Place};
pub(crate) use traced::Traced;
pub use verb::lines;
pub(crate) use verb::one_part;
pub use vocabulary::{Takes, VERBS, Verb};
