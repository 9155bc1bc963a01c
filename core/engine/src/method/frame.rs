//! One step while its script runs: records every verb and, unless it only records, executes it at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use admix_api::{Ask, Partner, Plan, did_you_mean, spans};
use admix_data::Batch;
use serde::{Deserialize, Serialize};

use crate::choice::{self, Weights};
use crate::method::execute::{StepReport, Values};
use crate::method::gradient::{LEARN, Run};
use crate::method::host::Param;
use crate::method::recorded::Traced;
use crate::method::trace::{BankVerb, Id, Input, MixArguments, Node, Op, Reach, SlotId, Trace};
use crate::method::tryout::Tryout;
use crate::method::vocabulary::without_graph;
use crate::script::sandbox;
use crate::world::{World, list};
use crate::{Error, Result};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Optimiser steps done.
    pub step: u64,
    /// Optimiser steps of the whole run.
    pub steps: u64,
    /// Epochs done.
    pub epoch: u64,
    /// Epochs of the whole run.
    pub epochs: u64,
}

impl Clock {
    /// Share of the run done, in [0, 1], by step.
    pub fn progress(&self) -> f64 {
        self.step as f64 / self.steps.max(1) as f64
    }

    /// Share of the run done, in [0, 1), by whole epochs: `e / E`.
    pub fn epoch_progress(&self) -> f64 {
        self.epoch as f64 / self.epochs.max(1) as f64
    }
}

/// What happens to a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Recorded, then executed at once.
    Execute,
    /// Recorded only: the trace is executed later.
    Record,
    /// Refused: `weights` and `schedule` only read the clock.
    Clock,
}

/// Verbs allowed in one step. The bundled methods have some twenty.
const MAX_VERBS: usize = 4096;

/// One step in the making.
#[derive(Debug)]
pub struct Frame {
    pub(crate) world: Rc<RefCell<World>>,
    pub(crate) mode: Mode,
    pub(crate) clock: Clock,
    pub(crate) base_lr: f64,
    pub(crate) base_ema: f64,
    pub(crate) params: BTreeMap<String, Param>,
    pub(crate) weights: BTreeMap<String, f64>,
    /// Weights of choices that `schedule` gave for this step.
    pub(crate) choices: Weights,
    /// Each choice picks the option of this number, counted round, instead of a drawn one.
    pub(crate) turn: Option<usize>,
    /// What the dry calls find out about plans.
    pub(crate) tryout: Tryout,
    /// Plans given from outside, by draw name.
    pub(crate) given: BTreeMap<String, Plan>,
    /// Keys the draws: counts every call of `step`, accumulated ones too.
    pub(crate) draw_step: u64,
    pub(crate) batch: Option<Batch>,
    pub(crate) trace: Trace,
    pub(crate) plans: BTreeMap<Id, Plan>,
    pub(crate) values: Values,
    inputs: HashMap<Input, Id>,
    /// Last growth of a pass: its graph hangs there.
    grown: HashMap<Id, Id>,
    pub(crate) draws: HashMap<String, usize>,
    /// Passes of this step that were dealt out to BatchNorm groups.
    pub(crate) passes: usize,
    terms: HashMap<String, usize>,
    /// Groups that this step leaves as they are, as "net.q", and the lines that say so.
    pub(crate) frozen: Vec<(String, usize)>,
    /// Nodes whose graph a verb has used up: which, and its line.
    pub(crate) spent: HashMap<Id, (&'static str, usize)>,
    /// Every term learned so far in this session, for the check of `weights`.
    pub(crate) learned: BTreeSet<String>,
}

impl Frame {
    /// A frame before any step.
    pub fn new(world: Rc<RefCell<World>>, base_lr: f64, base_ema: f64) -> Self {
        Self {
            world,
            mode: Mode::Clock,
            clock: Clock { step: 0, steps: 1, epoch: 0, epochs: 1 },
            base_lr,
            base_ema,
            params: BTreeMap::new(),
            weights: BTreeMap::new(),
            choices: Weights::new(),
            turn: None,
            tryout: Tryout::default(),
            given: BTreeMap::new(),
            draw_step: 0,
            batch: None,
            trace: Trace::default(),
            plans: BTreeMap::new(),
            values: Values::default(),
            inputs: HashMap::new(),
            grown: HashMap::new(),
            draws: HashMap::new(),
            passes: 0,
            terms: HashMap::new(),
            frozen: Vec::new(),
            spent: HashMap::new(),
            learned: BTreeSet::new(),
        }
    }

