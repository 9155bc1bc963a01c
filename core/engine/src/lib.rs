//! The training engine: recipes, methods, the loop, evaluation, checkpoints, metrics.
//!
//! | file | what it holds |
//! |---|---|
//! | `bundled` | the recipes and scripts that come with the program |
//! | `choice` | the checks and weights of a mixer that picks among others |
//! | `clusterers/` | the kind *clusterer*: pseudo labels, one file each |
//! | `dry_run` | calls of a method before a run |
//! | `error` | what can go wrong, and the exit codes |
//! | `float32` | numbers that the device can hold |
//! | `launch/` | which process of how many this one is: torchrun, Slurm |
//! | `loggers/` | the kind *logger*, the events of a run, one file for each logger |
//! | `method/` | the script's verbs: recorded, executed, captured |
//! | `mixing` | mixes outside of training, for people to look at |
//! | `optimizers/` | the kind *optimiser*: the rules, one file each |
//! | `param` | parameters of scripts |
//! | `precision` | float32 or autocast |
//! | `queue` | queues of keys |
//! | `ranges` | checks of the settings of entries |
//! | `recipe/` | the recipe: its fields, its reader, its checks, `show` |
//! | `run/` | a run in its folder: loop, evaluation, checkpoints, `run.json` |
//! | `run/probe/` | the kind *probe*: evaluation protocols, one file each |
//! | `schedule` | cosines and milestones |
//! | `script/` | mixers and losses that are scripts, the sandbox |
//! | `session` | a run's state and the step that moves it |
//! | `text` | lists and nearest names in messages |
//! | `trained/` | a trained network for others: exported, asked about images |
//! | `world/` | the state in parts: networks, mixers, optimiser, ..., one file for each kind of part |

pub mod bundled;
mod choice;
mod clusterers;
mod dry_run;
mod error;
mod float32;
mod launch;
mod loggers;
mod method;
mod mixing;
mod optimizers;
mod param;
mod precision;
mod queue;
mod ranges;
mod recipe;
mod run;
pub mod schedule;
mod script;
mod session;
mod text;
mod trained;
mod world;

pub use choice::Weights;
pub use clusterers::{Clusterer, ClustererConfig, Odc, OdcClusterer, Reweight, k_means};
pub use error::{Error, Result};
pub use launch::{Launch, Variables};
pub use loggers::{Event, JsonLines, Logger, LoggerConfig, Loggers, Opening, Record, TensorBoard};
pub use method::{
    CaptureReport, Clock, CudaRecorder, Fixed, GraphRecorder, Line, Method, MixReport, Scheduled, StepReport,
    Takes, VERBS, Verb, Work, lines,
};
pub use optimizers::{AdamW, Bucket, Lars, OptimizerConfig, OptimizerRule, Sgd};
pub use param::Param;
pub use precision::Precision;
pub use queue::{Queue, QueueConfig};
pub use recipe::{
    CheckpointConfig, EmbeddingHeadConfig, EvaluateConfig, GroupConfig, HeadStart, InitConfig, InitPart,
    Origin, Override, PairConfig, Prefix, Recipe, RecipeText, Variant, When, describe, tidy, variants,
};
pub use run::{
    Accuracy, AfterEpoch, ByLambda, Checkpoint, Features, FolderState, HeadAccuracy, Header, History, Images,
    Knn, LAMBDAS, Linear, LinearAugment, LinearCached, LinearPreset, Look, Measured, MixLosses, MixerReport,
    Prepared, Probe, ProbeChoice, Run, RunContext, RunFacts, RunFolder, RunOptions, StartedFrom, Status,
    Summary, TrainPass, check, evaluate, measure, method_of, mixer_report, prepare, probes, reestimate,
    reestimates, session_of,
};
pub use script::{
    Dialect, Script, ScriptKind, ScriptText, ScriptedLoss, ScriptedMixer, registry, script_entry,
    script_plugins,
};
pub use session::{Execution, Session, StepOptions};
pub use trained::{Answers, Card, Export, Pick, Target, answers, card};
pub use world::{ClustererUnit, HeadUnit, LossUnit, MixerUnit, Net, Pair, QueueUnit, Shape, World};

admix_api::register! {
    Sgd, AdamW, Lars,
    Odc,
    Knn, Linear, LinearCached,
    JsonLines, TensorBoard
}
