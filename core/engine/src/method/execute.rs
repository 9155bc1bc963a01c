//! What an operation of a step works on while it is executed.

use admix_api::{Mixed, Planned};
use admix_data::Batch;
use admix_torch::Tensor;

use crate::method::cell::{Cell, Id};
use crate::method::recompute::Segment;
use crate::method::report::StepReport;
use crate::method::slots::Slots;
use crate::world::World;
use crate::{Error, Result};

/// The values of one step's handles, with its slots.
#[derive(Debug, Default)]
pub struct Values {
    /// By handle.
    pub cells: Vec<Cell>,
    /// Numbers and plans.
    pub slots: Slots,
    /// What came out so far.
    pub report: StepReport,
    /// Whether mixes and gradients are reported.
    pub detail: bool,
    /// Stages that a backward pass runs again, in the order in which they ran.
    pub(crate) segments: Vec<Segment>,
    /// A slot's weight is divided by this: how many steps are accumulated.
    pub accumulate: usize,
    /// What the operation that comes next has gathered, where its part has waited for others.
    pub gathered: Option<Gathered>,
    /// The groups that this part has frozen so far.
    pub frozen: Vec<String>,
}

/// The rows of all parts of a step, `[parts N, ..]` in their order, without a graph.
#[derive(Debug)]
pub struct Gathered {
    /// All rows.
    pub all: Tensor,
    /// The number of the own part.
    pub own: usize,
    /// How many parts there are.
    pub parts: usize,
}

impl Values {
    /// The tensor of a handle: its own, or the images of a mix.
    ///
    /// # Errors
    /// It stands for something else.
    pub fn tensor(&self, id: Id) -> Result<Tensor> {
        match &self.cells[id] {
            Cell::Tensor(tensor) => Ok(tensor.shallow_clone()),
            Cell::Mix(mixed, _) if mixed.hidden.is_none() => Ok(mixed.images.shallow_clone()),
            _ => Err(Error::Input("expected a tensor".into())),
        }
    }
}

/// One operation while it is executed: the only way by which a step touches tensors.
#[derive(Debug)]
pub struct Executing<'a> {
    /// The handle of what it makes.
    pub id: Id,
    /// The state of the run.
    pub world: &'a mut World,
    /// The step's batch.
    pub batch: &'a Batch,
    /// What the operations before made.
    pub values: &'a mut Values,
}

impl Executing<'_> {
    /// As [`Values::tensor`].
    ///
    /// # Errors
    /// It stands for something else.
    pub fn tensor(&self, id: Id) -> Result<Tensor> {
        self.values.tensor(id)
    }

    /// The mix of a handle, with its lambda.
    ///
    /// # Errors
    /// It stands for something else.
    pub fn mix(&self, id: Id) -> Result<(&Mixed, &Tensor)> {
        match &self.values.cells[id] {
            Cell::Mix(mixed, lambda) => Ok((mixed, lambda)),
            _ => Err(Error::Input("expected a mix".into())),
        }
    }

    /// The plan of this operation, where it has one.
    pub fn plan(&self) -> Option<&Planned> {
        self.values.slots.plans.get(&self.id)
    }

    /// A value that a backward pass can start from, 0-dim. `what` names it for the message.
    ///
    /// # Errors
    /// It is more than one number.
    pub fn scalar(&self, id: Id, what: &str) -> Result<Tensor> {
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
    ///
    /// # Errors
    /// libtorch refused.
    pub fn let_go(&mut self, id: Id) -> Result<()> {
        let detached = self.tensor(id)?.f_detach()?;
        self.values.cells[id] = Cell::Tensor(detached);
        Ok(())
    }
}