    /// Starts a step on a batch.
    pub fn begin(&mut self, batch: Batch, mode: Mode, detail: bool, accumulate: usize) {
        self.mode = mode;
        self.batch = Some(batch);
        self.trace = Trace::default();
        self.plans.clear();
        self.values = Values { detail, accumulate, ..Values::default() };
        self.inputs.clear();
        self.grown.clear();
        self.draws.clear();
        self.passes = 0;
        self.terms.clear();
        self.frozen.clear();
        self.spent.clear();
    }

    /// Ends a step: lets go of the batch, all handles and what was frozen.
    pub fn end(&mut self) -> StepReport {
        if !self.frozen.is_empty() {
            self.world.borrow_mut().optimizer.thaw();
            self.frozen.clear();
        }
        self.mode = Mode::Clock;
        self.batch = None;
        self.values.cells.clear();
        std::mem::take(&mut self.values.report)
    }

    /// Ends a step that only recorded, and takes out what it recorded.
    ///
    /// # Errors
    /// No step is being recorded.
    pub(crate) fn traced(&mut self) -> Result<Traced> {
        let batch = self.batch.take().ok_or_else(|| Error::Input("no batch".into()))?;
        self.mode = Mode::Clock;
        // Nothing was executed: what the trace freezes, its execution freezes and thaws.
        self.frozen.clear();
        Ok(Traced { trace: std::mem::take(&mut self.trace), plans: std::mem::take(&mut self.plans), batch })
    }

    /// Records a node and, when executing, runs it.
    pub(crate) fn push(
        &mut self,
        op: Op,
        at: (usize, usize),
        graph: bool,
        parents: Vec<Id>,
        shape: Option<[i64; 4]>,
    ) -> Result<Id> {
        let _outside = sandbox::outside();
        if self.mode == Mode::Clock {
            return Err(Error::Input(
                "only `step` may work on tensors; `params`, `weights` and `schedule` read the clock".into(),
            ));
        }
        let id = self.trace.nodes.len();
        if id >= MAX_VERBS {
            return Err(Error::Input(format!(
                "this step ran more than {MAX_VERBS} verbs, and what they make stays in memory until it ends: is there a \
                 loop that does not end?"
            )));
        }
        self.trace.nodes.push(Node { op, at, graph, parents, shape });
        if self.mode == Mode::Execute {
            let Some(batch) = &self.batch else { return Err(Error::Input("no batch".into())) };
            let node = &self.trace.nodes[id];
            self.values.execute(&mut self.world.borrow_mut(), batch, id, node)?;
        }
        Ok(id)
    }

    fn slot(&mut self, value: f64) -> Result<SlotId> {
        let slot = self.trace.number(value);
        if self.mode == Mode::Execute {
            self.values.slots.number(self.world.borrow().device, slot, value)?;
        }
        Ok(slot)
    }

    pub(crate) fn graph(&self, id: Id) -> bool {
        self.trace.nodes[id].graph
    }

    fn with_graph(&self, ids: impl IntoIterator<Item = Id>) -> Vec<Id> {
        ids.into_iter().filter(|id| self.graph(*id)).collect()
    }

    /// Something of the batch; the same handle each time.
    pub(crate) fn input(&mut self, input: Input, at: (usize, usize)) -> Result<Id> {
        if let Some(id) = self.inputs.get(&input) {
            return Ok(*id);
        }
        let split = self.world.borrow().split;
        if input == Input::Labels && !split.labelled() {
            return Err(Error::Input(format!(
                "`t.labels`: the images that are trained on have no labels, or not all of them, as `data.split` is {split}: \
                 choose a method that needs none, such as \"moco\", or train on the labelled images, data: (split: Train)"
            )));
        }
        let shape = match (input, &self.batch) {
            (Input::Images, Some(batch)) => batch.images.size4().ok().map(|(n, c, h, w)| [n, c, h, w]),
            (Input::View(view), Some(batch)) => {
                let size = batch.views.get(view).and_then(|view| view.size4().ok());
                size.map(|(n, c, h, w)| [n, c, h, w])
            }
            _ => None,
        };
        let id = self.push(Op::Input(input), at, false, Vec::new(), shape)?;
        self.inputs.insert(input, id);
        Ok(id)
    }

