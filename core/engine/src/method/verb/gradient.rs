//! `t.gradient`: the gradient of a loss for one input, without any for parameters. Like `learn`, it uses the graph up.

use crate::method::handle::{Call, Step, TensorHandle, tensor};
use crate::method::recompute;
use crate::method::{Cell, Entry, Executing, Frame, Id, Node, Op, Place, Spent, line};
use crate::world::World;
use crate::{Error, Result};

pub const ENTRY: Entry = Entry {
    lines: &[line(
        "`t.gradient(loss, x)`",
        "the gradient of a loss for `x`, in its shape, without a graph. Parameters get none, and none is computed",
    )],
    register: |engine| {
        engine.register_fn(
            "gradient",
            |call: Call<'_>, t: &mut Step, loss: TensorHandle, input: TensorHandle| {
                tensor(&call, &t.0, |frame, at| gradient(frame, loss.id, input.id, at))
            },
        );
    },
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct Gradient {
    /// The loss.
    of: Id,
    /// What the gradient is for.
    input: Id,
}

fn gradient(frame: &mut Frame, of: Id, input: Id, at: Place) -> Result<Id> {
    frame.refuse_spent(of, "the loss of this `gradient`")?;
    let node = frame.node(input);
    if !node.graph || !frame.ancestors(of).contains(&input) {
        return Err(Error::Input(format!(
            "this loss has no graph that leads back to what line {} made: let x = t.leaf(t.images); give x to the \
             pass, and ask for t.gradient(loss, x)",
            node.at.0
        )));
    }
    let shape = node.shape;
    let id = frame.push(Node::of(Gradient { of, input }, at).shaped(shape))?;
    let remedy = "one pass gives both by t.learn(#{ ... }, #{ input_grad: x })";
    frame.spend([of], Spent { verb: "gradient", remedy, line: at.0 });
    Ok(id)
}

/// A loss plugin may cut what the script has joined.
pub fn no_way_back() -> Error {
    Error::Input("the loss does not depend on this input: a loss or mixer on the way gave back a value without a graph".into())
}

impl Op for Gradient {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let _full = step.world.precision.leave(step.world.device)?;
        let loss = step.scalar(self.of, "the loss of this `gradient`")?;
        if !loss.requires_grad() {
            return Err(no_way_back());
        }
        let input = step.tensor(self.input)?;
        let gradient = recompute::gradient(step.world, &loss, &input, &mut step.values.segments)?;
        step.let_go(self.of)?;
        Ok(Cell::Tensor(gradient.ok_or_else(no_way_back)?))
    }

    fn label(&self, _world: &World) -> String {
        "gradient".into()
    }
}
