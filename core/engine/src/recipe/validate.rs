//! Whether the values of a recipe fit each other.

use std::fmt::Display;

use admix_api::{Choice, Served};
use admix_data::ViewsConfig;

use serde_json::Value as Json;

use super::locate;
use super::recipe::Recipe;
use super::sections::PairConfig;
use crate::loggers::Logger;
use crate::param::Param;
use crate::{Result, float32};

/// Of a queue: 2 GiB of keys of 128 numbers.
const MOST_KEYS: i64 = 1 << 22;

impl Recipe {
    pub(super) fn validate(&self) -> Result<()> {
        self.validate_steps()?;
        self.validate_rates()?;
        self.validate_networks()?;
        self.validate_pairs()?;
        self.validate_evaluation()?;
        if let Some(why) = self.unfit_loggers() {
            return Err(self.field_error("loggers", why));
        }
        self.validate_mixers()?;
        for (name, choice) in &self.losses {
            let field = format!("losses.{name}");
            choice.config.validate().map_err(|error| self.plugin_error(&field, error))?;
            self.settings(&field, &choice.config.resolved())?;
        }
        if matches!(self.data.views, ViewsConfig::Groups(_))
            && locate::find(&self.text, "data.augment").is_some()
        {
            let wanted = "none beside groups of views: each group in `data.views` has its own";
            return self.refuse("data.augment", &"given", wanted);
        }
        self.data.validate().map_err(|error| self.data_error(error))?;
        for (group, (_, augment)) in self.data.groups().into_iter().enumerate() {
            self.settings(&self.data.augment_field(group), &augment.config.resolved())?;
        }
        for (name, param) in &self.params {
            if let Param::Number(number) = param {
                self.number(&format!("params.{name}"), *number, true, "a finite number")?;
            }
        }
        self.model.validate().map_err(|error| self.plugin_error("model", error))?;
        self.settings("model", &self.model.config.resolved())
    }

    /// Refuses a field's value.
    fn refuse(&self, field: &str, got: &dyn Display, wanted: &str) -> Result<()> {
        Err(self.field_error(field, format!("is {got}, expected {wanted}")))
    }

    fn positive(&self, field: &str, value: u64) -> Result<()> {
        if value > 0 { Ok(()) } else { self.refuse(field, &0, "a whole number from 1") }
    }

    fn number(&self, field: &str, value: f64, good: bool, wanted: &str) -> Result<()> {
        match good && value.is_finite() {
            true if float32::holds(value) => Ok(()),
            true => self.refuse(field, &format!("{value:?}"), &format!("{wanted}, {}", float32::AT_MOST)),
            // Written out, a large one has hundreds of digits.
            false if value.abs() > 1e16 => self.refuse(field, &format!("{value:?}"), wanted),
            false => self.refuse(field, &value, wanted),
        }
    }

    /// The numbers among an entry's settings, which float32 must hold.
    fn settings(&self, field: &str, settings: &Json) -> Result<()> {
        match settings {
            Json::Number(number) => match number.as_f64() {
                Some(number) if !float32::holds(number) => {
                    Err(self.field_error(field, format!("is {}", float32::refused(number))))
                }
                _ => Ok(()),
            },
            Json::Object(all) => {
                all.iter().try_for_each(|(name, value)| self.settings(&format!("{field}.{name}"), value))
            }
            Json::Array(all) => all.iter().try_for_each(|value| self.settings(field, value)),
            _ => Ok(()),
        }
    }

    /// Refuses queues that do not hold the keys of a step that so many processes share.
    ///
    /// # Errors
    /// Names the queue.
    pub(crate) fn check_queues(&self, processes: usize) -> Result<()> {
        let batch = self.batch as i64;
        let step = batch.saturating_mul(self.accumulate as i64).saturating_mul(processes as i64);
        for (name, queue) in &self.queues {
            if queue.length < step || queue.length % batch != 0 {
                let many = step.saturating_mul((queue.length / step).max(1));
                let of = if processes > 1 { format!(" of {processes} processes") } else { String::new() };
                let wanted = format!(
                    "a multiple of the batch, {batch}, that holds the keys of a step{of}, such as {many}"
                );
                return self.refuse(&format!("queues.{name}.length"), &queue.length, &wanted);
            }
            if queue.length > MOST_KEYS {
                let wanted = format!("at most {MOST_KEYS} keys");
                return self.refuse(&format!("queues.{name}.length"), &queue.length, &wanted);
            }
            if let Some(width) = queue.width.filter(|width| *width < 1) {
                return self.refuse(&format!("queues.{name}.width"), &width, "a whole number from 1");
            }
        }
        Ok(())
    }

