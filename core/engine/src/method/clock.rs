//! Where a run stands.

use serde::{Deserialize, Serialize};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Optimiser steps done.
    pub step: u64,
    /// Optimiser steps of the whole run.
    pub steps: u64,
    /// Epochs done.
    pub epoch: u64,
    /// Epochs of the whole run.
    pub epochs: u64,
}

impl Clock {
    /// Share of the run done, in [0, 1], by step.
    pub fn progress(&self) -> f64 {
        self.step as f64 / self.steps.max(1) as f64
    }

    /// Share of the run done, in [0, 1), by whole epochs: `e / E`.
    pub fn epoch_progress(&self) -> f64 {
        self.epoch as f64 / self.epochs.max(1) as f64
    }
}
