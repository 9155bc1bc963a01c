//! Sections of a recipe.

use admix_api::section;
use admix_models::BackboneChoice;
use serde::{Deserialize, Serialize};

use crate::run::ProbeChoice;

/// When a momentum network follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum When {
    /// After the optimiser's step (supervised AMix).
    #[default]
    AfterStep,
    /// Before the step's first pass (MoCo).
    BeforeStep,
}

/// A momentum pair: parameters of `to` follow those of `from`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PairConfig {
    /// The network that is followed. Default "q".
    pub from: String,
    /// The network that follows; it starts as a copy and is never trained. Default "k".
    pub to: String,
    /// Before or after the optimiser's step. Default AfterStep.
    pub when: When,
    /// Momentum, in [0, 1]: `k = m k + (1 - m) q`. Default 0.999 (`t.base_ema` in scripts).
    pub momentum: f64,
    /// Copy the values instead, whatever the momentum. Default false.
    pub copy: bool,
}

impl Default for PairConfig {
    fn default() -> Self {
        Self { from: "q".into(), to: "k".into(), when: When::AfterStep, momentum: 0.999, copy: false }
    }
}

/// A head on embeddings, beside the networks: linear, prototypes, or a predictor of two layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddingHeadConfig {
    /// Number of logits. Default: as many as the recipe's only clusterer has clusters.
    pub out: Option<i64>,
    /// Whether it has prototypes: rows that are scaled to unit length before every step, and no bias. Default false.
    pub prototypes: bool,
    /// Width of a hidden layer before the last one, with a BatchNorm and a ReLU: a predictor. Default: none.
    pub hidden: Option<i64>,
    /// The network on whose embeddings, as `p.embed()` gives them, the head is evaluated: a linear head with a logit for each
    /// class, which `out` then need not say. Its accuracy is told as NAME_NETWORK. Default: none.
    pub evaluate: Option<String>,
}

/// Optimiser settings of one mixer's parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct GroupConfig {
    /// Base learning rate. Default: the optimiser's.
    pub lr: Option<f64>,
    /// Where the cosine ends. Default: the recipe's `min_lr`.
    pub min_lr: Option<f64>,
    /// Weight decay. Default: the optimiser's.
    pub weight_decay: Option<f64>,
}

/// Weights that a run starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitConfig {
    /// A weight file: a path, `torchvision:NAME`, `hf:OWNER/NAME` or an `https://` address. It may be safetensors, a file of
    /// `torch.save`, or a checkpoint of a run; of a run folder the newest is taken.
    pub from: String,
    /// Of a checkpoint of a run: the network to take. Default: the trained one.
    #[serde(default)]
    pub net: Option<String>,
    /// What of the network is taken. Default Backbone.
    #[serde(default)]
    pub part: InitPart,
    /// What stands before the names of the backbone's tensors in the file: `Is("module.encoder_q.")`. Default Auto: it is
    /// looked for.
    #[serde(default)]
    pub prefix: Prefix,
    /// What classifier heads start from. Default Fresh.
    #[serde(default)]
    pub heads: HeadStart,
}

/// What of a network is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum InitPart {
    /// The backbone.
    #[default]
    Backbone,
    /// The backbone and the neck; the file is one of this program.
    All,
}

/// What stands before the names of a backbone's tensors in a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Prefix {
    /// It is looked for; two that would do are an error.
    #[default]
    Auto,
    /// This.
    Is(String),
}

/// What classifier heads start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum HeadStart {
    /// New values.
    #[default]
    Fresh,
    /// The file's classifier, where it has the head's shape; new values elsewhere.
    Matching,
}

section! {
    /// A network beside those of `nets`, with an architecture of its own: a teacher, say.
    pub struct OtherNetConfig {
        /// Its backbone.
        pub model: BackboneChoice,
        /// Its classifier heads. Default: none.
        pub heads: Vec<String> = Vec::new(),
        /// Weights that it starts from. Default: random ones.
        pub init: Option<InitConfig> = None,
        /// Whether it is trained. Default false: it stays as it is, and its passes are in evaluation mode.
        pub trained: bool = false,
    }
}

section! {
    /// How and when a run is evaluated.
    default pub struct EvaluateConfig {
        /// Every this many epochs, and after the last. Default 1.
        pub every: u64 = 1,
        /// Images per batch. Default 500.
        pub batch: usize = 500,
        /// Clean training batches from which the BatchNorms of momentum networks are re-estimated before each
        /// evaluation; 0 leaves them as training made them. Default 20.
        pub reestimate_batches: usize = 20,
        /// What else is measured, on the features of the first network, as `<probe>_<network>`. Default: nothing.
        pub probes: Vec<ProbeChoice> = Vec::new(),
        /// The head or probe whose accuracy is reported first, as `<head>_<network>`. Default: the first probe, or the last
        /// head of all.
        pub report: Option<String> = None,
    }
}

/// What is written while a run goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Besides the one after each epoch, one every this many steps.
    pub every_steps: Option<u64>,
    /// How many are kept, besides the best. Default 2.
    pub keep: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every_steps: None, keep: 2 }
    }
}

admix_api::plain!(When, PairConfig, InitConfig, EmbeddingHeadConfig, GroupConfig, CheckpointConfig);
