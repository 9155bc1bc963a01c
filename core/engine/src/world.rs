//! Everything that a step reads and changes: networks, mixers, losses, optimiser, momentum pairs.

use std::collections::BTreeMap;

use admix_api::{
    Argument, Entry, Init, Loss, Mixer, MixerContext, Needs, Origin, Registry, Store, Streams, spans,
};
use admix_data::{Info, TrainSplit};
use admix_models::{Linear, Network, Pass};
use admix_torch::{Autocast, Device, Kind, Reduction, Tensor};

use crate::clusterers::ClustererUnit;
use crate::kept::Kept;
use crate::method::vocabulary;
use crate::mixer_unit::MixerUnit;
use crate::optimizer::{Group, Optimizer};
use crate::precision::Precision;
use crate::queue::{Queue, QueueUnit};
use crate::recipe::{Recipe, When};
use crate::text::list;
use crate::{Error, Result};

/// What a profile calls the work that lets a step be skipped.
const SAFEGUARD: &str = "copies against bad steps";

/// A network by name.
#[derive(Debug)]
pub struct Net {
    /// Its name in scripts: "q".
    pub name: String,
    /// Layers.
    pub network: Network,
    /// Their tensors.
    pub store: Store,
    /// False for momentum networks, whose parameters never have gradients.
    pub trained: bool,
}

impl Net {
    /// Width of an embedding.
    pub fn embedding_width(&self) -> i64 {
        self.network.embedding_width()
    }

    /// Embeddings `[N, D]` float32 of images `[N, C, H, W]`, not normalised: through the neck, or without one the last
    /// stage's map averaged over its cells. Evaluation mode, no graph.
    ///
    /// # Errors
    /// Images of other channels.
    pub fn embed(&self, images: &Tensor) -> Result<Tensor> {
        let _guard = admix_torch::no_grad();
        let map = self.network.backbone().forward(images, &Pass::EVALUATE)?;
        Ok(self.network.embed(&map, false)?.f_to_kind(Kind::Float)?)
    }
}

/// A loss by name.
#[derive(Debug)]
pub struct LossUnit {
    /// Its name in scripts.
    pub name: String,
    /// The loss.
    pub loss: Box<dyn Loss>,
    /// As [`MixerUnit::watched`].
    pub watched: Option<String>,
    /// Whether it comes from a library, of which no more is known than what it computes.
    pub from_library: bool,
    /// Its arguments in order.
    pub arguments: Vec<Argument>,
}

/// A linear head on embeddings.
#[derive(Debug)]
pub struct HeadUnit {
    /// Its name in scripts.
    pub name: String,
    linear: Linear,
    store: Store,
    /// False for a head that follows another.
    pub trained: bool,
}

impl HeadUnit {
    /// Embeddings `[N, D]` to logits `[N, K]`.
    ///
    /// # Errors
    /// Embeddings of another width.
    pub fn forward(&self, embedding: &Tensor) -> Result<Tensor> {
        Ok(self.linear.forward(embedding)?)
    }
}

/// A momentum pair.
#[derive(Debug)]
pub struct Pair {
    /// The network, or head on embeddings, that is followed.
    pub from: String,
    /// The one that follows.
    pub to: String,
    /// Before or after the optimiser's step.
    pub when: When,
    /// Momentum where the script's schedule gives none.
    pub momentum: f64,
    /// The values are copied, whatever the momentum.
    pub copy: bool,
    sources: Vec<Tensor>,
    targets: Vec<Tensor>,
    /// 0-dim float32 on the device: 1 - momentum, refilled every step.
    weight: Tensor,
}

impl Pair {
    /// Puts the momentum, in [0, 1], into its slot, in place, for the next [`follow`](Self::follow). A pair that is copied
    /// has none.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn set_momentum(&mut self, momentum: f64) -> Result<()> {
        if !self.copy {
            let _ = self.weight.f_fill_(1.0 - momentum)?;
        }
        Ok(())
    }

    /// Parameters follow: `k = m k + (1 - m) q` with the momentum of [`set_momentum`](Self::set_momentum), or are copied.
    /// Buffers do not. Where `found_inf` is not zero, nothing moves: a copy is then what it was, as its source is.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn follow(&self, found_inf: Option<&Tensor>) -> Result<()> {
        if self.copy {
            return Ok(admix_torch::copy_all(&self.targets, &self.sources)?);
        }
        Ok(admix_torch::ema(&self.targets, &self.sources, &self.weight, found_inf)?)
    }
}

