//! The training engine: recipes, methods, the loop, evaluation, checkpoints, metrics.

pub mod bundled;
mod choice;
mod clusterers;
mod error;
mod kept;
mod loggers;
mod memory_format;
mod method;
mod optimizer;
mod optimizers;
mod precision;
mod queue;
mod ranges;
mod recipe;
mod run;
pub mod schedule;
mod script;
mod session;
mod world;

pub use choice::Weights;
pub use clusterers::{Clusterer, ClustererConfig, ClustererUnit, Odc, OdcClusterer, Reweight, k_means};
pub use error::{Error, Result};
pub use loggers::{Event, JsonLines, Logger, LoggerConfig, Loggers, Opening, Record};
pub use method::{
    CaptureReport, Clock, CudaRecorder, Fixed, GraphRecorder, Method, MixReport, Param, Scheduled,
    StepReport, Takes, VERBS, Verb, Work,
};
pub use optimizers::{AdamW, Bucket, OptimizerConfig, OptimizerRule, Sgd};
pub use precision::Precision;
pub use queue::{Queue, QueueConfig, QueueUnit};
pub use recipe::{
    CheckpointConfig, EmbeddingHeadConfig, EvaluateConfig, GroupConfig, Origin, Override, PairConfig, Recipe,
    When, describe,
};
pub use run::{
    Accuracy, AfterEpoch, Checkpoint, Features, HeadAccuracy, Header, History, Knn, Linear, LinearAugment,
    LinearCached, LinearPreset, Look, Measured, MixerReport, Prepared, Probe, ProbeChoice, Run, RunContext,
    RunFacts, RunFolder, RunOptions, Status,
    Summary, TrainPass, evaluate, measure, method_of, mixer_report, prepare, probes, session_of,
};
pub use script::{
    ScriptKind, ScriptText, ScriptedLoss, ScriptedMixer, registry, script_entry, script_plugins,
};
pub use session::{Execution, Session, StepOptions};
pub use world::{HeadUnit, LossUnit, MixerUnit, Net, Shape, World};

admix_api::link_plugins! {
    Sgd, AdamW,
    Odc,
    Knn, Linear, LinearCached,
    JsonLines
}
