//! Recipes: what to train, on what, with which method, for how long. RON, 15-30 lines, no inheritance.

mod locate;
mod read;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use admix_api::{LossChoice, MixerChoice, Registry};
use admix_data::DataConfig;
use admix_models::{BackboneConfig, NeckConfig};
use serde::{Deserialize, Serialize};

use crate::cluster::ClustererConfig;
use crate::method::Param;
use crate::optimizer::OptimizerConfig;
use crate::queue::QueueConfig;
use crate::run::Protocol;
use crate::script::ScriptText;
use crate::{Error, Result};

pub use read::{Origin, Override, describe};

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

/// A linear head on embeddings, beside the networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddingHeadConfig {
    /// Number of logits. Default: as many as the recipe's only clusterer has clusters.
    pub out: Option<i64>,
}

impl EmbeddingHeadConfig {
    /// The number of logits of the head of this name.
    ///
    /// # Errors
    /// It is not given, and there is no clusterer to take it from, or more than one.
    pub(crate) fn outputs(&self, recipe: &Recipe, name: &str) -> Result<i64> {
        let field = format!("embedding_heads.{name}.out");
        match (self.out, &recipe.clusterers.values().collect::<Vec<_>>()[..]) {
            (Some(out), _) if out >= 1 => Ok(out),
            (Some(out), _) => {
                Err(recipe.field_error(&field, format!("is {out}, expected a whole number from 1")))
            }
            (None, [only]) => Ok(only.clusters()),
            (None, _) => Err(recipe.field_error(
                &field,
                "is missing; it is known without only where the recipe has one clusterer: write (out: 200)",
            )),
        }
    }
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

/// How and when a run is evaluated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateConfig {
    /// Every this many epochs, and after the last. Default 1.
    pub every: u64,
    /// Images per batch. Default 500.
    pub batch: usize,
    /// Clean training batches from which the BatchNorms of momentum networks are re-estimated before each
    /// evaluation; 0 leaves them as training made them. Default 20.
    pub reestimate_batches: usize,
    /// What else is measured, on the features of the first network, as `<protocol>_<network>`. Default: nothing.
    pub probes: Vec<Protocol>,
    /// The head or probe whose accuracy is reported first, as `<head>_<network>`. Default: the first probe, or the last
    /// head of all.
    pub report: Option<String>,
}

