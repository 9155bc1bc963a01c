//! A batch that was asked for.

use std::sync::Arc;

use super::job::{Done, Job};
use super::pool::Pool;
use crate::Result;

/// A batch that was asked for. Dropped, it is given up.
pub(crate) struct Ticket {
    job: Arc<Job>,
    /// Whoever waits needs the threads.
    _pool: Arc<Pool>,
}

impl Ticket {
    /// Puts a job in line.
    pub(crate) fn of(job: Arc<Job>, pool: &Arc<Pool>) -> Self {
        pool.ask(&job);
        Self { job, _pool: Arc::clone(pool) }
    }

    /// Whether `wait` would return at once.
    pub(crate) fn is_over(&self) -> bool {
        self.job.is_over()
    }

    /// Waits until nothing is left to be made.
    pub(crate) fn settle(&self) {
        drop(self.job.settle());
    }

    /// Waits for the batch and takes it.
    ///
    /// # Errors
    /// An image cannot be read or decoded, or a crop is no part of it.
    pub(crate) fn wait(self) -> Result<Done> {
        self.job.wait()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.job.give_up();
    }
}
