//! A step that its script has recorded: what it asked for, the slots of its numbers and plans, and how it is executed.
//!
//! Recording and filling are the host's part of a step. Executing is the device's: it reads slots and the batch where they
//! lie, and no number of the host that changes from one step to the next, so that a captured graph can do it again.

use std::collections::BTreeMap;

use admix_api::{Plan, Planned};
use admix_data::Batch;
use admix_torch::{Device, Kind, Tensor};

use crate::Result;
use crate::method::execute::{StepReport, Values};
use crate::method::trace::{Id, Node, Op, SlotId, Trace};
use crate::world::World;

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

    /// Puts everything of a recorded step into the slots.
    ///
    /// # Errors
    /// Slots of another structure, or libtorch refused.
    pub(crate) fn fill(&mut self, traced: &Traced, device: Device) -> Result<()> {
        for (slot, value) in traced.trace.numbers.iter().enumerate() {
            self.number(device, slot, *value)?;
        }
        traced.plans.iter().try_for_each(|(id, plan)| self.plan(device, *id, plan))
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