    /// How many images a step and a run have, and what must fit to it.
    fn validate_steps(&self) -> Result<()> {
        self.positive("epochs", self.epochs)?;
        self.positive("batch", self.batch as u64)?;
        self.positive("accumulate", self.accumulate as u64)?;
        let batch = self.batch as i64;
        if self.bn_groups < 1 || batch % self.bn_groups != 0 {
            let wanted = format!("a whole number from 1 that divides the batch, {batch}");
            return self.refuse("bn_groups", &self.bn_groups, &wanted);
        }
        if self.bn_sync && self.bn_groups > 1 {
            return self.refuse(
                "bn_groups",
                &self.bn_groups,
                "1 with `bn_sync`, which makes batches larger and not smaller",
            );
        }
        self.check_queues(1)?;
        self.positive("log_every", self.log_every)?;
        self.positive("max_bad_steps", self.max_bad_steps)?;
        self.positive("evaluate.every", self.evaluate.every)?;
        self.positive("evaluate.batch", self.evaluate.batch as u64)?;
        self.positive("checkpoint.keep", self.checkpoint.keep as u64)?;
        if let Some(steps) = self.checkpoint.every_steps {
            self.positive("checkpoint.every_steps", steps)?;
        }
        Ok(())
    }

    /// The optimiser, learning rates and weights of terms.
    fn validate_rates(&self) -> Result<()> {
        self.optimizer.validate().map_err(|error| self.plugin_error("optimizer", error))?;
        self.settings("optimizer", &self.optimizer.config.resolved())?;
        let wanted = format!("a number from 0 to the base learning rate {}", self.lr());
        self.number("min_lr", self.min_lr, (0.0..=self.lr()).contains(&self.min_lr), &wanted)?;
        if self.warmup > self.epochs {
            return self.refuse("warmup", &self.warmup, &format!("at most the epochs, {}", self.epochs));
        }
        let decay = self.layer_decay;
        self.number("layer_decay", decay, decay > 0.0 && decay <= 1.0, "more than 0, at most 1")?;
        let most = self.clip_norm.unwrap_or(1.0);
        self.number("clip_norm", most, most > 0.0, "a number above 0, or None")?;
        for (name, group) in &self.groups {
            let field = |setting: &str| format!("groups.{name}.{setting}");
            let lr = group.lr.unwrap_or_else(|| self.lr());
            self.number(&field("lr"), lr, lr > 0.0, "a number above 0")?;
            if let Some(end) = group.min_lr {
                let wanted = format!("a number from 0 to this group's learning rate {lr}");
                self.number(&field("min_lr"), end, (0.0..=lr).contains(&end), &wanted)?;
            }
            let decay = group.weight_decay.unwrap_or(0.0);
            self.number(&field("weight_decay"), decay, decay >= 0.0, "a number from 0")?;
        }
        for (name, weight) in &self.weights {
            self.number(&format!("weights.{name}"), *weight, true, "a finite number")?;
        }
        Ok(())
    }

