//! Loggers: what takes the events of a run.

mod contract;
mod event;
mod json_lines;
mod kind;
mod logger;

pub use event::{Event, Record};
pub use json_lines::JsonLines;
pub use logger::{Logger, LoggerConfig, Loggers, Opening};
