//! Executes the nodes of a trace on the world: the only place where a step touches tensors.

use std::collections::BTreeMap;

use admix_api::{Argument, Credit, LossInput, MixInput, Mixed, Planned, spans};
use admix_data::Batch;
use admix_torch::{Device, Kind, Tensor};

use crate::method::draws::{BACK, FIELD, KEY, NUMBER, ORDER};
use crate::method::recompute::{self, Segment};
use crate::method::recorded::Recorded;
use crate::method::row;
use crate::method::trace::{BankVerb, Id, Input, MixArguments, Node, Op, Reach};
use crate::method::vocabulary;
use crate::world::World;
use crate::{Error, Result};

/// A network pass that grows on demand.
#[derive(Debug)]
pub struct Pass {
    /// Index of the network.
    pub(super) net: usize,
    /// Train mode, or evaluation mode.
    train: bool,
    /// Output of the last stage run; the images before that.
    map: Tensor,
    /// The next stage to run: 0 is the stem.
    next: usize,
    kept: BTreeMap<usize, Tensor>,
    /// A mix that is still to come.
    hidden: Option<HiddenMix>,
    /// Where BatchNorms work in groups: the order of the samples inside of the pass, `[N]` int64, and the way back.
    order: Option<(Tensor, Tensor)>,
    /// The embedding, once asked for.
    embedding: Option<Tensor>,
}

/// A mix inside of a pass.
#[derive(Debug)]
struct HiddenMix {
    /// At the output of this stage.
    stage: usize,
    /// The handle of the mix.
    mix: Id,
    /// The images whose maps partners are taken from, if not the pass's own.
    partners: Option<Tensor>,
}

/// What a handle stands for.
#[derive(Debug)]
pub enum Cell {
    /// A tensor.
    Tensor(Tensor),
    /// A growing pass.
    Pass(Pass),
    /// A mix and the lambda it was planned with.
    Mix(Box<Mixed>, Tensor),
    /// A mixed target: `labels [N, S]` int64 and `shares [N, S]` float32.
    Target(Tensor, Tensor),
    /// Nothing to hold.
    Done,
}

/// What one step gave.
#[derive(Debug, Default)]
pub struct StepReport {
    /// Each term before weighting, 0-dim on the device, without graph.
    pub losses: Vec<(String, Tensor)>,
    /// Values that the script logged, 0-dim on the device.
    pub logged: Vec<(String, Tensor)>,
    /// 0-dim: not zero where the update was skipped.
    pub found_inf: Option<Tensor>,
    /// Of each mix by a plugin that is not of this program: its label and, 0-dim on the device, whether it is well.
    pub health: Vec<(String, Tensor)>,
    /// Mixed images and masks by draw name; only when details are asked for.
    pub mixes: BTreeMap<String, MixReport>,
    /// Gradients by parameter name; only when details are asked for.
    pub gradients: BTreeMap<String, Tensor>,
    /// Learning rate of each group.
    pub rates: Vec<f64>,
    /// Momentum of the first pair, if there is one.
    pub momentum: Option<f64>,
}

impl StepReport {
    /// Adds what another part of an accumulated step gave: losses are averaged in the log.
    pub fn absorb(&mut self, other: StepReport) {
        self.losses.extend(other.losses);
        self.logged.extend(other.logged);
        self.health.extend(other.health);
        self.mixes.extend(other.mixes);
    }
}

/// One mix, without graph.
#[derive(Debug)]
pub struct MixReport {
    /// `[N, C, H, W]`. Of a hidden mix in a step: the images as they are.
    pub images: Tensor,
    /// The own image's mask, `[N, 1, H, W]`. Of a hidden mix in a step: as the mixer gave it.
    pub mask: Option<Tensor>,
    /// The stage whose output is mixed, from 1; 0 where images are.
    pub stage: usize,
    /// As planned: 0-dim or `[N]`. Of a mixer that plans none, the own image's share, `[N]`.
    pub lambda: Tensor,
    /// `[N]` int64. `None` of a mixer that plans none, as it mixes more than pairs.
    pub partner: Option<Tensor>,
    /// The saliency that the mixer was given or computed, `[1 or N, H, W]`.
    pub saliency: Option<Tensor>,
}

/// The saliency that a mixer was given, or else that it computed.
pub(crate) fn saliency_of(mixed: &Mixed, given: Option<&Tensor>) -> Option<Tensor> {
    given.or(mixed.extras.get(Mixed::SALIENCY)).map(Tensor::shallow_clone)
}

