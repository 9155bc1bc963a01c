//! A recipe: what to train, on what, with which method, for how long. RON, 15-30 lines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use admix_api::{Choice, LossChoice, MixerChoice, Named, section};
use admix_data::DataConfig;
use admix_models::{BackboneChoice, NeckConfig, ResNetConfig};

use super::locate;
use super::overrides::Override;
use super::sections::{
    CheckpointConfig, EmbeddingHeadConfig, EvaluateConfig, GroupConfig, InitConfig, OtherNetConfig,
    PairConfig,
};
use crate::clusterers::Clusterer;
use crate::loggers::Logger;
use crate::optimizers::{OptimizerConfig, OptimizerRule, Sgd};
use crate::param::Param;
use crate::queue::QueueConfig;
use crate::run::ProbeChoice;
use crate::script::ScriptText;
use crate::{Error, Result};

section! {
    /// A recipe. Every field but `method` and `epochs` has a default.
    pub struct Recipe {
        /// All randomness flows from it. Default 0.
        pub seed: u64 = 0,
        /// Passes over the training set.
        pub epochs: u64,
        /// Images per step. Default 100.
        pub batch: usize = 100,
        /// Calls of `step` whose gradients are added up before the optimiser moves. Default 1.
        pub accumulate: usize = 1,
        /// The data set and its augmentation.
        pub data: DataConfig = DataConfig::default(),
        /// The backbone.
        pub model: BackboneChoice = BackboneChoice::new("resnet", (), Rc::new(ResNetConfig::default())),
        /// Trained networks, by name. Default ["q"].
        pub nets: Vec<String> = vec!["q".into()],
        /// Networks with an architecture of their own, by name. Default: none.
        pub other_nets: BTreeMap<String, OtherNetConfig> = BTreeMap::new(),
        /// Classifier heads of every network of `nets` and those that follow. Default ["one"].
        pub heads: Vec<String> = vec!["one".into()],
        /// What makes embeddings of a network's last map. Default: nothing, and an embedding is the mean over its cells.
        pub neck: Option<NeckConfig> = None,
        /// Linear heads on embeddings, by the name that the script uses. Default: none.
        pub embedding_heads: BTreeMap<String, EmbeddingHeadConfig> = BTreeMap::new(),
        /// Weights that the trained networks start from. Default: random ones.
        pub init: Option<InitConfig> = None,
        /// Into how many groups of their own statistics BatchNorms split a train-mode batch, whose samples are dealt out anew in
        /// each pass. Default 1: they do not.
        pub bn_groups: i64 = 1,
        /// Where several processes train: the BatchNorms of networks and necks normalise a train-mode batch with those of the other
        /// processes as one. Default: each by its own.
        pub bn_sync: bool = false,
        /// Stages of the backbone, 0 the stem, whose activations are not kept in training but computed again in the backward
        /// pass: less memory for one more forward pass of them. Default: none.
        pub recompute_stages: Vec<usize> = Vec::new(),
        /// Queues of keys, by the name that the script uses. Default: none.
        pub queues: BTreeMap<String, QueueConfig> = BTreeMap::new(),
        /// Momentum networks, and heads that follow.
        pub pairs: Vec<PairConfig> = Vec::new(),
        /// The method's script: a path, or the name of a bundled one ("amix").
        pub method: String,
        /// Parameters of the method that differ from its defaults.
        pub params: BTreeMap<String, Param> = BTreeMap::new(),
        /// Weights of terms that differ from the method's.
        pub weights: BTreeMap<String, f64> = BTreeMap::new(),
        /// Mixers by the name that the script uses.
        pub mixers: Named<MixerChoice> = Named::default(),
        /// Losses whose settings differ from their defaults, by the name that the script uses.
        pub losses: Named<LossChoice> = Named::default(),
        /// Clusterers by the name that the script uses.
        pub clusterers: BTreeMap<String, Choice<dyn Clusterer>> = BTreeMap::new(),
        /// The optimiser. Default Sgd(lr: 0.1, momentum: 0.9, weight_decay: 1e-4).
        pub optimizer: Choice<dyn OptimizerRule> = sgd(),
        /// Where the cosine of the learning rate ends, per epoch, unless the script schedules it. Default 0.
        pub min_lr: f64 = 0.0,
        /// Epochs over which every learning rate rises from 0, by step, whatever schedules it. Default 0: none.
        pub warmup: u64 = 0,
        /// Factor on the learning rate from one layer of a network to the one below it, in (0, 1]. Default 1: none.
        pub layer_decay: f64 = 1.0,
        /// Whether weight decay applies to parameters of one axis: norms and biases. Default true.
        pub decay_vectors: bool = true,
        /// The largest norm of all gradients together; longer ones are scaled down to it. Default: none.
        pub clip_norm: Option<f64> = None,
        /// Mixers whose parameters have optimiser settings of their own.
        pub groups: BTreeMap<String, GroupConfig> = BTreeMap::new(),
        /// Evaluation.
        pub evaluate: EvaluateConfig = EvaluateConfig::default(),
        /// Checkpoints.
        pub checkpoint: CheckpointConfig = CheckpointConfig::default(),
        /// Metrics are read from the device every this many steps. Default 50.
        pub log_every: u64 = 50,
        /// What takes the events of the run beside `metrics.jsonl` and the terminal. Default: nothing.
        pub loggers: Vec<Choice<dyn Logger>> = Vec::new(),
        /// Steps with a value that is not finite before the run ends. Default 10.
        pub max_bad_steps: u64 = 10,
        ; beside
        /// Where it was read from, for messages.
        pub file: String,
        /// Which of the recipes of the file, where it has several.
        pub variant: Option<String>,
        /// The text with all `--set` applied.
        pub text: String,
        /// The values set from outside.
        pub overrides: Vec<Override>,
        /// The scripts of its mixers and losses, as they were read.
        pub scripts: Vec<ScriptText>,
    }
}

