//! Everything that a step reads and changes: networks, mixers, losses, optimiser, momentum pairs.
//!
//! The state is made of [parts](part::Part). What all of them go through is here; what each does, in its file.

mod clusterer_unit;
mod fused;
mod head_unit;
mod kept;
mod loss_unit;
mod memory;
mod memory_format;
mod mixer_unit;
mod net;
mod optimizer;
mod pair;
mod part;
mod passed;
mod plugin;
mod queue_unit;
mod running;
mod saliency;
mod shape;

use std::collections::BTreeMap;
use std::rc::Rc;

use admix_api::{Registry, Streams, spans};
use admix_data::TrainSplit;
use admix_torch::{Autocast, Device, Kind, Tensor};

pub use clusterer_unit::ClustererUnit;
pub use head_unit::HeadUnit;
pub(crate) use kept::Kept;
pub use loss_unit::LossUnit;
pub(crate) use memory::Memory;
pub use mixer_unit::MixerUnit;
pub use net::Net;
pub(crate) use optimizer::{Group, Optimizer, Rules, is_in};
pub use pair::Pair;
pub(crate) use passed::Passed;
pub use queue_unit::QueueUnit;
pub use shape::Shape;

use crate::Result;
use crate::choice;
use crate::method::Clock;
use crate::precision::Precision;
use crate::recipe::Recipe;
use part::{Parameter, Part};
use running::Running;

/// What a profile calls the work that lets a step be skipped.
const SAFEGUARD: &str = "copies against bad steps";

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
    /// Whether BatchNorms of networks and heads normalise over all processes.
    bn_sync: bool,
    /// Clusterers.
    pub clusterers: Vec<ClustererUnit>,
    /// What the script keeps from one step to the next.
    pub(crate) memory: Memory,
    /// Which images are trained on: only `Train` are all labelled.
    pub split: TrainSplit,
    /// Number of classes of the data; 0 where no image has a label.
    pub classes: i64,
    /// Stages whose features a mixer reads: passes keep them.
    pub kept_stages: Vec<usize>,
    /// Stages whose activations a backward pass computes again.
    pub recompute_stages: Vec<usize>,
    /// What images are normalised by, `(pixel - mean) / std` with pixels in [0, 1]: mean and standard deviation, both
    /// `[1, C, 1, 1]` float32. 0 and 1 for data that are not.
    pub normalisation: (Tensor, Tensor),
    /// 0-dim float32: not zero when this step must be skipped.
    pub found_inf: Tensor,
    /// The processes that train together, if there are several.
    pub(crate) group: Option<Rc<admix_torch::Group>>,
    /// What passes move, of a step of several parts.
    running: Option<Running>,
    /// What parts change before the verdict on a step.
    early: Vec<Early>,
    /// A step has begun and its optimiser has not moved.
    is_open: bool,
    /// What steps and evaluations compute in.
    pub precision: Precision,
    /// Whether kernels and images have their channels innermost in memory.
    pub channels_last: bool,
}

/// The one list of parts.
macro_rules! parts {
    ($reference:tt $($mutable:ident)?, $world:ident, $all:ident) => {
        std::iter::once($reference $($mutable)? $world.optimizer as $reference $($mutable)? dyn Part)
            .chain($world.nets.$all().map(|part| part as _))
            .chain($world.heads.$all().map(|part| part as _))
            .chain($world.mixers.$all().map(|part| part as _))
            .chain($world.queues.$all().map(|part| part as _))
            .chain($world.pairs.$all().map(|part| part as _))
            .chain($world.clusterers.$all().map(|part| part as _))
            .chain(std::iter::once($reference $($mutable)? $world.memory as _))
    };
}

/// What parts change before the verdict, with its values from before.
#[derive(Debug)]
struct Early {
    kept: Kept,
    is_judged: bool,
    is_on_host: bool,
}