/// lambda as planned, 0-dim or `[N]`; of a mixer that plans none, the own image's share, `[N]`.
pub(crate) fn lambda_of(mixed: &Mixed, planned: &Planned) -> Result<Tensor> {
    Ok(planned.lambda().or_else(|_| mixed.credit.own_share())?)
}

/// How far the shares of a mix are from what they must be, 0-dim: 0 is well, and not a number stands for images that
/// are not finite. No host sync.
fn health(mixed: &Mixed) -> Result<Tensor> {
    let (_, shares) = mixed.credit.shares()?;
    let shares = shares.f_to_kind(Kind::Float)?;
    let sums = shares.f_sum_dim_intlist(1i64, false, Kind::Float)?;
    let off = sums.f_add_scalar(-1.0)?.f_abs()?.f_max()?;
    let below = shares.f_min()?.f_neg()?;
    let finite = mixed.images.f_detach()?.f_sum(Kind::Float)?.f_mul_scalar(0.0)?;
    Ok(off.f_maximum(&below)?.f_detach()?.f_add(&finite)?)
}

/// Reads [`health`].
///
/// # Errors
/// The mix is not well; the message names the plugin.
pub(crate) fn verdict(label: &str, health: f64) -> Result<()> {
    let message = if !health.is_finite() {
        "`mix` returned images that are not finite".to_string()
    } else if health > SHARES_MAY_BE_OFF {
        format!(
            "`mix` returned shares that are not a share-out of 1 (off by {health:.3}): rows must be from 0 and sum to 1"
        )
    } else {
        return Ok(());
    };
    Err(admix_api::Error::Plugin { plugin: label.to_string(), message }.into())
}

/// The rows of a pass in its own order.
fn ordered(order: &Option<(Tensor, Tensor)>, rows: &Tensor) -> Result<Tensor> {
    match order {
        Some((order, _)) => Ok(rows.f_index_select(0, order)?),
        None => Ok(rows.shallow_clone()),
    }
}

/// The rows of a pass in the order of the batch.
fn ordered_back(order: &Option<(Tensor, Tensor)>, rows: &Tensor) -> Result<Tensor> {
    match order {
        Some((_, back)) => Ok(rows.f_index_select(0, back)?),
        None => Ok(rows.shallow_clone()),
    }
}

/// A loss plugin may cut what the script has joined.
fn no_way_back() -> Error {
    Error::Input("the loss does not depend on this input: a loss or mixer on the way gave back a value without a graph".into())
}

/// Rounding in bf16 stays below.
const SHARES_MAY_BE_OFF: f64 = 5e-3;

/// The values of one step's handles, with its slots.
#[derive(Debug, Default)]
pub struct Values {
    /// By handle.
    pub cells: Vec<Cell>,
    /// Numbers and plans.
    pub slots: Recorded,
    /// What came out so far.
    pub report: StepReport,
    /// Whether mixes and gradients are reported.
    pub detail: bool,
    /// Stages that a backward pass runs again, in the order in which they ran.
    pub(super) segments: Vec<Segment>,
    /// A slot's weight is divided by this: how many steps are accumulated.
    pub accumulate: usize,
}

impl Values {
    fn tensor(&self, id: Id) -> Result<Tensor> {
        match &self.cells[id] {
            Cell::Tensor(tensor) => Ok(tensor.shallow_clone()),
            Cell::Mix(mixed, _) if mixed.hidden.is_none() => Ok(mixed.images.shallow_clone()),
            _ => Err(Error::Input("expected a tensor".into())),
        }
    }

