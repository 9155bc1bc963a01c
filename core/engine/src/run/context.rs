//! What a run is given from outside beside its recipe.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::loggers::Loggers;

/// Where a run stands among others, where its output goes, and who may stop it. Nothing else decides where output goes.
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
    /// Called while weights are downloaded, with the bytes that are there and the bytes in all, 0 if the server does not say.
    pub progress: Rc<dyn Fn(u64, u64)>,
}

impl Default for RunContext {
    fn default() -> Self {
        let (loggers, stop, out) = Default::default();
        Self { rank: 0, processes: 1, loggers, stop, out, progress: Rc::new(|_, _| {}) }
    }
}

impl std::fmt::Debug for RunContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rank, processes, out, .. } = self;
        write!(f, "RunContext {{ process {rank} of {processes}, out: {out:?} }}")
    }
}

impl RunContext {
    /// The signal that asks to stop, if one came.
    pub(crate) fn signal(&self) -> i32 {
        self.stop.load(Ordering::Relaxed)
    }
}
