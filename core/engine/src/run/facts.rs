//! `run.json`: what a run was and how it ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::method::CaptureReport;
use crate::param::Param;
use crate::precision::Precision;
use crate::run::metrics::Summary;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All epochs are done.
    Done,
    /// It was stopped, by a number of steps or a signal; it can go on.
    Stopped,
    /// It failed.
    Failed,
}

/// The facts about a run. Written when it ends, however it ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFacts {
    /// How it ended.
    pub status: Status,
    /// Why, of a run that failed or was stopped by a signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Seconds of wall time, over all parts of a resumed run.
    pub wall_s: f64,
    /// Share of it that training waited for streamed images.
    pub data_wait: Option<f64>,
    /// Seconds that clusterers took between steps.
    pub clustering_s: f64,
    /// What became of capturing.
    pub capture: CaptureReport,
    /// The results.
    pub summary: Summary,
    /// Version of the program.
    pub version: String,
    /// Version of libtorch.
    pub libtorch: String,
    /// The device in words.
    pub device: String,
    /// What steps and evaluations compute in.
    pub precision: Precision,
    /// Whether products of float32 use tensor cores.
    pub tf32: bool,
    /// Whether channels are innermost in memory.
    pub channels_last: bool,
    /// Threads of libtorch.
    pub threads: usize,
    /// The recipe's seed.
    pub seed: u64,
    /// The recipe's file.
    pub recipe: String,
    /// The method's file.
    pub script: String,
    /// The method's parameters.
    pub params: BTreeMap<String, Param>,
    /// The weight of each term at the end.
    pub weights: BTreeMap<String, f64>,
    /// Mixers of libraries and scripts.
    pub plugins_from_elsewhere: Vec<String>,
    /// The dataset.
    pub data: String,
    /// Its training images.
    pub train_images: usize,
    /// Its test images.
    pub test_images: usize,
}