    /// Networks, heads and clusterers.
    fn validate_networks(&self) -> Result<()> {
        for (name, choice) in &self.clusterers {
            let field = format!("clusterers.{name}");
            choice.validate().map_err(|error| self.plugin_error(&field, error))?;
            self.settings(&field, &choice.config.resolved())?;
        }
        for (name, head) in &self.embedding_heads {
            if self.nets.contains(name) {
                return Err(self.field_error(
                    &format!("embedding_heads.{name}"),
                    "has the name of a network; give it a name of its own",
                ));
            }
            let Some(net) = &head.evaluate else {
                self.head_outputs(name, head)?;
                continue;
            };
            let field = format!("embedding_heads.{name}.evaluate");
            if head.prototypes || head.hidden.is_some() {
                return Err(
                    self.field_error(&field, "is for linear heads: leave out `prototypes` and `hidden`")
                );
            }
            let followers = self.net_pairs().map(|pair| &pair.to);
            let nets: Vec<&String> = self.nets.iter().chain(followers).collect();
            if !nets.contains(&net) {
                let known = crate::text::list(&nets);
                return Err(self.field_error(&field, format!("is `{net}`; the networks are {known}")));
            }
        }
        if let Some(neck) = &self.neck {
            neck.validate().map_err(|error| match error {
                admix_models::Error::Config { field, got, wanted, .. } => {
                    self.field_error(&format!("neck.{field}"), format!("is {got}, expected {wanted}"))
                }
                other => self.field_error("neck", format!("is refused: {other}")),
            })?;
        }
        for (name, other) in &self.other_nets {
            let field = format!("other_nets.{name}");
            let taken = self.nets.contains(name) || self.embedding_heads.contains_key(name);
            if taken || self.pairs.iter().any(|pair| &pair.to == name) {
                return Err(self
                    .field_error(&field, "has the name of another network or head; give it one of its own"));
            }
            if let Some(head) =
                other.heads.iter().enumerate().find(|(at, head)| other.heads[..*at].contains(head))
            {
                return Err(self.field_error(&field, format!("has the head `{}` twice", head.1)));
            }
            other.model.validate().map_err(|error| self.plugin_error(&format!("{field}.model"), error))?;
        }
        for (field, names) in [("nets", &self.nets), ("heads", &self.heads)] {
            // Without classifiers there must be something else to learn by.
            let others = self.neck.is_some() || !self.queues.is_empty() || !self.embedding_heads.is_empty();
            if names.is_empty() && !(field == "heads" && others) {
                return self.refuse(field, &"empty", "at least one name");
            }
            if let Some(name) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
                return Err(
                    self.field_error(field, format!("has `{}` twice; give each a name of its own", name.1))
                );
            }
        }
        Ok(())
    }

    fn validate_pairs(&self) -> Result<()> {
        for (at, pair) in self.pairs.iter().enumerate() {
            if self.pairs[..at].iter().any(|other| other.to == pair.to) {
                let message =
                    format!("lets `{}` follow twice; expected one pair for each that follows", pair.to);
                return Err(self.field_error("pairs", message));
            }
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
                        crate::text::list(self.embedding_heads.keys())
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
                    crate::text::list(&self.nets),
                    admix_api::did_you_mean(&pair.from, self.nets.iter().map(String::as_str))
                );
                return Err(self.field_error("pairs", message));
            }
        }
        Ok(())
    }

    fn validate_evaluation(&self) -> Result<()> {
        for (at, probe) in self.evaluate.probes.iter().enumerate() {
            if self.evaluate.probes[..at].iter().any(|other| other.plugin == probe.plugin) {
                let message = format!("has `{}` twice; their figures would have one name", probe.plugin);
                return Err(self.field_error("evaluate.probes", message));
            }
            probe.validate().map_err(|error| {
                self.field_error(
                    "evaluate.probes",
                    format!("has `{}` with a bad setting: {error}", probe.plugin),
                )
            })?;
            self.settings("evaluate.probes", &probe.config.resolved())?;
        }
        if let Some(report) = &self.evaluate.report {
            let known = self.measured_names();
            if !known.contains(report) {
                let message = format!(
                    "is `{report}`, expected <head>_<network>: {}{}",
                    crate::text::list(&known),
                    admix_api::did_you_mean(report, known.iter().map(String::as_str))
                );
                return Err(self.field_error("evaluate.report", message));
            }
        }
        Ok(())
    }

    /// What is wrong with the loggers, behind the name of their field.
    pub(super) fn unfit_loggers(&self) -> Option<String> {
        self.loggers.iter().enumerate().find_map(|(at, logger)| {
            let twice = ["file", "folder"].into_iter().find_map(|setting| {
                let place = logger.config.resolved()[setting].clone();
                let same = |other: &Choice<dyn Logger>| other.config.resolved()[setting] == place;
                let taken = !place.is_null() && self.loggers[..at].iter().any(same);
                taken.then(|| format!("has two that write {place}; give each a `{setting}` of its own"))
            });
            let bad =
                || Some(format!("has `{}` with a bad setting: {}", logger.plugin, logger.validate().err()?));
            twice.or_else(bad)
        })
    }

    fn validate_mixers(&self) -> Result<()> {
        for (name, choice) in &self.mixers {
            let field = |error| self.plugin_error(&format!("mixers.{name}"), error);
            choice.served.validate().map_err(field)?;
            if let Some(given) = choice.given.iter().find(|given| choice.config.ignores().contains(given)) {
                let message = format!("plays no part in {}; see `admix plugins {0}`", choice.plugin);
                return Err(self.field_error(&format!("mixers.{name}.{given}"), message));
            }
            choice.config.validate().map_err(field)?;
            let partner = choice.served.partner;
            if self.batch < 2 && partner.never_itself() && !choice.config.ignores().contains(&"partner") {
                let message =
                    format!("is {partner}, but a batch of 1 has no other image: expected a `batch` from 2");
                return Err(self.field_error(&format!("mixers.{name}.partner"), message));
            }
            // What the host serves, too: plans are drawn by it.
            self.settings(&format!("mixers.{name}"), &Json::Object(choice.served.resolved()))?;
            self.settings(&format!("mixers.{name}"), &choice.config.resolved())?;
        }
        super::choices::validate(self)
    }
}