impl Default for EvaluateConfig {
    fn default() -> Self {
        Self { every: 1, batch: 500, reestimate_batches: 20, probes: Vec::new(), report: None }
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

/// A recipe. Every field but `method` and `epochs` has a default.
#[derive(Debug)]
pub struct Recipe {
    /// All randomness flows from it. Default 0.
    pub seed: u64,
    /// Passes over the training set.
    pub epochs: u64,
    /// Images per step. Default 100.
    pub batch: usize,
    /// Calls of `step` whose gradients are added up before the optimiser moves. Default 1.
    pub accumulate: usize,
    /// The data set and its augmentation.
    pub data: DataConfig,
    /// The backbone.
    pub model: BackboneConfig,
    /// Trained networks, by name. Default ["q"].
    pub nets: Vec<String>,
    /// Classifier heads of every network. Default ["one"].
    pub heads: Vec<String>,
    /// What makes embeddings of a network's last map. Default: nothing, and an embedding is the mean over its cells.
    pub neck: Option<NeckConfig>,
    /// Linear heads on embeddings, by the name that the script uses. Default: none.
    pub embedding_heads: BTreeMap<String, EmbeddingHeadConfig>,
    /// Into how many groups of their own statistics BatchNorms split a train-mode batch, whose samples are dealt out anew in
    /// each pass. Default 1: they do not.
    pub bn_groups: i64,
    /// Stages of the backbone, 0 the stem, whose activations are not kept in training but computed again in the backward
    /// pass: less memory for one more forward pass of them. Default: none.
    pub recompute_stages: Vec<usize>,
    /// Queues of keys, by the name that the script uses. Default: none.
    pub queues: BTreeMap<String, QueueConfig>,
    /// Momentum networks, and heads that follow.
    pub pairs: Vec<PairConfig>,
    /// The method's script: a path, or the name of a bundled one ("amix").
    pub method: String,
    /// Parameters of the method that differ from its defaults.
    pub params: BTreeMap<String, Param>,
    /// Weights of terms that differ from the method's.
    pub weights: BTreeMap<String, f64>,
    /// Mixers by the name that the script uses.
    pub mixers: Vec<(String, MixerChoice)>,
    /// Losses whose settings differ from their defaults, by the name that the script uses.
    pub losses: Vec<(String, LossChoice)>,
    /// Clusterers by the name that the script uses.
    pub clusterers: BTreeMap<String, ClustererConfig>,
    /// The optimiser. Default Sgd(lr: 0.1, momentum: 0.9, weight_decay: 1e-4).
    pub optimizer: OptimizerConfig,
    /// Where the cosine of the learning rate ends, per epoch, unless the script schedules it. Default 0.
    pub min_lr: f64,
    /// Mixers whose parameters have optimiser settings of their own.
    pub groups: BTreeMap<String, GroupConfig>,
    /// Evaluation.
    pub evaluate: EvaluateConfig,
    /// Checkpoints.
    pub checkpoint: CheckpointConfig,
    /// Metrics are read from the device every this many steps. Default 50.
    pub log_every: u64,
    /// Steps with a value that is not finite before the run ends. Default 10.
    pub max_bad_steps: u64,
    /// Where it was read from, for messages.
    pub file: String,
    /// The text with all `--set` applied.
    pub text: String,
    /// The values set from outside.
    pub overrides: Vec<Override>,
    /// The scripts of its mixers and losses, as they were read.
    pub scripts: Vec<ScriptText>,
}

impl Recipe {
    /// Reads a recipe file and applies `--set path=value`.
    ///
    /// # Errors
    /// The file cannot be read, or see [`Recipe::parse`].
    pub fn open(path: &Path, overrides: &[Override], registry: &Registry) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| {
            Error::Input(match source.kind() {
                std::io::ErrorKind::NotFound => {
                    format!("no recipe at {}: `admix recipes` lists those that are there", path.display())
                }
                _ => format!("cannot read the recipe {}: {source}", path.display()),
            })
        })?;
        Self::parse(&text, &path.display().to_string(), overrides, registry)
    }

    /// Reads a recipe.
    ///
    /// # Errors
    /// Syntax, unknown fields or names, wrong types, values out of range: with file, line and column.
    pub fn parse(text: &str, file: &str, overrides: &[Override], registry: &Registry) -> Result<Self> {
        read::parse(text, file, overrides, registry, &[])
    }

    /// The same with these scripts of mixers and losses in place of the files that the recipe names: those of a
    /// checkpoint, say.
    ///
    /// # Errors
    /// As [`Recipe::parse`].
    pub fn parse_with(
        text: &str,
        file: &str,
        overrides: &[Override],
        registry: &Registry,
        scripts: &[ScriptText],
    ) -> Result<Self> {
        read::parse(text, file, overrides, registry, scripts)
    }

    /// The base learning rate.
    pub fn lr(&self) -> f64 {
        self.optimizer.lr()
    }

    /// The pairs between networks: those of heads on embeddings left out.
    pub fn net_pairs(&self) -> impl Iterator<Item = &PairConfig> {
        self.pairs.iter().filter(|pair| !self.embedding_heads.contains_key(&pair.to))
    }

    /// Momentum of the first pair of networks, or 0.
    pub fn base_ema(&self) -> f64 {
        self.net_pairs().next().map_or(0.0, |p| p.momentum)
    }

    /// The folder that holds the recipe.
    pub fn folder(&self) -> PathBuf {
        Path::new(&self.file).parent().map_or_else(PathBuf::new, Path::to_path_buf)
    }