    /// How many views the batch has; 0 outside of a step.
    pub(crate) fn views(&self) -> usize {
        self.batch.as_ref().map_or(0, |batch| batch.views.len())
    }

    /// A view of the batch, from 0.
    pub(crate) fn view(&mut self, view: i64, at: (usize, usize)) -> Result<Id> {
        let views = self.views();
        match usize::try_from(view) {
            Ok(0) => self.input(Input::Images, at),
            Ok(number) if number < views => self.input(Input::View(number), at),
            _ => Err(Error::Input(format!(
                "the batch has {views} view(s) of each image, from `views[0]`, and no `views[{view}]`; the recipe's `data` \
                 says how many: data: (views: 2)"
            ))),
        }
    }

    pub(crate) fn pass(&mut self, run: Run, input: Id, at: (usize, usize)) -> Result<Id> {
        let Run { net, train } = run;
        let trained = self.net_learns(net);
        // A mix may happen inside of the network; then partners of another view pass through it too.
        let partners = match &self.trace.nodes[input].op {
            Op::Mix(mix) => mix.inputs.iter().find(|(name, _)| name == "partner_images").map(|(_, id)| *id),
            _ => None,
        };
        let partners = partners.filter(|_| self.may_be_hidden(input, |mix| mix.mixer));
        let graph = trained || self.graph(input) || partners.is_some_and(|id| self.graph(id));
        let parents = self.with_graph(partners.into_iter().chain([input]));
        if train && self.world.borrow().bn_groups > 1 {
            let shape = self.trace.nodes[input].shape.or_else(|| self.tensor_shape(input));
            let [samples, ..] = shape.ok_or_else(|| {
                Error::Input("with `bn_groups`, a pass takes images, a view or a mix of them".into())
            })?;
            self.deal_out(samples)?;
        }
        let id = self.push(Op::Pass { net, input, train, partners }, at, graph, parents, None)?;
        self.grown.insert(id, id);
        Ok(id)
    }

    /// Whether this is a mix that may happen inside of a network.
    fn may_be_hidden(&self, id: Id, mixer: fn(&MixArguments) -> usize) -> bool {
        let Op::Mix(mix) = &self.trace.nodes[id].op else { return false };
        self.world.borrow().mixers[mixer(mix)].needs.hidden.is_some()
    }

    /// Refuses a mix where its images are meant, if it may have none. In every step, so that it does not depend on the
    /// stage that is drawn, nor on what a choice picks.
    pub(crate) fn refuse_hidden(&self, ids: impl IntoIterator<Item = Id>) -> Result<()> {
        let hidden = |id: &Id| self.may_be_hidden(*id, |mix| mix.named);
        let Some(id) = ids.into_iter().find(hidden) else { return Ok(()) };
        let Op::Mix(mix) = &self.trace.nodes[id].op else { return Ok(()) };
        let world = self.world.borrow();
        Err(Error::Input(format!(
            "mixer `{}` may mix inside of the network, so its mix `{}` is no image: give it to a pass",
            world.mixers[mix.named].name, mix.draw
        )))
    }

    /// The stage that a mixer of this name reads.
    pub(crate) fn stage_of(&self, mixer: &str) -> Result<usize> {
        let world = self.world.borrow();
        let unit =
            world.mixers.iter().find(|m| m.name == mixer).ok_or_else(|| unknown_mixer(&world, mixer))?;
        unit.needs
            .features
            .ok_or_else(|| Error::Input(format!("mixer `{mixer}` ({}) reads no features", unit.plugin)))
    }

