//! The trace of a step: what the script asked for, in order. Verbs record here first and are executed from here.

use std::any::{Any, TypeId};
use std::collections::hash_map::DefaultHasher;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use admix_api::spans;
use admix_data::Batch;

use crate::Result;
use crate::method::cell::{Cell, Id};
use crate::method::execute::{Executing, Values};
use crate::method::slots::SlotId;
use crate::world::World;

/// A place of the script: line and column, from 1.
pub type Place = (usize, usize);

/// An operation of a step. What it holds, its structure, must be the same wherever the same work is done with other
/// numbers: those that change between steps are slots, and draws are plans.
pub trait Op: Structure + Any + Debug {
    /// Does it, on tensors.
    ///
    /// # Errors
    /// A plugin or libtorch refused.
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell>;

    /// What a profile calls it: the verb as the script says it, and to whom.
    fn label(&self, _world: &World) -> String {
        String::new()
    }

    /// Whether it does any work, which a profile lists.
    fn works(&self) -> bool {
        true
    }

    /// The owner of the parameters that it puts into the graph, as they are named ("net.q"), if these are trained.
    fn trains(&self, _world: &World) -> Option<String> {
        None
    }

    /// The head whose output it is, as its parameters are named ("net.q.head.one").
    fn head(&self, _world: &World) -> Option<String> {
        None
    }

    /// The pass that it lets run on. What grew from that before is in its graph, and not in what it gives.
    fn grows(&self) -> Option<Id> {
        None
    }

    /// Whether it is only a place where graphs begin. A backward pass uses up what grows from it, and not the place.
    fn is_place(&self) -> bool {
        false
    }

    /// The rows with which it waits for the other parts of the step, if it does.
    fn waits_with(&self) -> Option<Id> {
        None
    }

    /// Why a step with it cannot be captured, if it cannot: what of its work is not the device's alone.
    fn refuses_capture(&self, _world: &World) -> Option<String> {
        None
    }
}

/// The structure of an operation, whatever its type.
pub trait Structure {
    /// Hashes type and structure.
    fn hash_into(&self, hasher: &mut dyn Hasher);

    /// Whether another operation is of the same type and structure.
    fn equals(&self, other: &dyn Op) -> bool;
}

impl<T: Op + Hash + Eq> Structure for T {
    fn hash_into(&self, mut hasher: &mut dyn Hasher) {
        TypeId::of::<T>().hash(&mut hasher);
        self.hash(&mut hasher);
    }

    fn equals(&self, other: &dyn Op) -> bool {
        (other as &dyn Any).downcast_ref::<T>() == Some(self)
    }
}

/// An operation and where the script asked for it.
#[derive(Debug, Clone)]
pub struct Node {
    op: Rc<dyn Op>,
    /// Where.
    pub at: Place,
    /// Whether the result carries a graph.
    pub graph: bool,
    /// Nodes with a graph that this one depends on.
    pub parents: Vec<Id>,
    /// `[N, C, H, W]` where it is known without executing.
    pub shape: Option<[i64; 4]>,
}

impl Node {
    /// An operation whose result has no graph.
    pub fn of(op: impl Op, at: Place) -> Self {
        Self { op: Rc::new(op), at, graph: false, parents: Vec::new(), shape: None }
    }

    /// One whose graph comes from these nodes. It has none without them.
    pub fn after(self, parents: Vec<Id>) -> Self {
        Self { graph: self.graph || !parents.is_empty(), parents, ..self }
    }

    /// One that has a graph of its own, if so.
    pub fn rooted(self, graph: bool) -> Self {
        Self { graph: self.graph || graph, ..self }
    }

    /// One whose result has this shape.
    pub fn shaped(self, shape: Option<[i64; 4]>) -> Self {
        Self { shape, ..self }
    }

    /// Its operation.
    pub fn op(&self) -> &dyn Op {
        self.op.as_ref()
    }

    /// Its operation, if it is of this type.
    pub fn get<T: Op>(&self) -> Option<&T> {
        (self.op() as &dyn Any).downcast_ref()
    }

    /// Whether this is the same work, up to numbers.
    pub fn same_work(&self, other: &Self) -> bool {
        self.op.equals(other.op()) && self.shape == other.shape
    }

    /// Executes it as the node of this index; its result becomes the next cell.
    ///
    /// # Errors
    /// A plugin or libtorch refused.
    pub fn execute(&self, id: Id, world: &mut World, batch: &Batch, values: &mut Values) -> Result<()> {
        let _timed = self.op.works().then(|| spans::part(|| self.op.label(world), self.at.0));
        let _guard = if self.graph { admix_torch::with_grad() } else { admix_torch::no_grad() };
        let cell = self.op.execute(&mut Executing { id, world, batch, values })?;
        values.cells.push(cell);
        Ok(())
    }
}

/// All operations of a step and its numbers.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// In the order of execution.
    pub nodes: Vec<Node>,
    /// The numbers, by slot.
    pub numbers: Vec<f64>,
}

impl Trace {
    /// Adds a number.
    pub fn number(&mut self, value: f64) -> SlotId {
        self.numbers.push(value);
        self.numbers.len() - 1
    }

    /// Two traces of one hash (and one structure of each plan) are the same work with other numbers.
    pub fn hash(&self, structures: &[u64]) -> u64 {
        let mut hasher = DefaultHasher::new();
        for node in &self.nodes {
            node.op.hash_into(&mut hasher);
            node.shape.hash(&mut hasher);
        }
        structures.hash(&mut hasher);
        hasher.finish()
    }
}