    /// Executes one node; its result becomes the next cell.
    ///
    /// # Errors
    /// A plugin or libtorch refused.
    pub fn execute(&mut self, world: &mut World, batch: &Batch, id: Id, node: &Node) -> Result<()> {
        let _timed =
            row::works(&node.op).then(|| spans::part(|| row::row(world, &self.cells, &node.op), node.at.0));
        let _guard = if node.graph || matches!(node.op, Op::Learn { .. }) {
            admix_torch::with_grad()
        } else {
            admix_torch::no_grad()
        };
        let cell = match &node.op {
            Op::Input(Input::Images) => Cell::Tensor(batch.images.shallow_clone()),
            Op::Input(Input::View(view)) => {
                let view = batch.views.get(*view).ok_or_else(|| Error::Input("no such view".into()))?;
                Cell::Tensor(view.shallow_clone())
            }
            Op::Input(Input::Labels) => Cell::Tensor(batch.labels.shallow_clone()),
            Op::Input(Input::Index) => Cell::Tensor(batch.index.shallow_clone()),
            Op::Input(Input::Mean) => Cell::Tensor(world.normalisation.0.shallow_clone()),
            Op::Input(Input::Std) => Cell::Tensor(world.normalisation.1.shallow_clone()),
            Op::Pass { net, input, train, partners } => self.pass(id, (*net, *train), *input, *partners)?,
            // A new tensor, so that the gradient is of this place of the script alone.
            Op::Leaf { of } => Cell::Tensor(self.tensor(*of)?.f_detach()?.f_set_requires_grad(true)?),
            Op::Grow { pass, to } => self.grow(world, *pass, to)?,
            Op::Mix(arguments) => self.mix(world, id, arguments)?,
            Op::Target { mix, labels } => {
                let labels = self.tensor(*labels)?;
                let Cell::Mix(mixed, _) = &self.cells[*mix] else {
                    return Err(Error::Input("expected a mix".into()));
                };
                let (sources, shares) = mixed.credit.shares()?;
                let each = labels.f_index_select(0, &sources.f_reshape([-1])?)?.f_reshape(sources.size())?;
                Cell::Target(each, shares)
            }
            Op::Contrast { mix, keys, partner_keys } => {
                let Cell::Mix(mixed, _) = &self.cells[*mix] else {
                    return Err(Error::Input("expected a mix".into()));
                };
                let keys = self.tensor(*keys)?;
                let (mut each, shares) = mixed.credit.contrast(&keys)?;
                if let Some(partners) = partner_keys {
                    let (theirs, _) = mixed.credit.contrast(&self.tensor(*partners)?)?;
                    let (sources, _) = mixed.credit.shares()?;
                    let own = Tensor::f_arange(sources.size()[0], (Kind::Int64, sources.device()))?;
                    let own = sources.f_eq_tensor(&own.f_unsqueeze(1)?)?.f_unsqueeze(2)?;
                    each = each.f_where_self(&own, &theirs)?;
                }
                Cell::Target(each, shares)
            }
            Op::Queue { queue } => Cell::Tensor(world.queues[*queue].queue.entries()),
            Op::Enqueue { queue, keys } => {
                let keys = self.tensor(*keys)?;
                world.queues[*queue].queue.enqueue(&keys)?;
                Cell::Done
            }
            Op::Head { head, input } => {
                let unit = &world.heads[*head];
                Cell::Tensor(unit.forward(&self.tensor(*input)?)?)
            }
            Op::Part { mix, name } => {
                let Cell::Mix(mixed, lambda) = &self.cells[*mix] else {
                    return Err(Error::Input("expected a mix".into()));
                };
                let part = match name.as_str() {
                    "images" => Some(mixed.images.shallow_clone()),
                    "mask" => mixed.mask.as_ref().map(Tensor::shallow_clone),
                    "lambda" => Some(lambda.shallow_clone()),
                    "partner" => match &mixed.credit {
                        Credit::Pair { partner, .. } => Some(partner.shallow_clone()),
                        _ => None,
                    },
                    extra => mixed.extras.get(extra).map(Tensor::shallow_clone),
                };
                Cell::Tensor(part.ok_or_else(|| Error::Input(format!("this mix has no `{name}`")))?)
            }
            Op::Loss { loss, arguments } => self.loss(world, *loss, arguments)?,
            Op::Learn { terms, input_grad } => {
                let _full = world.precision.leave(world.device)?;
                self.learn(world, terms, *input_grad)?
            }
            Op::Gradient { of, input } => {
                let _full = world.precision.leave(world.device)?;
                self.gradient(world, *of, *input)?
            }
            Op::Draw { like, .. } => {
                let planned =
                    self.slots.plans.get(&id).ok_or_else(|| Error::Input("a draw without a plan".into()))?;
                Cell::Tensor(match like {
                    None => planned.get(NUMBER)?,
                    Some(like) => {
                        let size = self.tensor(*like)?.size();
                        match planned.values().find(|(name, _)| *name == FIELD) {
                            Some((_, given)) => given.f_reshape(&size)?,
                            None => admix_api::uniform_field(&planned.get(KEY)?, &size)?,
                        }
                    }
                })
            }
            Op::Tensor { verb, arguments, numbers, sizes } => {
                let tensors = arguments.iter().map(|id| self.tensor(*id)).collect::<Result<Vec<_>>>()?;
                let operands: Vec<&Tensor> =
                    tensors.iter().chain(numbers.iter().map(|slot| &self.slots.numbers[*slot])).collect();
                Cell::Tensor(vocabulary::apply(verb, &operands, sizes)?)
            }
            Op::Bank { bank, verb } => {
                let _full = world.precision.leave(world.device)?;
                let unit = &mut world.clusterers[*bank];
                match verb {
                    BankVerb::Labels { index } => Cell::Tensor(unit.clusterer.labels(&self.tensor(*index)?)?),
                    BankVerb::ClassWeight => Cell::Tensor(unit.clusterer.class_weight()?),
                    BankVerb::Update { index, embeddings } => {
                        let changed =
                            unit.clusterer.update(&self.tensor(*index)?, &self.tensor(*embeddings)?)?;
                        self.report.logged.push((format!("{}_changed", unit.name), changed));
                        Cell::Done
                    }
                }
            }
            Op::Freeze { group } => {
                world.optimizer.freeze(group)?;
                Cell::Done
            }
            Op::Log { name, value } => {
                let value = self.tensor(*value)?.f_detach()?.f_to_kind(Kind::Float)?.f_mean(Kind::Float)?;
                self.report.logged.push((name.clone(), value));
                Cell::Done
            }
        };
        self.cells.push(cell);
        Ok(())
    }