    pub(crate) fn grow(&mut self, pass: Id, to: Reach, at: (usize, usize)) -> Result<Id> {
        let Op::Pass { net, .. } = self.trace.nodes[pass].op else {
            return Err(Error::Input("expected a pass".into()));
        };
        {
            let world = self.world.borrow();
            let network = &world.nets[net].network;
            match &to {
                Reach::Head(head) if !network.head_names().contains(&head.as_str()) => {
                    let names = network.head_names();
                    return Err(Error::Input(format!(
                        "no head named `{head}`; the recipe has {}{}",
                        list(&names),
                        did_you_mean(head, names.iter().copied())
                    )));
                }
                Reach::Stage(stage) if *stage > network.backbone().stages() => {
                    return Err(Error::Input(format!(
                        "no stage {stage}; the network has {} stages",
                        network.backbone().stages()
                    )));
                }
                _ => {}
            }
        }
        let graph = self.graph(pass);
        // A pass is one chain: what comes later hangs on what ran before.
        let before = self.grown.get(&pass).copied().unwrap_or(pass);
        let parents = self.with_graph([pass, before]);
        let id = self.push(Op::Grow { pass, to }, at, graph, parents, None)?;
        self.grown.insert(pass, id);
        Ok(id)
    }

    pub(crate) fn mix(
        &mut self,
        mixer: &str,
        draw: Option<String>,
        mut inputs: Vec<(String, Id)>,
        quiet: bool,
        at: (usize, usize),
    ) -> Result<Id> {
        let _outside = sandbox::outside();
        let draw = draw.ok_or_else(|| {
            Error::Input(format!(
                "a mix needs `as`, the name of its draw: t.mix(\"{mixer}\", #{{ as: \"...\", ... }})"
            ))
        })?;
        self.refuse_drawn(&draw)?;
        let (named, index, plan, trained) = {
            let world = self.world.borrow();
            let named = world
                .mixers
                .iter()
                .position(|m| m.name == mixer)
                .ok_or_else(|| unknown_mixer(&world, mixer))?;
            check_mix_keys(&world, named, &inputs)?;
            let index = self.picked(&world, named, &draw)?;
            let unit = &world.mixers[index];
            self.refuse_hidden(inputs.iter().map(|(_, id)| *id))?;
            // Of what a choice was given for all its options, the one that was picked gets what it reads.
            let (must, may) = unit.needs.keys();
            inputs.retain(|(name, _)| must.iter().chain(&may).any(|key| key == name));
            let images = inputs.iter().find(|(name, _)| name == "images").map(|(_, id)| *id);
            let shape =
                images.and_then(|id| self.trace.nodes[id].shape).or_else(|| self.tensor_shape(images?));
            let Some([n, _, height, width]) = shape else {
                return Err(Error::Input("`images` of a mix must be [N, C, H, W]".into()));
            };
            let plan = match self.given.get(&draw) {
                Some(given) => given.clone(),
                None => {
                    let ask = Ask {
                        batch: n as usize,
                        height,
                        width,
                        pairing: unit.pairing.clone(),
                        lambda: None,
                        quiet,
                        progress: self.clock.progress(),
                    };
                    if self.turn.is_some() {
                        self.tryout.plans(&world, index, &ask)?;
                    }
                    let mut draws = world.streams.draws("mix", &draw, self.clock.epoch, self.draw_step);
                    let _timed = spans::part(|| format!("plan {}", unit.name), at.0);
                    unit.plan(&ask, &mut draws)?
                }
            };
            (named, index, plan, unit.trained().then(|| format!("mixer.{}", unit.name)))
        };
        let trained = trained.is_some_and(|mixer| self.moves(&mixer));
        let graph = !quiet && (trained || inputs.iter().any(|(_, id)| self.graph(*id)));
        let parents = if quiet { Vec::new() } else { self.with_graph(inputs.iter().map(|(_, id)| *id)) };
        let images = inputs.iter().find(|(name, _)| name == "images").map(|(_, id)| *id);
        let shape = images.and_then(|id| self.trace.nodes[id].shape);
        self.planned(plan)?;
        self.draws.insert(draw.clone(), at.0);
        self.push(
            Op::Mix(MixArguments { mixer: index, named, draw, inputs, quiet }),
            at,
            graph,
            parents,
            shape,
        )
    }

    /// Keeps the plan of the node that is recorded next.
    pub(crate) fn planned(&mut self, plan: Plan) -> Result<()> {
        let id = self.trace.nodes.len();
        if self.mode == Mode::Execute {
            self.values.slots.plan(self.world.borrow().device, id, &plan)?;
        }
        self.plans.insert(id, plan);
        Ok(())
    }