/// The optimiser of a recipe that names none.
fn sgd() -> Choice<dyn OptimizerRule> {
    let config: Rc<dyn OptimizerConfig> = Rc::new(Sgd::default());
    Choice::new("sgd", (), config)
}

impl Recipe {
    /// The base learning rate.
    pub fn lr(&self) -> f64 {
        self.optimizer.config.lr()
    }

    /// The pairs between networks: those of heads on embeddings left out.
    pub fn net_pairs(&self) -> impl Iterator<Item = &PairConfig> {
        self.pairs.iter().filter(|pair| !self.embedding_heads.contains_key(&pair.to))
    }

    /// What a probe measures is called by it: `<probe>_<network>`, of the first network.
    pub fn probe_name(&self, probe: &ProbeChoice) -> String {
        format!("{}_{}", probe.plugin, self.nets.first().map_or("", String::as_str))
    }

    /// Every network of a run: trained ones, those of `other_nets`, and those that follow.
    pub fn net_names(&self) -> Vec<&String> {
        self.nets.iter().chain(self.other_nets.keys()).chain(self.net_pairs().map(|pair| &pair.to)).collect()
    }

    /// The backbone of a network.
    pub fn model_of(&self, net: &str) -> &BackboneChoice {
        self.other_nets.get(net).map_or(&self.model, |other| &other.model)
    }

    /// Whatever a run measures: `<head>_<network>` of each head, and its probes.
    pub fn measured_names(&self) -> Vec<String> {
        let nets: Vec<&String> = self.nets.iter().chain(self.net_pairs().map(|pair| &pair.to)).collect();
        let own = nets.iter().flat_map(|net| self.heads.iter().map(move |head| format!("{head}_{net}")));
        let on_embeddings = self.embedding_heads.iter();
        let on_embeddings =
            on_embeddings.filter_map(|(name, head)| Some(format!("{name}_{}", head.evaluate.as_ref()?)));
        own.chain(on_embeddings)
            .chain(self.evaluate.probes.iter().map(|probe| self.probe_name(probe)))
            .collect()
    }

    /// The head or probe whose accuracy is shown first and decides which checkpoint is the best: the recipe's, or the
    /// first probe, or the last head of the last network.
    pub fn reported(&self) -> Option<String> {
        let of_probe = || Some(self.probe_name(self.evaluate.probes.first()?));
        let last = self.net_pairs().last().map(|pair| &pair.to).or(self.nets.last());
        let of_head = || Some(format!("{}_{}", self.heads.last()?, last?));
        self.evaluate.report.clone().or_else(of_probe).or_else(of_head)
    }

    /// Momentum of the first pair of networks, or 0.
    pub fn base_ema(&self) -> f64 {
        self.net_pairs().next().map_or(0.0, |p| p.momentum)
    }