    fn pass(&self, id: Id, (net, train): (usize, bool), input: Id, partners: Option<Id>) -> Result<Cell> {
        let (mut map, hidden) = match &self.cells[input] {
            Cell::Mix(mixed, _) => {
                let partners = partners.map(|id| self.tensor(id)).transpose()?;
                let hidden =
                    mixed.hidden.map(|hidden| HiddenMix { stage: hidden.stage, mix: input, partners });
                (mixed.images.shallow_clone(), hidden)
            }
            _ => (self.tensor(input)?, None),
        };
        let order = match self.slots.plans.get(&id) {
            Some(plan) => Some((plan.get(ORDER)?, plan.get(BACK)?)),
            None => None,
        };
        if let Some((order, _)) = &order {
            map = map.f_index_select(0, order)?;
        }
        Ok(Cell::Pass(Pass {
            net,
            train,
            map,
            next: 0,
            kept: BTreeMap::new(),
            hidden,
            order,
            embedding: None,
        }))
    }

    /// Runs a pass on. A hidden mix happens as soon as its stage has run: first all stages below it over the own
    /// images, then, if partners come from other images, the same stages over those.
    fn grow(&mut self, world: &World, pass: Id, to: &Reach) -> Result<Cell> {
        // Out of its cell while it runs, as it may look at that of its mix. An error ends the step.
        let Cell::Pass(mut state) = std::mem::replace(&mut self.cells[pass], Cell::Done) else {
            return Err(Error::Input("expected a pass".into()));
        };
        let mut segments = std::mem::take(&mut self.segments);
        let cell = self.grown(world, &mut state, to, &mut segments)?;
        self.segments = segments;
        self.cells[pass] = Cell::Pass(state);
        Ok(cell)
    }

