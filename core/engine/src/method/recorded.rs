//! A step that its script has recorded: what it asked for, the slots of its numbers and plans, and how it is executed.
//!
//! Recording and filling are the host's part of a step. Executing is the device's: it reads slots and the batch where they
//! lie, and no number of the host that changes from one step to the next, so that a captured graph can do it again.

use std::collections::BTreeMap;

use admix_api::{Plan, Planned, Value};
use admix_data::Batch;
use admix_torch::{Device, Kind, Tensor, upload};

use crate::method::execute::{StepReport, Values};
use crate::method::trace::{Id, Node, Op, SlotId, Trace};
use crate::world::World;
use crate::{Error, Result};

/// What a script asked for with one batch. Nothing of it is done yet.
#[derive(Debug)]
pub(crate) struct Traced {
    pub(crate) trace: Trace,
    pub(crate) plans: BTreeMap<Id, Plan>,
    pub(crate) batch: Batch,
}

/// The slots of a recorded step on the device, kept from one execution to the next: each stays where it is.
#[derive(Debug, Default)]
pub struct Recorded {
    /// By slot: 0-dim float32.
    pub(crate) numbers: Vec<Tensor>,
    /// By handle of the mix, draw or pass.
    pub(crate) plans: BTreeMap<Id, Planned>,
    /// What the slots are windows of, where they were filled together.
    block: Option<Block>,
}

/// The memory of all slots of a step.
#[derive(Debug)]
struct Block {
    /// Whole numbers, then two floats to each: `[I + ceil(F / 2)]` int64.
    all: Tensor,
    /// `[I]` int64, a window of `all`.
    whole: Tensor,
    /// `[F]` or one more, float32, a window of `all`.
    floats: Tensor,
}

/// What a block holds, on the host.
#[derive(Debug, Default)]
struct Image {
    whole: Vec<i64>,
    floats: Vec<f32>,
}

impl Image {
    /// The numbers, then the values of each plan.
    fn of(traced: &Traced) -> Self {
        let floats = traced.trace.numbers.iter().map(|value| *value as f32).collect();
        let mut image = Self { whole: Vec::new(), floats };
        for (_, value) in traced.plans.values().flat_map(Plan::values) {
            match value {
                Value::Float(value) => image.floats.push(*value as f32),
                Value::Floats(values) => image.floats.extend(values.iter().map(|value| *value as f32)),
                Value::Int(value) => image.whole.push(*value),
                Value::Ints(values) => image.whole.extend(values),
            }
        }
        image
    }

    fn packed(&self) -> Result<Tensor> {
        let bits = |pair: &[f32]| {
            let bytes = pair.iter().chain(&[0.0]).take(2).flat_map(|value| value.to_ne_bytes());
            let mut eight = [0; 8];
            eight.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
            i64::from_ne_bytes(eight)
        };
        let all: Vec<i64> = self.whole.iter().copied().chain(self.floats.chunks(2).map(bits)).collect();
        Ok(Tensor::f_from_slice(&all)?)
    }

    fn on(&self, device: Device) -> Result<Block> {
        let all = upload(&self.packed()?, device)?;
        let (whole, size) = (self.whole.len() as i64, all.size1()?);
        let floats = all.f_narrow(0, whole, size - whole)?.f_view_dtype(Kind::Float)?;
        Ok(Block { whole: all.f_narrow(0, 0, whole)?, floats, all })
    }

    /// Writes over a block of as many values, in place. Does not wait for the device.
    fn overwrite(&self, block: &Block) -> Result<()> {
        let new = self.packed()?;
        if new.size() != block.all.size() {
            return Err(Error::Input("recorded work has other slots than before".into()));
        }
        let new = upload(&new, block.all.device())?;
        block.all.shallow_clone().f_copy_(&new)?;
        Ok(())
    }
}

/// Hands out a tensor `[M]` from its beginning on.
#[derive(Debug)]
struct Window<'a> {
    from: &'a Tensor,
    next: i64,
}

impl<'a> Window<'a> {
    fn new(from: &'a Tensor) -> Self {
        Self { from, next: 0 }
    }

    /// One value, 0-dim.
    fn one(&mut self) -> Result<Tensor> {
        Ok(self.many(1)?.f_reshape([0i64; 0])?)
    }

    /// `[len]`.
    fn many(&mut self, len: usize) -> Result<Tensor> {
        let part = self.from.f_narrow(0, self.next, len as i64)?;
        self.next += len as i64;
        Ok(part)
    }
}