    /// The mixer that a mix is made by: the one of this index, or the one that it picks.
    fn picked(&self, world: &World, index: usize, draw: &str) -> Result<usize> {
        let unit = &world.mixers[index];
        if unit.picks.is_empty() {
            return Ok(index);
        }
        if let Some(turn) = self.turn {
            return Ok(unit.picks[turn % unit.picks.len()].0);
        }
        let mut draws = world.streams.draws("choice", draw, self.clock.epoch, self.draw_step);
        let picked = match self.choices.get(&unit.name) {
            Some(given) => {
                let weight = |option: usize| given.get(&world.mixers[option].name).copied().unwrap_or(0.0);
                let picks: Vec<_> = unit.picks.iter().map(|(option, _)| (*option, weight(*option))).collect();
                choice::pick(&picks, &mut draws)
            }
            None => choice::pick(&unit.picks, &mut draws),
        };
        picked.ok_or_else(|| choice::no_mixer(&world.mixers, unit))
    }

    fn tensor_shape(&self, id: Id) -> Option<[i64; 4]> {
        use crate::method::execute::Cell;
        match self.values.cells.get(id)? {
            Cell::Tensor(tensor) => tensor.size4().ok().map(|(n, c, h, w)| [n, c, h, w]),
            _ => None,
        }
    }

    pub(crate) fn target(&mut self, mix: Id, labels: Id, at: (usize, usize)) -> Result<Id> {
        self.push(Op::Target { mix, labels }, at, false, Vec::new(), None)
    }

    /// The keys of a mix's sources; with `partner_keys`, those of other images come from there.
    pub(crate) fn contrast(
        &mut self,
        mix: Id,
        keys: Id,
        partner_keys: Option<Id>,
        at: (usize, usize),
    ) -> Result<Id> {
        if let Op::Mix(arguments) = &self.trace.nodes[mix].op {
            let world = self.world.borrow();
            let unit = &world.mixers[arguments.mixer];
            if unit.pairing.partner == Partner::Permutation {
                return Err(Error::Input(format!(
                    "mixer `{}` may pair an image with itself, and then its mix shows what its keys are told by; add \
                     `partner: Derangement` to its settings",
                    unit.name
                )));
            }
        }
        let parents = self.with_graph(partner_keys.into_iter().chain([keys]));
        let graph = !parents.is_empty();
        self.push(Op::Contrast { mix, keys, partner_keys }, at, graph, parents, None)
    }

    fn queue_index(&self, name: &str) -> Result<usize> {
        let world = self.world.borrow();
        let names = || world.queues.iter().map(|unit| unit.name.as_str());
        names().position(|own| own == name).ok_or_else(|| {
            let hint = did_you_mean(name, names());
            let add = if world.queues.is_empty() {
                format!("; add `queues: {{\"{name}\": (length: 65536)}}` to it")
            } else {
                String::new()
            };
            Error::Input(format!(
                "no queue named `{name}`; the recipe's `queues` has {}{hint}{add}",
                list(names())
            ))
        })
    }

    /// The entries of a queue.
    pub(crate) fn queue(&mut self, name: &str, at: (usize, usize)) -> Result<Id> {
        let queue = self.queue_index(name)?;
        self.push(Op::Queue { queue }, at, false, Vec::new(), None)
    }

    /// Keys for a queue, after the step.
    pub(crate) fn enqueue(&mut self, name: &str, keys: Id, at: (usize, usize)) -> Result<()> {
        let queue = self.queue_index(name)?;
        self.push(Op::Enqueue { queue, keys }, at, false, Vec::new(), None).map(drop)
    }

    /// A linear head on embeddings.
    pub(crate) fn head(&mut self, name: &str, input: Id, at: (usize, usize)) -> Result<Id> {
        let (head, trained) = {
            let world = self.world.borrow();
            let names = || world.heads.iter().map(|unit| unit.name.as_str());
            let head = names().position(|own| own == name).ok_or_else(|| {
                Error::Input(format!(
                    "no head on embeddings named `{name}`; the recipe's `embedding_heads` has {}{}",
                    list(names()),
                    did_you_mean(name, names())
                ))
            })?;
            (head, world.heads[head].trained)
        };
        let trained = trained && self.moves(&format!("head.{name}"));
        let parents = self.with_graph([input]);
        let graph = trained || !parents.is_empty();
        self.push(Op::Head { head, input }, at, graph, parents, None)
    }

