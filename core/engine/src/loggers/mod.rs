//! Loggers: what takes the events of a run.

mod contract;
mod event;
mod json_lines;
mod kind;
mod logger;
mod tensorboard;

pub use event::{Event, Record};
pub use json_lines::JsonLines;
pub use logger::{Logger, LoggerConfig, Loggers, Opening};
pub use tensorboard::TensorBoard;
