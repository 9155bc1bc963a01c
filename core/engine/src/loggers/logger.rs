//! What a logger is, and the loggers of a run.

use std::fmt::Debug;
use std::path::Path;

use serde_json::Value as Json;

use super::event::{Event, Record};
use crate::Result;

/// Takes the events of a run, in their order.
///
/// ```
/// use admix_engine::{Event, Logger, Record, Result};
///
/// /// Remembers the last step.
/// #[derive(Debug)]
/// struct Last(u64);
///
/// impl Logger for Last {
///     fn take(&mut self, record: &Record) -> Result<()> {
///         if let Event::Progress { step, .. } = record.event {
///             self.0 = step;
///         }
///         Ok(())
///     }
/// }
///
/// let mut last = Last(0);
/// last.take(&Record::now(Event::Progress { step: 7, epoch: 1 }))?;
/// assert_eq!(last.0, 7);
/// # Ok::<(), admix_engine::Error>(())
/// ```
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
    /// The text of the recipe, as in `recipe.ron`.
    pub recipe: &'a str,
    /// The text of the method's script.
    pub method: &'a str,
    /// Every setting of the recipe with its value, defaults included: ("optimizer.lr", 0.1).
    pub settings: &'a [(String, Json)],
}

impl<'a> Opening<'a> {
    /// For a run in this folder of which nothing else is known.
    pub fn at(folder: &'a Path) -> Self {
        Self { folder, resumed: None, report: None, recipe: "", method: "", settings: &[] }
    }
}

/// Settings of a logger.
///
/// ```
/// use admix_engine::{Event, JsonLines, LoggerConfig, Opening, Record};
///
/// let folder = tempfile::tempdir().expect("a folder");
/// let mut logger = JsonLines::default().open(&Opening::at(folder.path()))?;
/// logger.take(&Record::now(Event::Warning { message: "odd".into() }))?;
/// let text = std::fs::read_to_string(folder.path().join("events.jsonl")).expect("a file");
/// assert!(text.contains("odd"));
/// # Ok::<(), admix_engine::Error>(())
/// ```
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
pub struct Loggers {
    all: Vec<Box<dyn Logger>>,
    /// What happened before training starts, for loggers that are added until then.
    early: Vec<Record>,
    has_started: bool,
}

impl Loggers {
    /// Adds one behind the others. It is told what happened before it came.
    ///
    /// # Errors
    /// It cannot write that.
    pub fn add(&mut self, mut logger: Box<dyn Logger>) -> Result<()> {
        self.early.iter().try_for_each(|record| logger.take(record))?;
        self.all.push(logger);
        Ok(())
    }

    /// Tells all of them what happens now.
    ///
    /// # Errors
    /// One cannot write it.
    pub fn tell(&mut self, event: Event) -> Result<()> {
        let record = Record::now(event);
        self.has_started |= matches!(record.event, Event::Started { .. });
        self.all.iter_mut().try_for_each(|logger| logger.take(&record))?;
        if self.has_started {
            self.early.clear();
        } else {
            self.early.push(record);
        }
        Ok(())
    }

    /// Tells all of them that something is odd. A logger that cannot write it fails at the next event that it must write.
    pub(crate) fn warn(&mut self, message: String) {
        let _ = self.tell(Event::Warning { message });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::super::contract::events;
    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Memory(Rc<RefCell<Vec<Record>>>);

    impl Logger for Memory {
        fn take(&mut self, record: &Record) -> Result<()> {
            self.0.borrow_mut().push(record.clone());
            Ok(())
        }
    }

    #[test]
    fn a_logger_that_comes_late_is_told_what_came_before_it_and_nothing_twice() {
        let (early, late) = (Memory::default(), Memory::default());
        let mut loggers = Loggers::default();
        loggers.add(Box::new(early.clone())).expect("added");
        let warning = Event::Warning { message: "before".into() };
        loggers.tell(warning).expect("told");
        loggers.add(Box::new(late.clone())).expect("added");
        events().into_iter().for_each(|event| loggers.tell(event).expect("told"));
        // Not by `==`: a loss may be no number.
        let told = |memory: &Memory| format!("{:?}", memory.0.borrow());
        assert_eq!(early.0.borrow().len(), events().len() + 1);
        assert_eq!(told(&early), told(&late));
        let after = Memory::default();
        loggers.add(Box::new(after.clone())).expect("added");
        assert!(after.0.borrow().is_empty(), "training has started");
    }
}