    fn grown(
        &self,
        world: &World,
        state: &mut Pass,
        to: &Reach,
        segments: &mut Vec<Segment>,
    ) -> Result<Cell> {
        let network = &world.nets[state.net].network;
        let last = network.backbone().stages();
        let target = match to {
            Reach::Stage(stage) => *stage,
            Reach::Head(_) | Reach::Embedding | Reach::End => last,
        };
        while state.next <= target {
            let again = world.recompute_stages.contains(&state.next);
            state.map = if again && recompute::is_wanted(world, state.net, &state.map) {
                let segment = Segment::run(world, (state.net, state.next), &state.map, state.train)?;
                let output = segment.output();
                segments.push(segment);
                output
            } else {
                network.backbone().stage(state.next, &state.map, state.train)?
            };
            if let Some(HiddenMix { mix, partners, .. }) = state.hidden.take_if(|h| h.stage == state.next) {
                let Cell::Mix(mixed, _) = &self.cells[mix] else {
                    return Err(Error::Input("expected a mix".into()));
                };
                let own = ordered_back(&state.order, &state.map)?;
                let theirs = match partners {
                    Some(images) => {
                        let images = ordered(&state.order, &images)?;
                        let map = network.backbone().stage_range(0..=state.next, &images, state.train)?;
                        ordered_back(&state.order, &map)?
                    }
                    None => own.shallow_clone(),
                };
                state.map = ordered(&state.order, &mixed.blended(&own, &theirs)?)?;
            }
            if world.kept_stages.contains(&state.next) {
                state.kept.insert(state.next, state.map.shallow_clone());
            }
            state.next += 1;
        }
        Ok(match to {
            Reach::Stage(stage) if *stage + 1 == state.next => {
                Cell::Tensor(ordered_back(&state.order, &state.map)?)
            }
            Reach::Stage(stage) => Cell::Tensor(ordered_back(
                &state.order,
                state.kept.get(stage).ok_or_else(|| {
                    Error::Input(format!(
                        "the pass is already past stage {stage} and did not keep its features: ask for them before \
                         the logits"
                    ))
                })?,
            )?),
            Reach::Head(head) => {
                let logits = network.forward_head(head, &state.map, state.train)?;
                Cell::Tensor(ordered_back(&state.order, &logits)?)
            }
            Reach::Embedding => {
                if state.embedding.is_none() {
                    let embedding = network.embed(&state.map, state.train)?;
                    state.embedding = Some(ordered_back(&state.order, &embedding)?);
                }
                Cell::Tensor(state.embedding.as_ref().map_or_else(Tensor::new, Tensor::shallow_clone))
            }
            Reach::End => Cell::Done,
        })
    }

    fn mix(&mut self, world: &mut World, id: Id, arguments: &MixArguments) -> Result<Cell> {
        let mut inputs: BTreeMap<&str, Tensor> = BTreeMap::new();
        for (name, handle) in &arguments.inputs {
            inputs.insert(name, self.tensor(*handle)?);
        }
        let images = inputs.get("images").ok_or_else(|| Error::Input("a mix needs `images`".into()))?;
        let planned = self.slots.plans.get(&id).ok_or_else(|| Error::Input("a mix without a plan".into()))?;
        let paired = planned.paired(inputs.get("pseudo"))?;
        let planned = paired.as_ref().unwrap_or(planned);
        let unit = &mut world.mixers[arguments.mixer];
        let input = MixInput::named(images, arguments.quiet, |name| inputs.get(name));
        let mixed = {
            // A solver on the host is the one thing in a step that may wait for the device.
            let _apart = unit.needs.host_solver.then(admix_torch::apart);
            unit.mixer.mix(&input, planned)?
        };
        unit.check_hidden(&mixed, images)?;
        if let Some(label) = &unit.watched {
            let health = health(&mixed)?;
            if world.device == Device::Cpu {
                // Nothing runs ahead there: found at once, the state of the step before can be saved.
                verdict(label, f64::try_from(&health)?)?;
            } else {
                self.report.health.push((label.clone(), health));
            }
        }
        let lambda = lambda_of(&mixed, planned)?;
        if self.detail {
            self.report.mixes.insert(
                arguments.draw.clone(),
                MixReport {
                    images: mixed.images.f_detach()?,
                    mask: mixed.mask.as_ref().map(|m| m.f_detach()).transpose()?,
                    stage: mixed.hidden.map_or(0, |hidden| hidden.stage),
                    lambda: lambda.shallow_clone(),
                    partner: planned.partner().ok(),
                    saliency: saliency_of(&mixed, input.saliency),
                },
            );
        }
        Ok(Cell::Mix(Box::new(mixed), lambda))
    }

