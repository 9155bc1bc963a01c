//! A step that its script has recorded: what it asked for, and how it is executed.
//!
//! Recording and filling slots are the host's part of a step. Executing is the device's: it reads slots and the batch where
//! they lie, and no number of the host that changes from one step to the next, so that a captured graph can do it again.

use std::collections::BTreeMap;

use admix_api::Plan;
use admix_data::Batch;
use admix_torch::Device;

use crate::Result;
use crate::method::cell::Id;
use crate::method::slots::Slots;
use crate::method::trace::{Node, Trace};

/// What a script asked for with one batch. Nothing of it is done yet.
#[derive(Debug)]
pub(crate) struct Traced {
    pub(crate) trace: Trace,
    pub(crate) plans: BTreeMap<Id, Plan>,
    pub(crate) batch: Batch,
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
            && self.nodes().iter().zip(other.nodes()).all(|(a, b)| a.same_work(b))
    }

    /// The operations, in the order of execution.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.trace.nodes
    }

    /// Puts its numbers and plans into the slots.
    ///
    /// # Errors
    /// Slots of another structure, or libtorch refused.
    pub(crate) fn fill(&self, slots: &mut Slots, device: Device) -> Result<()> {
        slots.fill(&self.trace.numbers, &self.plans, device)
    }

    /// Whether it waits for the other parts of its step.
    pub(crate) fn gathers(&self) -> bool {
        self.nodes().iter().any(|node| node.op().waits_with().is_some())
    }
}