    /// The clusterer of this name.
    pub(crate) fn bank(&self, name: &str) -> Result<usize> {
        let world = self.world.borrow();
        let names = || world.clusterers.iter().map(|unit| unit.name.as_str());
        names().position(|own| own == name).ok_or_else(|| {
            let hint = did_you_mean(name, names());
            let add = if world.clusterers.is_empty() {
                format!("; add `clusterers: {{\"{name}\": Odc(k: 200)}}` to it")
            } else {
                String::new()
            };
            Error::Input(format!(
                "no clusterer named `{name}`; the recipe's `clusterers` has {}{hint}{add}",
                list(names())
            ))
        })
    }

    pub(crate) fn ask_bank(&mut self, bank: usize, verb: BankVerb, at: (usize, usize)) -> Result<Id> {
        self.push(Op::Bank { bank, verb }, at, false, Vec::new(), None)
    }

    pub(crate) fn part(&mut self, mix: Id, name: &str, at: (usize, usize)) -> Result<Id> {
        let (graph, shape) = (self.graph(mix), self.trace.nodes[mix].shape.filter(|_| name == "images"));
        let parents = self.with_graph([mix]);
        self.push(Op::Part { mix, name: name.into() }, at, graph, parents, shape)
    }

    pub(crate) fn loss(&mut self, name: &str, arguments: Vec<Id>, at: (usize, usize)) -> Result<Id> {
        let index = {
            let world = self.world.borrow();
            let names = || world.losses.iter().map(|l| l.name.as_str());
            let index = world.losses.iter().position(|l| l.name == name).ok_or_else(|| {
                Error::Input(format!(
                    "no loss named `{name}`; known: {}{}",
                    list(names()),
                    did_you_mean(name, names())
                ))
            })?;
            let unit = &world.losses[index];
            if unit.arguments.len() != arguments.len() {
                let wanted: Vec<String> = unit.arguments.iter().map(|a| a.describe()).collect();
                return Err(Error::Input(format!(
                    "loss `{name}` takes {} ({} given)",
                    wanted.join(" and "),
                    arguments.len()
                )));
            }
            index
        };
        let parents = self.with_graph(arguments.iter().copied());
        let graph = !parents.is_empty();
        self.push(Op::Loss { loss: index, arguments }, at, graph, parents, None)
    }

    /// Learns from terms. With `input_grad`, a leaf, the result is the gradient of their weighted sum for it.
    pub(crate) fn learn(
        &mut self,
        terms: Vec<(String, Id)>,
        input_grad: Option<Id>,
        at: (usize, usize),
    ) -> Result<Id> {
        let mut weighted = Vec::new();
        for (name, id) in terms {
            if let Some(first) = self.terms.insert(name.clone(), at.0) {
                return Err(Error::Input(format!(
                    "the term `{name}` was learned in line {first} already, and again in line {}; give one of them \
                     another name",
                    at.0
                )));
            }
            self.refuse_spent(id, &format!("the term `{name}`"))?;
            let weight = *self.weights.get(&name).ok_or_else(|| {
                Error::Input(format!(
                    "the term `{name}` is not in `weights`, which has {}{}",
                    list(self.weights.keys()),
                    did_you_mean(&name, self.weights.keys().map(String::as_str))
                ))
            })?;
            self.learned.insert(name.clone());
            let slot = self.slot(weight / self.values.accumulate.max(1) as f64)?;
            weighted.push((name, id, slot));
        }
        let ids: Vec<Id> = weighted.iter().map(|(_, id, _)| *id).collect();
        if !ids.is_empty() && !ids.iter().any(|id| self.reaches_parameters(*id)) {
            return Err(Error::Input(format!(
                "no term of this `learn` reaches a trained parameter: pass a trained network, or a mix made by \
                 `t.mix` of a mixer with parameters{}",
                self.frozen_note()
            )));
        }
        if let Some(input) = input_grad {
            self.check_input_grad(input, &ids)?;
        }
        let shape = input_grad.and_then(|input| self.trace.nodes[input].shape);
        let id = self.push(Op::Learn { terms: weighted, input_grad }, at, false, Vec::new(), shape)?;
        self.spend(ids, LEARN, at.0);
        Ok(id)
    }

