//! What a logger is, and the loggers of a run.

use std::fmt::Debug;
use std::path::Path;

use serde_json::Value as Json;

use super::event::{Event, Record};
use crate::Result;

/// Takes the events of a run, in their order.
pub trait Logger: Debug {
    /// Takes one event. An error ends the run.
    ///
    /// # Errors
    /// It cannot be written.
    fn take(&mut self, record: &Record) -> Result<()>;
}

/// What a logger is opened for.
#[derive(Debug)]
pub struct Opening<'a> {
    /// Where the run writes. A logger writes nowhere else.
    pub folder: &'a Path,
    /// Of a run that goes on: the steps that are done. What a logger wrote of later ones happens again.
    pub resumed: Option<u64>,
    /// The head or probe whose accuracy is shown first.
    pub report: Option<&'a str>,
}

/// Settings of a logger.
pub trait LoggerConfig: Debug {
    /// Checks the ranges, naming the field.
    ///
    /// # Errors
    /// A value out of range.
    fn validate(&self) -> admix_api::Result<()>;

    /// Opens the logger, before training begins.
    ///
    /// # Errors
    /// The folder cannot be written.
    fn open(&self, opening: &Opening<'_>) -> Result<Box<dyn Logger>>;

    /// The settings in full, defaults included.
    fn resolved(&self) -> Json;
}

/// The loggers of a run.
#[derive(Debug, Default)]
pub struct Loggers(Vec<Box<dyn Logger>>);

impl Loggers {
    /// Adds one behind the others.
    pub fn add(&mut self, logger: Box<dyn Logger>) {
        self.0.push(logger);
    }

    /// Adds one before the others.
    pub(crate) fn add_first(&mut self, logger: Box<dyn Logger>) {
        self.0.insert(0, logger);
    }

    /// Tells all of them what happens now.
    ///
    /// # Errors
    /// One cannot write it.
    pub fn tell(&mut self, event: Event) -> Result<()> {
        let record = Record::now(event);
        self.0.iter_mut().try_for_each(|logger| logger.take(&record))
    }

    /// Tells all of them that something is odd. A logger that cannot write it fails at the next event that it must write.
    pub(crate) fn warn(&mut self, message: String) {
        let _ = self.tell(Event::Warning { message });
    }
}