    /// Where it stands: its file, or `file.ron/variant`.
    pub fn place(&self) -> String {
        self.variant.as_ref().map_or_else(|| self.file.clone(), |variant| format!("{}/{variant}", self.file))
    }

    /// The folder that holds the recipe.
    pub fn folder(&self) -> PathBuf {
        Path::new(&self.file).parent().map_or_else(PathBuf::new, Path::to_path_buf)
    }

    /// An error of an entry of the registry, at the field of its setting. `owner` is the field of the entry: `mixers.NAME`.
    pub(crate) fn plugin_error(&self, owner: &str, error: admix_api::Error) -> Error {
        match error {
            admix_api::Error::Range { what, got, wanted } => {
                self.field_error(&format!("{owner}.{what}"), format!("is {got}, expected {wanted}"))
            }
            admix_api::Error::Setting { setting, message } => {
                self.field_error(&format!("{owner}.{setting}"), message)
            }
            other => self.field_error(owner, format!("is refused: {other}")),
        }
    }

    /// An error at a field, with its line if the recipe sets it. The message goes on after the field's name.
    pub fn field_error(&self, field: &str, message: impl Into<String>) -> Error {
        let message = message.into();
        let covers = |path: &str| {
            field.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if let Some(by) = self.overrides.iter().rev().find(|o| covers(&o.path)) {
            return Error::Field {
                file: format!("--set {}={}", by.path, by.value),
                field: field.into(),
                message,
            };
        }
        // `Script("mine.rhai")` sets the field `file` without naming it.
        let alone = field.strip_suffix(".file").filter(|owner| owner.matches('.').count() == 1);
        // One that is not set is at what it would be set in.
        let owners = field.match_indices('.').rev().map(|(end, _)| &field[..end]);
        let found = locate::find(&self.text, field)
            .or_else(|| locate::find(&self.text, alone?))
            .or_else(|| owners.into_iter().find_map(|owner| locate::find(&self.text, owner)));
        match found {
            Some(span) => {
                let (line, column) = locate::line_column(&self.text, span.start);
                Error::Field { file: format!("{}:{line}:{column}", self.file), field: field.into(), message }
            }
            None => Error::Field { file: self.file.clone(), field: field.into(), message },
        }
    }

    /// An error of a data set, at the field that it is about.
    pub(crate) fn data_error(&self, error: admix_data::Error) -> Error {
        match error {
            admix_data::Error::Setting { field, got, wanted } => {
                self.field_error(&field, format!("is {got}, expected {wanted}"))
            }
            unknown @ (admix_data::Error::Unknown { .. } | admix_data::Error::Missing { .. }) => {
                self.field_error("data.name", format!("cannot be opened: {unknown}"))
            }
            other => other.into(),
        }
    }

    /// An error of a weight file, at the field that names it: a failed download and an unreadable file are no faults of it.
    pub(crate) fn weights_error(&self, field: &str, error: admix_weights::Error) -> Error {
        match error {
            admix_weights::Error::Torch(error) => error.into(),
            admix_weights::Error::Fetch(error) => Error::Fetch(error),
            other => self.field_error(field, format!("cannot be used: {other}")),
        }
    }

    /// Whether some head is evaluated while the run trains.
    pub fn evaluates(&self) -> bool {
        !self.heads.is_empty() || self.embedding_heads.values().any(|head| head.evaluate.is_some())
    }

    /// The number of logits of the head on embeddings of this name, of which evaluation knows that of the classes.
    ///
    /// # Errors
    /// It is not given, and there is no clusterer to take it from, or more than one.
    pub(crate) fn head_outputs(&self, name: &str, head: &EmbeddingHeadConfig) -> Result<i64> {
        let field = format!("embedding_heads.{name}.out");
        match (head.out, &self.clusterers.values().collect::<Vec<_>>()[..]) {
            (Some(out), _) if out >= 1 => Ok(out),
            (Some(out), _) => {
                Err(self.field_error(&field, format!("is {out}, expected a whole number from 1")))
            }
            (None, [only]) => Ok(only.config.clusters()),
            (None, _) => Err(self.field_error(
                &field,
                "is missing; it is known without only where the recipe has one clusterer: write (out: 200)",
            )),
        }
    }
}