    pub(crate) fn tensor(
        &mut self,
        verb: &'static str,
        arguments: Vec<Id>,
        numbers: Vec<f64>,
        sizes: Vec<i64>,
        at: (usize, usize),
    ) -> Result<Id> {
        let numbers = numbers.into_iter().map(|n| self.slot(n)).collect::<Result<Vec<_>>>()?;
        let parents =
            if without_graph(verb) { Vec::new() } else { self.with_graph(arguments.iter().copied()) };
        let graph = !parents.is_empty();
        self.push(Op::Tensor { verb, arguments, numbers, sizes }, at, graph, parents, None)
    }

    pub(crate) fn log(&mut self, name: &str, value: Id, at: (usize, usize)) -> Result<()> {
        self.push(Op::Log { name: name.into(), value }, at, false, Vec::new(), None).map(drop)
    }

    /// The line of the step's first `learn`, if there was one.
    pub(crate) fn learned_at(&self) -> Option<usize> {
        self.terms.values().copied().min()
    }

    /// Whether a network is trained, and moves in this step.
    pub(crate) fn net_learns(&self, net: usize) -> bool {
        let name = {
            let world = self.world.borrow();
            world.nets[net].trained.then(|| format!("net.{}", world.nets[net].name))
        };
        name.is_some_and(|name| self.moves(&name))
    }

    /// Whether a mixer reads this key of a mix beside the images.
    pub(crate) fn needs(&self, mixer: &str, key: &str) -> Result<bool> {
        const KEYS: [&str; 3] = ["features", "saliency", "pseudo"];
        if !KEYS.contains(&key) {
            let hint = did_you_mean(key, KEYS);
            return Err(Error::Input(format!("a mixer may need {}, not `{key}`{hint}", list(KEYS))));
        }
        let world = self.world.borrow();
        let unit =
            world.mixers.iter().find(|m| m.name == mixer).ok_or_else(|| unknown_mixer(&world, mixer))?;
        Ok(unit.needs.keys().0.contains(&key))
    }

    pub(crate) fn has_mixer(&self, name: &str) -> bool {
        self.world.borrow().mixers.iter().any(|m| m.name == name)
    }

    pub(crate) fn weight(&self, name: &str) -> Result<f64> {
        self.weights.get(name).copied().ok_or_else(|| {
            Error::Input(format!("no weight named `{name}`; `weights` has {}", list(self.weights.keys())))
        })
    }

    pub(crate) fn param(&self, name: &str) -> Result<Param> {
        self.params.get(name).cloned().ok_or_else(|| {
            Error::Input(format!(
                "no parameter named `{name}`; `params` has {}{}",
                list(self.params.keys()),
                did_you_mean(name, self.params.keys().map(String::as_str))
            ))
        })
    }
}

fn unknown_mixer(world: &World, name: &str) -> Error {
    let names = || world.mixers.iter().map(|m| m.name.as_str());
    Error::Input(format!(
        "no mixer named `{name}`; the recipe's `mixers` has {}{}",
        list(names()),
        did_you_mean(name, names())
    ))
}

/// The keys of a mix must be what its mixer needs.
fn check_mix_keys(world: &World, mixer: usize, inputs: &[(String, Id)]) -> Result<()> {
    let unit = &world.mixers[mixer];
    let mixer = &unit.name;
    let (wanted, optional) = unit.needs.keys();
    let given: Vec<&str> = inputs.iter().map(|(name, _)| name.as_str()).collect();
    if let Some(missing) = wanted.iter().find(|name| !given.contains(name)) {
        // The pairing of the mixer itself, or of one that it picks.
        let mut units = [unit].into_iter().chain(unit.picks.iter().map(|(index, _)| &world.mixers[*index]));
        let pairing = units.find(|unit| *missing == "pseudo" && unit.pairing.partner.needs_pseudo());
        let why = pairing.map(|unit| {
            format!(", as `mixers.{}.partner` of the recipe is {}", unit.name, unit.pairing.partner)
        });
        return Err(Error::Input(format!(
            "mixer `{mixer}` needs `{missing}`{}; it was given {}. Add `{missing}: ...` to the keys of the mix",
            why.unwrap_or_default(),
            list(&given)
        )));
    }
    if let Some(extra) = given.iter().find(|name| !wanted.contains(name) && !optional.contains(name)) {
        return Err(Error::Input(format!(
            "mixer `{mixer}` takes no `{extra}`; it takes `as`, {}",
            list(wanted.iter().chain(&optional))
        )));
    }
    Ok(())
}