impl Recorded {
    /// Puts a number into its slot, which is made if it is the next one.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn number(&mut self, device: Device, slot: SlotId, value: f64) -> Result<()> {
        match self.numbers.get_mut(slot) {
            Some(tensor) => drop(tensor.f_fill_(value)?),
            None => self.numbers.push(Tensor::f_full([0i64; 0], value, (Kind::Float, device))?),
        }
        Ok(())
    }

    /// Puts a plan's values into their slots, which are made at the first time.
    ///
    /// # Errors
    /// A plan of another form, or libtorch refused.
    pub(crate) fn plan(&mut self, device: Device, id: Id, plan: &Plan) -> Result<()> {
        match self.plans.get(&id) {
            Some(planned) => plan.fill(planned)?,
            None => drop(self.plans.insert(id, plan.on(device)?)),
        }
        Ok(())
    }

    /// Puts everything of a recorded step into the slots: with one copy to the device, however many there are.
    ///
    /// # Errors
    /// Slots of another structure, or libtorch refused.
    pub(crate) fn fill(&mut self, traced: &Traced, device: Device) -> Result<()> {
        let image = Image::of(traced);
        match &self.block {
            Some(block) => image.overwrite(block),
            None => {
                let block = image.on(device)?;
                self.carve(&block, traced)?;
                self.block = Some(block);
                Ok(())
            }
        }
    }

    /// Makes the slots: windows of the block, in the order in which [`Image::of`] lists the values.
    fn carve(&mut self, block: &Block, traced: &Traced) -> Result<()> {
        let (mut whole, mut float) = (Window::new(&block.whole), Window::new(&block.floats));
        self.numbers = (0..traced.trace.numbers.len()).map(|_| float.one()).collect::<Result<_>>()?;
        for (id, plan) in &traced.plans {
            let mut tensors = BTreeMap::new();
            for (name, value) in plan.values() {
                let slot = match value {
                    Value::Float(_) => float.one()?,
                    Value::Floats(values) => float.many(values.len())?,
                    Value::Int(_) => whole.one()?,
                    Value::Ints(values) => whole.many(values.len())?,
                };
                tensors.insert(name.to_string(), slot);
            }
            self.plans.insert(*id, Planned::of(tensors, plan.structure));
        }
        Ok(())
    }

    /// The slots, by what they are.
    pub(crate) fn tensors(&self) -> Vec<(String, Tensor)> {
        let numbers = self.numbers.iter().enumerate();
        let mut all: Vec<_> =
            numbers.map(|(slot, tensor)| (format!("number {slot}"), tensor.shallow_clone())).collect();
        for (id, planned) in &self.plans {
            all.extend(
                planned.values().map(|(name, tensor)| (format!("plan {id}, {name}"), tensor.shallow_clone())),
            );
        }
        all
    }
}

impl Traced {
    /// What tells this work from other work: operations, names, shapes, plan structures. Not the numbers.
    pub(crate) fn structure(&self) -> u64 {
        let forms: Vec<u64> = self.plans.values().map(Plan::form).collect();
        self.trace.hash(&forms)
    }

    /// Whether this is the very work of `other`, up to numbers: [`structure`](Self::structure) without its rounding to a
    /// number.
    pub(crate) fn same_work(&self, other: &Self) -> bool {
        let forms =
            |traced: &Self| -> Vec<_> { traced.plans.iter().map(|(id, plan)| (*id, plan.form())).collect() };
        let numbers = |traced: &Self| traced.trace.numbers.len();
        numbers(self) == numbers(other)
            && forms(self) == forms(other)
            && self.nodes().len() == other.nodes().len()
            && self.nodes().iter().zip(other.nodes()).all(|(a, b)| a.op == b.op && a.shape == b.shape)
    }

    /// The operations, in the order of execution.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.trace.nodes
    }

    /// Executes the trace on a batch with filled slots.
    ///
    /// # Errors
    /// A plugin or libtorch refused. The slots are as they were.
    pub(crate) fn execute(
        &self,
        world: &mut World,
        slots: &mut Recorded,
        batch: &Batch,
        detail: bool,
    ) -> Result<StepReport> {
        let mut values = Values { slots: std::mem::take(slots), detail, ..Values::default() };
        let mut nodes = self.nodes().iter().enumerate();
        let done = nodes.try_for_each(|(id, node)| values.execute(world, batch, id, node));
        if self.nodes().iter().any(|node| matches!(node.op, Op::Freeze { .. })) {
            world.optimizer.thaw();
        }
        *slots = values.slots;
        done.map(|()| values.report)
    }
}