    fn loss(&mut self, world: &World, loss: usize, arguments: &[Id]) -> Result<Cell> {
        let unit = &world.losses[loss];
        let _full = world.precision.leave(world.device)?;
        let mut input = LossInput::default();
        for (argument, id) in unit.arguments.iter().zip(arguments) {
            input = match (argument, &self.cells[*id]) {
                (Argument::Tensor(name), _) => input.with(name, self.tensor(*id)?),
                (Argument::Target, Cell::Target(labels, shares)) => input
                    .with("target.labels", labels.shallow_clone())
                    .with("target.shares", shares.shallow_clone()),
                (Argument::Target, Cell::Tensor(labels)) => input.with_labels(labels)?,
                (Argument::Contrast, Cell::Target(keys, shares)) if keys.dim() == 3 => input
                    .with("contrast.keys", keys.shallow_clone())
                    .with("contrast.shares", shares.shallow_clone()),
                (Argument::Contrast, Cell::Tensor(keys)) => input.with_keys(keys)?,
                (Argument::Mix, Cell::Mix(mixed, lambda)) => input.with_mix(mixed, lambda)?,
                (argument, _) => {
                    return Err(Error::Input(format!(
                        "loss `{}` expects {} here",
                        unit.name,
                        argument.describe()
                    )));
                }
            };
        }
        let input = input.float32_or_better()?;
        let value = unit.loss.loss(&input)?;
        if let Some(label) = &unit.watched
            && world.device == Device::Cpu
            && !f64::try_from(&value)?.is_finite()
        {
            let finite = |tensor: &Tensor| tensor.f_isfinite()?.f_all().and_then(bool::try_from);
            let inputs: Vec<bool> =
                input.tensors().map(|(_, tensor)| finite(tensor)).collect::<Result<_, _>>()?;
            if inputs.into_iter().all(|finite| finite) {
                let message = "returned a value that is not finite for inputs that are".into();
                return Err(admix_api::Error::Plugin { plugin: label.clone(), message }.into());
            }
        }
        Ok(Cell::Tensor(value))
    }

    fn learn(
        &mut self,
        world: &World,
        terms: &[(String, Id, usize)],
        input_grad: Option<Id>,
    ) -> Result<Cell> {
        let mut total: Option<Tensor> = None;
        for (name, value, weight) in terms {
            let value = self.scalar(*value, &format!("the term `{name}`"))?;
            let weighted = value.f_mul(&self.slots.numbers[*weight])?;
            self.report.losses.push((name.clone(), value.f_detach()?));
            total = Some(match total {
                None => weighted,
                Some(sum) => sum.f_add(&weighted)?,
            });
        }
        let Some(total) = total else { return Ok(Cell::Done) };
        if !total.requires_grad() {
            return Err(Error::Input(
                "no term of this `learn` has a graph: a loss gave back a value without one".into(),
            ));
        }
        let input = input_grad.map(|id| self.tensor(id)).transpose()?;
        if let Some(input) = &input {
            // Of this backward pass alone.
            admix_torch::clear_grads(std::slice::from_ref(input))?;
        }
        recompute::backward(world, &total, &mut self.segments)?;
        // A term may be off where its gradients are not. The sum is nobody else's: it may be written to.
        admix_torch::nonfinite(&[total.f_detach()?], &world.found_inf)?;
        for (_, value, _) in terms {
            self.let_go(*value)?;
        }
        let Some(input) = input else { return Ok(Cell::Done) };
        let gradient = admix_torch::grad_of(&input).ok_or_else(no_way_back)?;
        admix_torch::clear_grads(&[input])?;
        Ok(Cell::Tensor(gradient))
    }

    /// The gradient of a loss for one input: no parameter's is computed.
    fn gradient(&mut self, world: &World, of: Id, input: Id) -> Result<Cell> {
        let loss = self.scalar(of, "the loss of this `gradient`")?;
        if !loss.requires_grad() {
            return Err(no_way_back());
        }
        let input = self.tensor(input)?;
        let gradient = recompute::gradient(world, &loss, &input, &mut self.segments)?;
        self.let_go(of)?;
        Ok(Cell::Tensor(gradient.ok_or_else(no_way_back)?))
    }

    /// A value that a backward pass can start from, 0-dim.
    fn scalar(&self, id: Id, what: &str) -> Result<Tensor> {
        let value = self.tensor(id)?;
        if value.numel() != 1 {
            return Err(Error::Input(format!(
                "{what} has the shape {:?}, expected one number, as a loss gives; take its `mean`",
                value.size()
            )));
        }
        // Only a value that the script computed can have a shape with one number, such as [1].
        Ok(if value.dim() == 0 { value } else { value.f_reshape([0i64; 0])? })
    }

    /// Lets go of what hangs on a graph that is gone.
    fn let_go(&mut self, id: Id) -> Result<()> {
        let detached = self.tensor(id)?.f_detach()?;
        self.cells[id] = Cell::Tensor(detached);
        Ok(())
    }
}