    /// An error of a plugin, at the field of its setting. `owner` is the field of the plugin: `mixers.NAME`.
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
                self.field_error(field, format!("is {got}, expected {wanted}"))
            }
            unknown @ (admix_data::Error::Unknown { .. } | admix_data::Error::Missing { .. }) => {
                self.field_error("data.name", format!("cannot be opened: {unknown}"))
            }
            other => other.into(),
        }
    }

    fn validate(&self) -> Result<()> {
        let refuse = |field: &str, got: &dyn std::fmt::Display, wanted: &str| {
            Err(self.field_error(field, format!("is {got}, expected {wanted}")))
        };
        let positive = |field: &str, value: u64| {
            if value > 0 { Ok(()) } else { refuse(field, &0, "a whole number from 1") }
        };
        let number = |field: &str, value: f64, good: bool, wanted: &str| {
            if good && value.is_finite() { Ok(()) } else { refuse(field, &value, wanted) }
        };
        positive("epochs", self.epochs)?;
        positive("batch", self.batch as u64)?;
        positive("accumulate", self.accumulate as u64)?;
        let batch = self.batch as i64;
        if self.bn_groups < 1 || batch % self.bn_groups != 0 {
            let wanted = format!("a whole number from 1 that divides the batch, {batch}");
            return refuse("bn_groups", &self.bn_groups, &wanted);
        }
        let step = batch.saturating_mul(self.accumulate as i64);
        for (name, queue) in &self.queues {
            if queue.length < step || queue.length % batch != 0 {
                let many = step.saturating_mul((queue.length / step).max(1));
                let wanted = format!(
                    "a multiple of the batch, {batch}, that holds the keys of a step, such as {many}"
                );
                return refuse(&format!("queues.{name}.length"), &queue.length, &wanted);
            }
        }
        for (name, head) in &self.embedding_heads {
            if self.nets.contains(name) {
                return Err(self.field_error(
                    &format!("embedding_heads.{name}"),
                    "has the name of a network; give it a name of its own",
                ));
            }
            head.outputs(self, name)?;
        }
        if let Some(neck) = &self.neck {
            neck.validate().map_err(|error| match error {
                admix_models::Error::Config { field, got, wanted, .. } => {
                    self.field_error(&format!("neck.{field}"), format!("is {got}, expected {wanted}"))
                }
                other => self.field_error("neck", format!("is refused: {other}")),
            })?;
        }
        positive("log_every", self.log_every)?;
        positive("max_bad_steps", self.max_bad_steps)?;
        positive("evaluate.every", self.evaluate.every)?;
        positive("evaluate.batch", self.evaluate.batch as u64)?;
        positive("checkpoint.keep", self.checkpoint.keep as u64)?;
        if let Some(steps) = self.checkpoint.every_steps {
            positive("checkpoint.every_steps", steps)?;
        }
        number("optimizer.lr", self.lr(), self.lr() > 0.0, "a number above 0")?;
        let decay = match &self.optimizer {
            OptimizerConfig::Sgd(sgd) => {
                let wanted = "a number in [0, 1)";
                number("optimizer.momentum", sgd.momentum, (0.0..1.0).contains(&sgd.momentum), wanted)?;
                sgd.weight_decay
            }
            OptimizerConfig::AdamW(adam) => {
                for beta in [adam.betas.0, adam.betas.1] {
                    number("optimizer.betas", beta, (0.0..1.0).contains(&beta), "two numbers in [0, 1)")?;
                }
                number("optimizer.eps", adam.eps, adam.eps > 0.0, "a number above 0")?;
                adam.weight_decay
            }
        };
        number("optimizer.weight_decay", decay, decay >= 0.0, "a number from 0")?;
        let wanted = format!("a number from 0 to the base learning rate {}", self.lr());
        number("min_lr", self.min_lr, (0.0..=self.lr()).contains(&self.min_lr), &wanted)?;
        for (name, group) in &self.groups {
            let field = |setting: &str| format!("groups.{name}.{setting}");
            let lr = group.lr.unwrap_or_else(|| self.lr());
            number(&field("lr"), lr, lr > 0.0, "a number above 0")?;
            if let Some(end) = group.min_lr {
                let wanted = format!("a number from 0 to this group's learning rate {lr}");
                number(&field("min_lr"), end, (0.0..=lr).contains(&end), &wanted)?;
            }
            let decay = group.weight_decay.unwrap_or(0.0);
            number(&field("weight_decay"), decay, decay >= 0.0, "a number from 0")?;
        }
        for (name, weight) in &self.weights {
            number(&format!("weights.{name}"), *weight, true, "a finite number")?;
        }
        for (field, names) in [("nets", &self.nets), ("heads", &self.heads)] {
            // Without classifiers there must be something else to learn by.
            let others = field == "heads" && (self.neck.is_some() || !self.queues.is_empty());
            if names.is_empty() && !others {
                return refuse(field, &"empty", "at least one name");
            }
            if let Some(name) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
                return Err(
                    self.field_error(field, format!("has `{}` twice; give each a name of its own", name.1))
                );
            }
        }
        for pair in &self.pairs {
            if !(0.0..=1.0).contains(&pair.momentum) {
                let message = format!("has the momentum {}, expected a number in [0, 1]", pair.momentum);
                return Err(self.field_error("pairs", message));
            }
            if self.embedding_heads.contains_key(&pair.to) {
                let follows = |other: &PairConfig| other.to == pair.from;
                if pair.from == pair.to
                    || !self.embedding_heads.contains_key(&pair.from)
                    || self.pairs.iter().any(follows)
                {
                    let message = format!(
                        "lets the head `{}` follow `{}`, expected another head of `embedding_heads` that is trained: {}",
                        pair.to,
                        pair.from,
                        crate::world::list(self.embedding_heads.keys())
                    );
                    return Err(self.field_error("pairs", message));
                }
                continue;
            }
            if pair.from == pair.to || self.nets.contains(&pair.to) {
                let message = format!(
                    "lets `{}` follow `{}`, but a momentum network must not be a trained one",
                    pair.to, pair.from
                );
                return Err(self.field_error("pairs", message));
            }
            if !self.nets.contains(&pair.from) {
                let message = format!(
                    "follows `{}`, but no trained network has this name; `nets` has {}{}",
                    pair.from,
                    crate::world::list(&self.nets),
                    admix_api::did_you_mean(&pair.from, self.nets.iter().map(String::as_str))
                );
                return Err(self.field_error("pairs", message));
            }
        }
        if let Some(report) = &self.evaluate.report {
            let nets = || self.nets.iter().chain(self.net_pairs().map(|pair| &pair.to));
            let mut known: Vec<String> =
                nets().flat_map(|net| self.heads.iter().map(move |head| format!("{head}_{net}"))).collect();
            let probes = self.evaluate.probes.iter().zip(std::iter::repeat(&self.nets[0]));
            known.extend(probes.map(|(probe, net)| format!("{}_{net}", probe.name())));
            if !known.contains(report) {
                let message = format!(
                    "is `{report}`, expected <head>_<network>: {}{}",
                    crate::world::list(&known),
                    admix_api::did_you_mean(report, known.iter().map(String::as_str))
                );
                return Err(self.field_error("evaluate.report", message));
            }
        }
        for (name, choice) in &self.mixers {
            let field = |error| self.plugin_error(&format!("mixers.{name}"), error);
            choice.pairing.validate().map_err(field)?;
            if let Some(given) = choice.given.iter().find(|given| choice.config.ignores().contains(given)) {
                let message = format!("plays no part in {}; see `admix plugins {0}`", choice.plugin);
                return Err(self.field_error(&format!("mixers.{name}.{given}"), message));
            }
            choice.config.validate().map_err(field)?;
        }
        crate::choice::validate(self)?;
        for (name, choice) in &self.losses {
            choice.config.validate().map_err(|error| self.plugin_error(&format!("losses.{name}"), error))?;
        }
        self.data.validate().map_err(|error| self.data_error(error))?;
        self.model.validate().map_err(|error| match error {
            admix_models::Error::Config { field, got, wanted, .. } => {
                self.field_error(&format!("model.{field}"), format!("is {got}, expected {wanted}"))
            }
            other => self.field_error("model", format!("is refused: {other}")),
        })
    }
}