/// The state of a run, without its clock.
#[derive(Debug)]
pub struct World {
    /// Where everything lives.
    pub device: Device,
    /// The streams of the run's seed.
    pub streams: Streams,
    /// Networks, trained ones first.
    pub nets: Vec<Net>,
    /// Mixers, in the recipe's order.
    pub mixers: Vec<MixerUnit>,
    /// Losses: the recipe's, then every other registered one at its defaults.
    pub losses: Vec<LossUnit>,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// Momentum pairs.
    pub pairs: Vec<Pair>,
    /// Heads on embeddings.
    pub heads: Vec<HeadUnit>,
    /// Queues of keys.
    pub queues: Vec<QueueUnit>,
    /// Into how many groups the BatchNorms of networks split a train-mode batch; 1: they do not.
    pub bn_groups: i64,
    /// Clusterers.
    pub clusterers: Vec<ClustererUnit>,
    /// Which images are trained on: only `Train` are all labelled.
    pub split: TrainSplit,
    /// Stages whose features a mixer reads: passes keep them.
    pub kept_stages: Vec<usize>,
    /// Stages whose activations a backward pass computes again.
    pub recompute_stages: Vec<usize>,
    /// What images are normalised by, `(pixel - mean) / std` with pixels in [0, 1]: mean and standard deviation, both
    /// `[1, C, 1, 1]` float32. 0 and 1 for data that are not.
    pub normalisation: (Tensor, Tensor),
    /// 0-dim float32: not zero when this step must be skipped.
    pub found_inf: Tensor,
    /// What a step changes before the verdict on it.
    kept: KeptParts,
    /// A step has begun and its optimiser has not moved.
    is_open: bool,
    /// What steps and evaluations compute in.
    pub precision: Precision,
    /// Whether kernels and images have their channels innermost in memory.
    pub channels_last: bool,
}

/// What a step changes before [`World::found_inf`] is known, or without a look at it. Queues and clusterers keep by themselves
/// what they write over, as they are large and a step writes little of them.
#[derive(Debug, Default)]
struct KeptParts {
    /// Running values of networks.
    buffers: Kept,
    /// Parameters that follow at the beginning of a step.
    followers: Kept,
    /// Mixers that keep to the device: all they have, as `after_step` may change it.
    mixers: Kept,
    /// The other mixers.
    host_mixers: Kept,
}

impl KeptParts {
    fn all(&self) -> [&Kept; 4] {
        [&self.buffers, &self.followers, &self.mixers, &self.host_mixers]
    }
}

/// The data that networks and mixers are built for.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Image channels.
    pub channels: i64,
    /// Number of classes.
    pub classes: i64,
    /// Number of training images; 0 if unknown.
    pub samples: usize,
    /// Which images are trained on: only `Train` are all labelled.
    pub split: TrainSplit,
    /// Mean of each channel that images are normalised by, pixels in [0, 1]. Empty: they are not.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel, in the same way.
    pub std: Vec<f64>,
}

impl Shape {
    /// Data of which no more is known: images that are not normalised.
    pub fn new(channels: i64, classes: i64) -> Self {
        Self { channels, classes, samples: 0, split: TrainSplit::Train, mean: Vec::new(), std: Vec::new() }
    }

    /// That of a data set.
    pub fn of(info: &Info) -> Self {
        let wide = |numbers: &[f32]| numbers.iter().map(|number| f64::from(*number)).collect();
        let plain = Self::new(info.channels, info.classes as i64);
        Self { samples: info.train, split: info.split, mean: wide(&info.mean), std: wide(&info.std), ..plain }
    }
}

