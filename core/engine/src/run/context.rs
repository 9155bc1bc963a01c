//! What a run is given from outside beside its recipe.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::loggers::Loggers;

/// Where a run stands among others, where its output goes, and who may stop it. Nothing else decides where output goes.
#[derive(Debug)]
pub struct RunContext {
    /// Number of this process, from 0.
    pub rank: usize,
    /// How many processes train together: 1.
    pub processes: usize,
    /// What takes the events, beside the loggers that the recipe names and `metrics.jsonl`.
    pub loggers: Loggers,
    /// A signal that asks the run to save its state and stop; 0 for none.
    pub stop: Arc<AtomicI32>,
    /// The run folder. Default: `runs/<recipe>`, numbered if it is taken.
    pub out: Option<PathBuf>,
}

impl Default for RunContext {
    fn default() -> Self {
        let (loggers, stop, out) = Default::default();
        Self { rank: 0, processes: 1, loggers, stop, out }
    }
}

impl RunContext {
    /// The signal that asks to stop, if one came.
    pub(crate) fn signal(&self) -> i32 {
        self.stop.load(Ordering::Relaxed)
    }
}
