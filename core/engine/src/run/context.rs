//! What a run is given from outside beside its recipe.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use admix_torch::Group;

use crate::Result;
use crate::loggers::Loggers;

/// Where a run stands among others, where its output goes, and who may stop it. Nothing else decides where output goes.
pub struct RunContext {
    /// The processes that train together, if there are several. Of these, process 0 writes.
    pub group: Option<Rc<Group>>,
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
        Self { group: None, loggers, stop, out, progress: Rc::new(|_, _| {}) }
    }
}

impl std::fmt::Debug for RunContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let out = &self.out;
        write!(f, "RunContext {{ process {} of {}, out: {out:?} }}", self.rank(), self.processes())
    }
}

impl RunContext {
    /// Number of this process, from 0.
    pub fn rank(&self) -> usize {
        self.group.as_ref().map_or(0, |group| group.rank())
    }

    /// How many processes train together.
    pub fn processes(&self) -> usize {
        self.group.as_ref().map_or(1, |group| group.processes())
    }

    /// Whether this process writes the run folder.
    pub(crate) fn writes(&self) -> bool {
        self.rank() == 0
    }

    /// The signal that asks to stop, if one came: to any of the processes.
    ///
    /// # Errors
    /// A process is gone.
    pub(crate) fn signal(&self) -> Result<i32> {
        let own = self.stop.load(Ordering::Relaxed);
        match &self.group {
            Some(group) => Ok(group.agree_max(i64::from(own))? as i32),
            None => Ok(own),
        }
    }
}
