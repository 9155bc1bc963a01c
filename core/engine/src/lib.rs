//! The training engine: recipes, methods, the loop, evaluation, checkpoints, metrics.

pub mod bundled;
mod choice;
mod cluster;
mod error;
mod kept;
mod memory_format;
mod method;
mod mixer_unit;
mod optimizer;
mod param;
mod precision;
mod queue;
mod recipe;
mod run;
pub mod schedule;
mod script;
mod session;
mod text;
mod world;

pub use choice::Weights;
pub use cluster::{BankUnit, ClustererConfig, Odc, OdcBank, Reweight, k_means};
pub use error::{Error, Result};
pub use method::{
    CaptureReport, Clock, CudaRecorder, Fixed, GraphRecorder, Line, Method, MixReport, Scheduled, StepReport,
    Takes, VERBS, Verb, Work, lines,
};
pub use mixer_unit::MixerUnit;
pub use optimizer::{AdamW, OptimizerConfig, Sgd};
pub use param::Param;
pub use precision::Precision;
pub use queue::{Queue, QueueConfig, QueueUnit};
pub use recipe::{
    CheckpointConfig, EmbeddingHeadConfig, EvaluateConfig, GroupConfig, Origin, Override, PairConfig, Recipe,
    When, describe,
};
pub use run::{
    Accuracy, Checkpoint, Event, HeadAccuracy, Header, History, Knn, LinearPreset, LinearProbe, LinearReport,
    Look, MixerReport, Prepared, Protocol, Run, RunFolder, RunOptions, Summary, evaluate, knn, linear,
    method_of, mixer_report, prepare, probes, session_of,
};
pub use script::{
    ScriptKind, ScriptText, ScriptedLoss, ScriptedMixer, registry, script_entry, script_plugins,
};
pub use session::{Execution, Session, StepOptions};
pub use world::{HeadUnit, LossUnit, Net, Shape, World};