impl World {
    /// Builds everything that a recipe names.
    ///
    /// # Errors
    /// A pair or a group that names nothing, settings out of range.
    pub fn build(recipe: &Recipe, registry: &Registry, shape: Shape, device: Device) -> Result<Self> {
        let streams = Streams::new(recipe.seed);
        let nets = Net::all(recipe, &shape, &streams, device)?;
        let width = nets.first().map_or(0, Net::embedding_width);
        let clusterers = ClustererUnit::all(recipe, &shape, width, device)?;
        let queues = QueueUnit::all(recipe, width, &streams, device)?;
        let heads = HeadUnit::all(recipe, (width, shape.classes), &streams, device)?;
        let pairs = Pair::all(recipe, &nets, &heads, device)?;
        let mut mixers = MixerUnit::all(recipe, registry, &shape, &nets, &streams, device)?;
        choice::link(recipe, &mut mixers)?;
        MixerUnit::refuse_resting(recipe, &mixers)?;
        let mut kept_stages: Vec<usize> = mixers.iter().filter_map(|m| m.needs.features).collect();
        kept_stages.sort_unstable();
        kept_stages.dedup();
        let losses = LossUnit::all(recipe, registry)?;
        let optimizer = Optimizer::of(recipe, device)?;
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
            bn_sync: recipe.bn_sync,
            clusterers,
            memory: Memory::default(),
            split: shape.split,
            classes: shape.classes,
            kept_stages,
            recompute_stages: recipe.recompute_stages.clone(),
            normalisation,
            found_inf,
            group: None,
            running: None,
            early: Vec::new(),
            is_open: false,
            precision: Precision::default(),
            channels_last: false,
        };
        let mut all = Vec::new();
        for part in world.parts() {
            let (parameters, group) = part.parameters();
            let group = group.and_then(|name| world.optimizer.group_named(name)).unwrap_or(0);
            all.extend(parameters.into_iter().map(|parameter| (group, parameter)));
        }
        for (group, Parameter { name, tensor, hints, rate }) in all {
            world.optimizer.add(group, name, tensor, &hints, rate)?;
        }
        world.keep_room()?;
        Ok(world)
    }

    /// The parts of the state, in the order in which a step ends for them.
    fn parts(&self) -> impl Iterator<Item = &dyn Part> {
        parts!(&, self, iter)
    }

    /// The same, to change.
    fn parts_mut(&mut self) -> impl Iterator<Item = &mut dyn Part> {
        parts!(&mut, self, iter_mut)
    }

    /// Makes room for what a step must be able to put back.
    pub(crate) fn keep_room(&mut self) -> Result<()> {
        // Few groups of many tensors: each is copied at once.
        let mut groups: BTreeMap<(bool, bool), Vec<Tensor>> = BTreeMap::new();
        for part in self.parts() {
            groups.entry((part.is_judged(), part.is_on_host())).or_default().extend(part.early());
        }
        let groups = groups.into_iter().filter(|(_, tensors)| !tensors.is_empty());
        let early = groups.map(|((is_judged, is_on_host), tensors)| {
            Ok(Early { kept: Kept::of(tensors)?, is_judged, is_on_host })
        });
        self.early = early.collect::<Result<_>>()?;
        Ok(())
    }

    /// Shares out the parts of each step to the processes of a group, of which this is one.
    pub(crate) fn share(&mut self, group: &Rc<admix_torch::Group>) {
        self.group = Some(group.clone());
        if self.bn_sync {
            self.nets.iter().for_each(|net| net.network.share_batch_norms(group));
            self.heads.iter().for_each(|head| head.share_batch_norms(group));
        }
    }

    /// The number of this process, from 0, and how many train together.
    pub(crate) fn place(&self) -> (usize, usize) {
        self.group.as_ref().map_or((0, 1), |group| (group.rank(), group.processes()))
    }

    /// Makes ready for steps of so many parts in this process.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn expect_parts(&mut self, parts: usize) -> Result<()> {
        let several = parts > 1 || self.group.is_some();
        if several && self.running.as_ref().is_none_or(|running| running.parts() != parts) {
            let live = self.parts().flat_map(Part::running);
            let live = live.filter(|tensor| tensor.is_floating_point()).collect();
            self.running = Some(Running::of(live, parts)?);
        } else if !several {
            self.running = None;
        }
        Ok(())
    }

    /// The passes of a part are done, counted from 0 in this process.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn end_part(&self, part: usize) -> Result<()> {
        let _guard = admix_torch::no_grad();
        self.running.as_ref().map_or(Ok(()), |running| running.end_part(part))
    }

    /// A part of this process waits for the others in the middle of the step: they begin as it did.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn pause_part(&mut self, part: usize) -> Result<()> {
        let _guard = admix_torch::no_grad();
        self.optimizer.thaw();
        self.running.as_mut().map_or(Ok(()), |running| running.pause_part(part))
    }

    /// A part goes on after it waited, with what it froze.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn resume_part(&mut self, part: usize, frozen: &[String]) -> Result<()> {
        let _guard = admix_torch::no_grad();
        frozen.iter().try_for_each(|group| self.optimizer.freeze(group))?;
        self.running.as_ref().map_or(Ok(()), |running| running.resume_part(part))
    }

    /// What stands before the passes of a step: no gradients, momentum networks that follow first, nothing found yet. The
    /// rates and momenta are in their slots. The passes run under what is returned; it ends before weights change.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn open_step(&mut self) -> Result<Option<Autocast>> {
        {
            let _timed = spans::part(|| SAFEGUARD.into(), 0);
            self.early.iter().try_for_each(|early| early.kept.keep())?;
        }
        self.is_open = true;
        self.running.as_ref().map_or(Ok(()), Running::begin)?;
        self.parts_mut().try_for_each(Part::begin)?;
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
        let found_inf = self.found_inf.shallow_clone();
        {
            let _timed = spans::part(|| SAFEGUARD.into(), 0);
            let mut judged = self.early.iter().filter(|early| early.is_judged);
            judged.try_for_each(|early| early.kept.judge(&found_inf))?;
        }
        self.parts_mut().try_for_each(|part| part.close(&found_inf))?;
        let _timed = spans::part(|| SAFEGUARD.into(), 0);
        self.put_back(false)
    }

    /// Whether other processes have parts of each step.
    pub(crate) fn waits_for_others(&self) -> bool {
        self.place().1 > 1
    }

    /// Whether BatchNorms wait for other processes within a pass.
    pub(crate) fn waits_for_norms(&self) -> bool {
        self.bn_sync && self.waits_for_others()
    }

    /// Makes one of what each process has of a step, before its end: the sum of the gradients, the mean of the running values,
    /// the keys of all for queues, and whether any found a value that is not finite. Gradients are means already: weights of
    /// terms are divided by the number of parts.
    ///
    /// # Errors
    /// A process is gone.
    pub(crate) fn unite(&mut self) -> Result<()> {
        let (Some(group), Some(running)) = (self.group.clone(), &self.running) else { return Ok(()) };
        let _timed = spans::part(|| "gradients of all processes".into(), 0);
        let _guard = admix_torch::no_grad();
        let mut all = self.optimizer.gradients_of(|own| Ok(group.any(own)?))?;
        let share = Tensor::f_full([0i64; 0], 1.0 / group.processes() as f64, (Kind::Float, self.device))?;
        admix_torch::scale_all(running.live(), &share)?;
        all.extend(running.live().iter().map(Tensor::shallow_clone));
        all.push(self.found_inf.shallow_clone());
        group.all_reduce(&all)?;
        for unit in &mut self.queues {
            for keys in unit.queue.take_waiting() {
                unit.queue.enqueue(&group.all_gather(&keys)?)?;
            }
        }
        Ok(())
    }

    /// Takes out what the passes of a step hand on to its end.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn take_passed(&mut self) -> Result<Passed> {
        let gradients = self.optimizer.take_gradients()?;
        let keys = self.queues.iter_mut().map(|unit| unit.queue.take_waiting()).collect();
        Ok(Passed { gradients, keys })
    }

    /// Puts it back.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn give_passed(&mut self, passed: &Passed) -> Result<()> {
        self.optimizer.give_gradients(&passed.gradients)?;
        let queues = self.queues.iter_mut().zip(&passed.keys);
        queues
            .into_iter()
            .try_for_each(|(unit, keys)| keys.iter().try_for_each(|keys| unit.queue.enqueue(keys)))
    }

    /// The rows `[N, ..]` of all processes, `[P N, ..]`, in the order of parts.
    ///
    /// # Errors
    /// A process is gone.
    pub(crate) fn rows_of_all(&self, rows: &Tensor) -> Result<Tensor> {
        match &self.group {
            Some(group) => Ok(group.all_gather(rows)?),
            None => Ok(rows.shallow_clone()),
        }
    }

    /// The rows `[N, ..]` of each part of this process and of all others, `[parts N, ..]`, in the order of parts.
    ///
    /// # Errors
    /// A process is gone.
    pub(crate) fn rows_of_parts(&self, rows: &[Tensor]) -> Result<Tensor> {
        let turns = rows.iter().map(|rows| self.rows_of_all(rows)).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::f_cat(&turns, 0)?)
    }

    /// What the host does at the end of a step.
    ///
    /// # Errors
    /// A mixer refused.
    pub(crate) fn finish_step(&mut self) -> Result<()> {
        self.parts_mut().try_for_each(Part::finish)?;
        self.put_back(true)
    }

    fn put_back(&self, is_on_host: bool) -> Result<()> {
        let mut early = self.early.iter().filter(|early| early.is_on_host == is_on_host);
        early.try_for_each(|early| early.kept.put_back_where(&self.found_inf))
    }

    /// What is due between two steps, `clock.step` of which are done. It may wait for the device.
    ///
    /// # Errors
    /// A clusterer refused.
    pub(crate) fn between_steps(&mut self, clock: Clock) -> Result<()> {
        let streams = self.streams;
        self.parts_mut().try_for_each(|part| part.between(&streams, clock))?;
        self.share_clusters(false)
    }

    /// Gives all processes the clusters of the first one, where they were made anew or `always`: a device need not add up
    /// features in the same order twice.
    ///
    /// # Errors
    /// A process is gone.
    pub(crate) fn share_clusters(&mut self, always: bool) -> Result<()> {
        let _guard = admix_torch::no_grad();
        for unit in &mut self.clusterers {
            let renewed = unit.renewed();
            let Some(group) = self.group.as_deref().filter(|_| renewed || always) else { continue };
            let tensors: Vec<Tensor> =
                unit.clusterer.tensors().into_iter().map(|(_, tensor)| tensor).collect();
            group.broadcast(&tensors, 0)?;
            unit.clusterer.loaded();
        }
        Ok(())
    }

    /// Puts back what a step has changed that failed, if its optimiser has not moved.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn undo_step(&mut self) -> Result<()> {
        if std::mem::take(&mut self.is_open) {
            self.early.iter().try_for_each(|early| early.kept.put_back())?;
            let always = self.found_inf.f_ones_like()?;
            self.parts_mut().try_for_each(|part| part.undo(&always))?;
        }
        self.forget_step()
    }

    /// Ends a step on the host alone: nothing of it was executed, or it was put back.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn forget_step(&mut self) -> Result<()> {
        self.is_open = false;
        self.parts_mut().try_for_each(Part::forget)
    }

    /// The label of a plugin whose results the host examines as soon as they are there, as a reason against capturing:
    /// of one that is not of this program, where the device is the host.
    pub(crate) fn examined(&self, watched: &Option<String>) -> Option<String> {
        let label = watched.as_ref().filter(|_| self.device == Device::Cpu)?;
        Some(format!("what {label} makes is examined by the host"))
    }

    /// Every tensor outside of a step's own that its work on the device reads or writes at a fixed place, by name: the
    /// state, the rates, the momenta, the flag.
    pub(crate) fn fixed(&self) -> Vec<(String, Tensor)> {
        let mut all: Vec<_> = self.tensors().into_iter().collect();
        all.extend(self.parts().flat_map(Part::slots));
        all.push(("found_inf".into(), self.found_inf.shallow_clone()));
        let kept = self.early.iter().flat_map(|early| early.kept.copies()).enumerate();
        all.extend(kept.map(|(number, copy)| (format!("kept.{number}"), copy)));
        let running = self.running.iter().flat_map(Running::copies).enumerate();
        all.extend(running.map(|(number, copy)| (format!("running.{number}"), copy.shallow_clone())));
        all
    }

    /// Makes what follows a network or head a copy of it again: its weights came from elsewhere.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn start_followers(&mut self) -> Result<()> {
        self.pairs.iter().try_for_each(|pair| pair.start(&self.nets, &self.heads))
    }

    /// Every tensor that a checkpoint holds, by name.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.parts().flat_map(Part::tensors).collect()
    }

    /// Fills every tensor from `values`; nothing is changed if one is missing or has another shape.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn load(&mut self, values: &BTreeMap<String, Tensor>) -> Result<()> {
        let mut own = self.tensors();
        // Steps make the tensors of the memory, so those of the values count.
        own.retain(|name, _| !Memory::owns(name));
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
        self.memory.adopt(values)?;
        self.parts_mut().for_each(Part::loaded);
        Ok(())
    }
}