impl Shape {
    /// Mean and standard deviation, `[1, C, 1, 1]`.
    fn normalisation(&self, device: Device) -> Result<(Tensor, Tensor)> {
        let each = |given: &[f64], otherwise: f64| -> Result<Tensor> {
            let all = if given.is_empty() { vec![otherwise; self.channels as usize] } else { given.to_vec() };
            let all = Tensor::f_from_slice(&all)?.f_to_kind(Kind::Float)?;
            Ok(all.f_reshape([1, -1, 1, 1])?.f_to_device(device)?)
        };
        Ok((each(&self.mean, 0.0)?, each(&self.std, 1.0)?))
    }
}

impl World {
    /// Builds everything that a recipe names.
    ///
    /// # Errors
    /// A pair or a group that names nothing, settings out of range.
    pub fn build(recipe: &Recipe, registry: &Registry, shape: Shape, device: Device) -> Result<Self> {
        let streams = Streams::new(recipe.seed);
        let mut nets: Vec<Net> = Vec::new();
        let followers: Vec<&str> = recipe.net_pairs().map(|p| p.to.as_str()).collect();
        let mut names: Vec<&str> = recipe.nets.iter().map(String::as_str).collect();
        names.extend(followers.iter().filter(|n| !recipe.nets.iter().any(|have| have == **n)));
        for name in names {
            let store = Store::new(device, streams.fork(name));
            let model = recipe.model.config.as_ref();
            let mut network =
                Network::build(&store.root(), model, &recipe.heads, shape.classes, shape.channels)?;
            if let Some(neck) = &recipe.neck {
                network = network.with_neck(&store.root(), neck)?;
            }
            network.set_batch_norm_groups(recipe.bn_groups);
            let trained = !followers.contains(&name);
            nets.push(Net { name: name.to_string(), network, store, trained });
        }
        let last = nets.first().map_or(0, |net| net.network.backbone().stages());
        if let Some(unknown) = recipe.recompute_stages.iter().find(|stage| **stage > last) {
            let message = format!("has {unknown}, expected stages of the backbone: 0, the stem, to {last}");
            return Err(recipe.field_error("recompute_stages", message));
        }
        let width = nets.first().map_or(0, Net::embedding_width);
        let mut clusterers = Vec::new();
        for (name, choice) in &recipe.clusterers {
            // Without the data at hand, as in `admix show`, no number of clusters is too large.
            let samples = if shape.samples == 0 { usize::MAX } else { shape.samples };
            let refused = |error| recipe.plugin_error(&format!("clusterers.{name}"), error);
            choice.config.check(samples).map_err(refused)?;
            let clusterer = choice.config.build(shape.samples as i64, width, device)?;
            clusterers.push(ClustererUnit { name: name.clone(), clusterer });
        }
        let mut queues = Vec::new();
        for (name, config) in &recipe.queues {
            let queue = Queue::new(width, config.length, &mut streams.draws("queue", name, 0, 0), device)?;
            queues.push(QueueUnit { name: name.clone(), queue });
        }
        let mut heads = Vec::new();
        for (name, config) in &recipe.embedding_heads {
            let store = Store::new(device, streams.fork(name));
            let outputs = recipe.head_outputs(name, config)?;
            let linear = Linear::new(&store.root().sub("fc"), width, outputs, Init::Normal(0.01))?;
            let trained = !recipe.pairs.iter().any(|pair| &pair.to == name);
            heads.push(HeadUnit { name: name.clone(), linear, store, trained });
        }
        let find = |name: &str| {
            nets.iter().position(|n| n.name == name).ok_or_else(|| {
                recipe.field_error(
                    "pairs",
                    format!(
                        "names the network `{name}`, but the recipe has {}",
                        list(nets.iter().map(|n| &n.name))
                    ),
                )
            })
        };
        let mut pairs = Vec::new();
        for pair in &recipe.pairs {
            let head = |name: &str| heads.iter().find(|unit| unit.name == name).map(|unit| &unit.store);
            let (from, to) = match (head(&pair.from), head(&pair.to)) {
                (Some(from), Some(to)) => (from, to),
                _ => (&nets[find(&pair.from)?].store, &nets[find(&pair.to)?].store),
            };
            to.copy_from(from)?;
            to.set_requires_grad(false);
            let tensors = |store: &Store| store.parameters().into_iter().map(|(_, t, _)| t).collect();
            pairs.push(Pair {
                from: pair.from.clone(),
                to: pair.to.clone(),
                when: pair.when,
                momentum: pair.momentum,
                copy: pair.copy,
                sources: tensors(from),
                targets: tensors(to),
                weight: Tensor::f_zeros([0i64; 0], (Kind::Float, device))?,
            });
        }

        let mut mixers = Vec::new();
        for (name, choice) in &recipe.mixers {
            let needs = choice.config.needs();
            let store = Store::new(device, streams.fork(name));
            let feature_channels = needs.features.map(|stage| {
                let backbone = nets[0].network.backbone();
                if stage <= backbone.stages() {
                    Ok(backbone.channels(stage))
                } else {
                    let last = backbone.stages();
                    let message =
                        format!("is {stage}, but the network has {last} stages: expected 1 to {last}");
                    Err(recipe.field_error(&format!("mixers.{name}.stage"), message))
                }
            });
            let last = nets[0].network.backbone().stages();
            if let Some(deepest) = needs.hidden.filter(|deepest| *deepest > last) {
                // Most mixers have a setting for it; else the mixer as a whole is meant.
                let settings = choice.config.resolved();
                let setting = ["stages", "stage"].into_iter().find(|name| settings.get(name).is_some());
                let field = setting.map_or(format!("mixers.{name}"), |own| format!("mixers.{name}.{own}"));
                let message = format!(
                    "mixes at stages up to {deepest}, but the network has {last}: expected 0 (the images) to {last}"
                );
                return Err(recipe.field_error(&field, message));
            }
            let context = MixerContext {
                feature_channels: feature_channels.transpose()?,
                mean: shape.mean.clone(),
                std: shape.std.clone(),
                classes: shape.classes,
            };
            let mut mixer = choice.config.build(&store.root(), &context)?;
            mixer.train(true);
            let (entry, _) = registry.find::<dyn Mixer>(&choice.plugin)?;
            let watched = watched(entry, name, &choice.config.resolved());
            mixers.push(MixerUnit {
                name: name.clone(),
                plugin: choice.plugin.clone(),
                mixer,
                needs: Needs { pseudo: needs.pseudo || choice.served.partner.needs_pseudo(), ..needs },
                watched,
                pairing: choice.served.clone(),
                picks: Vec::new(),
                store,
            });
        }
        crate::choice::link(recipe, &mut mixers)?;
        let mut kept_stages: Vec<usize> = mixers.iter().filter_map(|m| m.needs.features).collect();
        kept_stages.sort_unstable();
        kept_stages.dedup();

        let mut losses: Vec<LossUnit> = Vec::new();
        for (name, choice) in &recipe.losses {
            let loss = choice.config.build()?;
            let (entry, _) = registry.find::<dyn Loss>(&choice.plugin)?;
            let watched = watched(entry, name, &choice.config.resolved());
            let from_library = matches!(entry.origin, Origin::Library { .. });
            let arguments = loss.arguments();
            losses.push(LossUnit { name: name.clone(), arguments, loss, watched, from_library });
        }
        for name in registry.names::<dyn Loss>() {
            if losses.iter().any(|l| l.name == name) {
                continue;
            }
            let (entry, reader) = registry.find::<dyn Loss>(name)?;
            if (entry.defaults)().is_null() {
                // It is nothing without settings: a script.
                continue;
            }
            let mut empty = <dyn admix_api::erased_serde::Deserializer<'_>>::erase(serde_json::json!({}));
            let config =
                (reader.read)(&mut empty).map_err(|e| Error::Input(format!("loss `{name}`: {e}")))?;
            let loss = config.build()?;
            let watched = watched(entry, name, &config.resolved());
            let from_library = matches!(entry.origin, Origin::Library { .. });
            let arguments = loss.arguments();
            losses.push(LossUnit { name: name.to_string(), arguments, loss, watched, from_library });
        }

        let mut groups = vec![Group::new("net", recipe.lr(), recipe.min_lr, None)];
        for (name, group) in &recipe.groups {
            if !mixers.iter().any(|m| &m.name == name) {
                return Err(recipe.field_error(
                    &format!("groups.{name}"),
                    format!(
                        "is for no mixer; the recipe's `mixers` has {}{}",
                        list(mixers.iter().map(|m| &m.name)),
                        admix_api::did_you_mean(name, mixers.iter().map(|m| m.name.as_str()))
                    ),
                ));
            }
            groups.push(Group::new(
                name,
                group.lr.unwrap_or_else(|| recipe.lr()),
                group.min_lr.unwrap_or(recipe.min_lr),
                group.weight_decay,
            ));
        }
        let mut optimizer = Optimizer::new(recipe.optimizer.config.as_ref(), groups, device)?;
        for net in nets.iter().filter(|n| n.trained) {
            for (name, tensor, hints) in net.store.parameters() {
                optimizer.add(0, format!("net.{}.{name}", net.name), tensor, &hints)?;
            }
        }
        for head in heads.iter().filter(|head| head.trained) {
            for (name, tensor, hints) in head.store.parameters() {
                optimizer.add(0, format!("head.{}.{name}", head.name), tensor, &hints)?;
            }
        }
        for mixer in &mixers {
            let group = optimizer.group_named(&mixer.name).unwrap_or(0);
            for (name, tensor, hints) in mixer.store.parameters() {
                optimizer.add(group, format!("mixer.{}.{name}", mixer.name), tensor, &hints)?;
            }
        }
        let normalisation = shape.normalisation(device)?;
        let found_inf = Tensor::f_zeros([0i64; 0], (Kind::Float, device))?;
        let bn_groups = recipe.bn_groups;
        let mut world = Self {
            device,
            streams,
            nets,
            mixers,
            losses,
            optimizer,
            pairs,
            heads,
            queues,
            bn_groups,
            clusterers,
            split: shape.split,
            kept_stages,
            recompute_stages: recipe.recompute_stages.clone(),
            normalisation,
            found_inf,
            kept: KeptParts::default(),
            is_open: false,
            precision: Precision::default(),
            channels_last: false,
        };
        world.keep_room()?;
        Ok(world)
    }

