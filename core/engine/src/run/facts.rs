//! `run.json`: what a run was and how it ended.

use std::collections::BTreeMap;

use admix_data::Split;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::method::CaptureReport;
use crate::param::Param;
use crate::precision::Precision;
use crate::run::Run;
use crate::run::metrics::Summary;
use crate::run::started_from::StartedFrom;
use crate::run::status::Status;

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
    /// Whether batch normalisation, residual and ReLU are one operation.
    #[serde(default)]
    pub fused: bool,
    /// Why they are not on this GPU, where they were to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fused_off: Option<String>,
    /// Threads of libtorch.
    pub threads: usize,
    /// How many processes trained together, of a run of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<usize>,
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
    /// Where its weights come from, if not from random ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_from: Option<StartedFrom>,
    /// The dataset.
    pub data: String,
    /// Its training images.
    pub train_images: usize,
    /// Its test images.
    pub test_images: usize,
}

impl RunFacts {
    /// What a run is and how it ended.
    ///
    /// # Errors
    /// The script fails to tell its weights.
    pub(crate) fn of(run: &Run, status: Status, error: Option<String>) -> Result<Self> {
        let clock = run.session.clock();
        let heads = run.history.heads();
        let summary = Summary {
            report: run.recipe.reported().filter(|name| heads.contains_key(name)),
            heads,
            step: clock.step,
            epoch: clock.epoch,
            finished: status == Status::Done,
            seconds: run.history.seconds,
            skipped: run.history.skipped,
            folder: run.folder.root.clone(),
        };
        let weights = run.session.weights()?;
        let world = run.session.world();
        Ok(Self {
            status,
            error,
            wall_s: summary.seconds,
            data_wait: waiting(run, run.history.waited, run.history.seconds),
            clustering_s: run.session.clustering_time().as_secs_f64(),
            capture: run.session.captures(),
            summary,
            version: env!("CARGO_PKG_VERSION").into(),
            libtorch: admix_torch::handles::libtorch_version().to_string(),
            device: describe_device(world.device),
            precision: world.precision,
            tf32: world.device.is_cuda() && admix_torch::tf32()?,
            channels_last: world.channels_last,
            fused: world.fused(),
            fused_off: world.fused_off(),
            threads: admix_torch::threads(),
            processes: Some(run.context.processes()).filter(|processes| *processes > 1),
            seed: run.recipe.seed,
            recipe: run.recipe.place(),
            script: run.session.method().file().into(),
            params: run.session.params(),
            weights,
            plugins_from_elsewhere: world.mixers.iter().filter_map(|m| m.watched.clone()).collect(),
            started_from: run.started_from.clone(),
            data: run.dataset.info().name.clone(),
            train_images: run.dataset.len(Split::Train),
            test_images: run.dataset.len(Split::Test),
        })
    }
}

/// The share of some time that training waited for images; `None` where they are resident.
pub(crate) fn waiting(run: &Run, waited: f64, seconds: f64) -> Option<f64> {
    run.dataset.worked().map(|_| if seconds > 0.0 { waited / seconds } else { 0.0 })
}

/// The device, and the precision where it is not float32.
pub(crate) fn describe(run: &Run) -> String {
    let world = run.session.world();
    let mut device = describe_device(world.device);
    if run.context.processes() > 1 {
        device = format!("{} processes, each on {device}", run.context.processes());
    }
    match world.precision {
        Precision::Fp32 => device,
        lower => format!("{device}, {}", lower.name()),
    }
}

fn describe_device(device: admix_torch::Device) -> String {
    match device {
        admix_torch::Device::Cpu => format!("cpu ({} threads)", admix_torch::threads()),
        other => format!("{other:?}"),
    }
}
