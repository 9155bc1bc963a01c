//! Steps that are watched for waiting: by the count of reads, and by CUDA itself.

use admix_torch::{FailOnSyncs, SyncCounter};
use anyhow::Result;
use serde::Serialize;

/// Host syncs of some steps.
pub struct Watched {
    /// Mean over the steps.
    pub per_step: f64,
    /// Their names in the first step.
    pub of_first: Vec<String>,
    /// Those that are counted apart, mean over the steps.
    pub apart_per_step: f64,
}

/// Takes so many steps and counts.
pub fn watch(steps: u32, mut step: impl FnMut() -> Result<()>) -> Result<Watched> {
    let counter = SyncCounter::start();
    let mut of_first = Vec::new();
    for i in 0..steps {
        step()?;
        if i == 0 {
            of_first = counter.names();
        }
    }
    let over = |count: u64| count as f64 / f64::from(steps);
    Ok(Watched { per_step: over(counter.count()), of_first, apart_per_step: over(counter.count_apart()) })
}

/// What CUDA's own watch for waiting found.
#[derive(Debug, Serialize)]
pub struct CudaWatch {
    /// Steps that did not wait.
    pub passed: u32,
    /// 1 if a step failed, which ended the watch.
    pub failed: u32,
    /// Of that step: that it waited, or something else.
    pub error: Option<String>,
}

/// Takes so many steps under CUDA's own watch. `None`, and why in the log, where the watch cannot be set.
pub fn watch_cuda(steps: u32, mut step: impl FnMut() -> Result<()>) -> Option<CudaWatch> {
    let _failing = match FailOnSyncs::start() {
        Ok(guard) => guard,
        Err(error) => {
            tracing::warn!(%error, "CUDA's watch for waiting was not set");
            return None;
        }
    };
    Some(passed(steps, &mut step))
}

fn passed(steps: u32, step: &mut dyn FnMut() -> Result<()>) -> CudaWatch {
    for passed in 0..steps {
        if let Err(error) = step() {
            return CudaWatch { passed, failed: 1, error: Some(format!("{error:#}")) };
        }
    }
    CudaWatch { passed: steps, failed: 0, error: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_ends_with_the_first_step_that_waits() {
        let mut left = 2;
        let mut step = || {
            left -= 1;
            anyhow::ensure!(left >= 0, "called a synchronizing CUDA operation");
            Ok(())
        };
        let watch = passed(5, &mut step);
        assert_eq!((watch.passed, watch.failed), (2, 1));
        assert!(watch.error.is_some_and(|error| error.contains("synchronizing")));
        let watch = passed(3, &mut || Ok(()));
        assert_eq!((watch.passed, watch.failed, watch.error), (3, 0, None));
    }
}