    /// Makes room for what a step must be able to put back.
    pub(crate) fn keep_room(&mut self) -> Result<()> {
        let values = |all: Vec<(String, Tensor)>| all.into_iter().map(|(_, tensor)| tensor);
        let mixers = |on_device: bool| {
            let units = self.mixers.iter().filter(move |unit| unit.on_device() == on_device);
            Kept::of(units.flat_map(|unit| values(unit.store.tensors())).collect())
        };
        let early = self.pairs.iter().filter(|pair| pair.when == When::BeforeStep);
        self.kept = KeptParts {
            buffers: Kept::of(self.nets.iter().flat_map(|net| values(net.store.buffers())).collect())?,
            followers: Kept::of(early.flat_map(|pair| &pair.targets).map(Tensor::shallow_clone).collect())?,
            mixers: mixers(true)?,
            host_mixers: mixers(false)?,
        };
        Ok(())
    }

    /// What stands before the passes of a step: no gradients, momentum networks that follow first, nothing found yet. The
    /// rates and momenta are in their slots. The passes run under what is returned; it ends before weights change.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn open_step(&mut self) -> Result<Option<Autocast>> {
        self.optimizer.clear()?;
        {
            let _timed = spans::part(|| SAFEGUARD.into(), 0);
            self.kept.all().into_iter().try_for_each(Kept::keep)?;
        }
        self.is_open = true;
        self.follow(When::BeforeStep, false)?;
        let _ = self.found_inf.f_zero_()?;
        self.precision.enter(self.device)
    }

    /// What follows the last backward pass of a step: optimiser, mixers, queues, momentum networks. No gradients are left.
    /// As in [`open_step`](Self::open_step), no number of the host takes part that changes between steps. Of a step with a
    /// value that is not finite nothing is left, but what [`finish_step`](Self::finish_step) puts back.
    ///
    /// # Errors
    /// A mixer or libtorch refused.
    pub(crate) fn close_step(&mut self) -> Result<()> {
        self.is_open = false;
        let timed = spans::part(|| "optimiser".into(), 0);
        let KeptParts { buffers, followers: _, mixers, host_mixers } = &self.kept;
        [buffers, mixers, host_mixers].into_iter().try_for_each(|kept| kept.judge(&self.found_inf))?;
        self.optimizer.step(&self.found_inf)?;
        self.optimizer.clear()?;
        drop(timed);
        let timed = spans::part(|| "mixers and queues after the step".into(), 0);
        self.after_step(true)?;
        for unit in &mut self.queues {
            unit.queue.advance(&self.found_inf)?;
        }
        drop(timed);
        self.follow(When::AfterStep, true)?;
        let _timed = spans::part(|| SAFEGUARD.into(), 0);
        for unit in &mut self.clusterers {
            unit.clusterer.settle(&self.found_inf)?;
        }
        let KeptParts { buffers, followers, mixers, host_mixers: _ } = &self.kept;
        [buffers, followers, mixers].into_iter().try_for_each(|kept| kept.put_back_where(&self.found_inf))
    }

    /// What the host does at the end of a step: mixers that keep to it.
    ///
    /// # Errors
    /// A mixer refused.
    pub(crate) fn finish_step(&mut self) -> Result<()> {
        self.after_step(false)?;
        self.kept.host_mixers.put_back_where(&self.found_inf)
    }

    /// Puts back what a step has changed that failed, if its optimiser has not moved.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn undo_step(&mut self) -> Result<()> {
        if std::mem::take(&mut self.is_open) {
            self.kept.all().into_iter().try_for_each(Kept::put_back)?;
            let always = self.found_inf.f_ones_like()?;
            self.clusterers.iter_mut().try_for_each(|unit| unit.clusterer.settle(&always))?;
        }
        self.forget_step()
    }

    /// Ends a step on the host alone: nothing of it was executed, or it was put back.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn forget_step(&mut self) -> Result<()> {
        self.is_open = false;
        self.optimizer.thaw();
        self.queues.iter_mut().for_each(|unit| unit.queue.forget());
        self.clusterers.iter_mut().for_each(|unit| unit.clusterer.forget());
        self.optimizer.clear()
    }

    /// What mixers do after a step: those that keep to the device, or the others.
    ///
    /// # Errors
    /// A mixer refused.
    fn after_step(&mut self, on_device: bool) -> Result<()> {
        let _guard = admix_torch::no_grad();
        for unit in self.mixers.iter_mut().filter(|unit| unit.on_device() == on_device) {
            unit.mixer.after_step()?;
        }
        Ok(())
    }

    /// The label of a plugin whose results the host examines as soon as they are there, as a reason against capturing:
    /// of one that is not of this program, where the device is the host.
    pub(crate) fn examined(&self, watched: &Option<String>) -> Option<String> {
        let label = watched.as_ref().filter(|_| self.device == Device::Cpu)?;
        Some(format!("what {label} makes is examined by the host"))
    }

    fn follow(&self, when: When, judged: bool) -> Result<()> {
        let found_inf = judged.then_some(&self.found_inf);
        self.pairs.iter().filter(|pair| pair.when == when).try_for_each(|pair| {
            let _timed = spans::part(|| format!("pair {} to {}", pair.from, pair.to), 0);
            pair.follow(found_inf)
        })
    }

    /// Every tensor outside of a step's own that its work on the device reads or writes at a fixed place, by name: the
    /// state, the rates, the momenta, the flag.
    pub(crate) fn fixed(&self) -> Vec<(String, Tensor)> {
        let mut all: Vec<_> = self.tensors().into_iter().collect();
        all.extend(self.optimizer.slots().map(|(name, slot)| (format!("rate.{name}"), slot.shallow_clone())));
        all.extend(
            self.pairs.iter().map(|pair| (format!("momentum.{}", pair.to), pair.weight.shallow_clone())),
        );
        all.push(("found_inf".into(), self.found_inf.shallow_clone()));
        let kept = self.kept.all().into_iter().flat_map(Kept::copies).enumerate();
        all.extend(kept.map(|(number, copy)| (format!("kept.{number}"), copy)));
        all
    }

    /// Saliency `[N, H, W]` of images `[N, C, H, W]` with labels `[N]`: of the cross-entropy of the first trained network
    /// and its first head, in evaluation mode. Without classifiers it is that of the first head on embeddings for the
    /// cluster that it finds likeliest, whatever the labels. No gradient of a parameter is computed.
    ///
    /// # Errors
    /// No network or head, or shapes that do not fit.
    pub fn saliency(&self, images: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let net = self.nets.iter().find(|net| net.trained).or(self.nets.first());
        let network = &net.ok_or_else(|| Error::Input("there is no network".into()))?.network;
        let _graph = admix_torch::with_grad();
        let leaf = images.f_detach()?.f_set_requires_grad(true)?;
        let map = network.backbone().forward(&leaf, &Pass::EVALUATE)?;
        let classifiers = network.head_names();
        let (logits, labels) = match (classifiers.first(), self.heads.iter().find(|unit| unit.trained)) {
            (Some(head), _) => (network.forward_head(head, &map, false)?, labels.shallow_clone()),
            (None, Some(unit)) => {
                let logits = unit.forward(&network.embed(&map, false)?)?;
                let likeliest = logits.f_detach()?.f_argmax(1, false)?;
                (logits, likeliest)
            }
            (None, None) => {
                return Err(Error::Input(
                    "there is no head to take a saliency from: neither in `heads` nor in `embedding_heads`"
                        .into(),
                ));
            }
        };
        let loss = logits.f_cross_entropy_loss::<Tensor>(&labels, None, Reduction::Mean, -100, 0.0)?;
        let gradient = admix_torch::gradients(&[loss], &[leaf], false, false)?.into_iter().flatten().next();
        let gradient =
            gradient.ok_or_else(|| Error::Input("the logits do not depend on the images".into()))?;
        vocabulary::apply("saliency", &[&gradient], &[])
    }

    /// Every tensor that a checkpoint holds, by name.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let mut all = BTreeMap::new();
        for net in &self.nets {
            all.extend(net.store.tensors().into_iter().map(|(n, t)| (format!("net.{}.{n}", net.name), t)));
        }
        for mixer in &self.mixers {
            all.extend(
                mixer.store.tensors().into_iter().map(|(n, t)| (format!("mixer.{}.{n}", mixer.name), t)),
            );
        }
        for head in &self.heads {
            all.extend(head.store.tensors().into_iter().map(|(n, t)| (format!("head.{}.{n}", head.name), t)));
        }
        for unit in &self.queues {
            let named = |(part, tensor)| (format!("queue.{}.{part}", unit.name), tensor);
            all.extend(unit.queue.tensors().into_iter().map(named));
        }
        for unit in &self.clusterers {
            let named = |(part, tensor)| (format!("bank.{}.{part}", unit.name), tensor);
            all.extend(unit.clusterer.tensors().into_iter().map(named));
        }
        all.extend(self.optimizer.state());
        all
    }

    /// Fills every tensor from `values`; nothing is changed if one is missing or has another shape.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn load(&mut self, values: &BTreeMap<String, Tensor>) -> Result<()> {
        let own = self.tensors();
        for (name, tensor) in &own {
            let value =
                values.get(name).ok_or_else(|| admix_api::Error::MissingTensor { name: name.clone() })?;
            if value.size() != tensor.size() {
                return Err(admix_api::Error::Shape {
                    what: format!("tensor `{name}`"),
                    got: value.size(),
                    wanted: format!("{:?}", tensor.size()),
                }
                .into());
            }
        }
        let _guard = admix_torch::no_grad();
        for (name, mut tensor) in own {
            tensor.f_copy_(&values[&name])?;
        }
        for unit in &mut self.clusterers {
            unit.clusterer.loaded();
        }
        Ok(())
    }
}

/// How messages name a plugin that is not part of this program, but of a library or script.
fn watched(entry: &Entry, name: &str, settings: &serde_json::Value) -> Option<String> {
    let from = match (&entry.origin, settings["file"].as_str()) {
        (Origin::Library { path, .. } | Origin::Script { path }, _) => path.display().to_string(),
        (Origin::Linked { .. }, Some(file)) if entry.name == "script" => file.to_string(),
        (Origin::Linked { .. }, _) => return None,
    };
    Some(format!("{} `{name}` ({from})", entry.kind()))
}
