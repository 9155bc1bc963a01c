//! `t.leaf`: images that a gradient can be asked for.

use rhai::Dynamic;

use crate::Result;
use crate::method::handle::{Call, Step, kind_of, tensor, tensor_id};
use crate::method::verb::mix;
use crate::method::{Cell, Entry, Executing, Frame, Id, Node, Op, Place, line, refuse};
use crate::world::World;

pub const ENTRY: Entry = Entry {
    lines: &[line("`t.leaf(x)`", "the values of `x`, as the root of a graph")],
    register: |engine| {
        engine.register_fn("leaf", |call: Call<'_>, t: &mut Step, of: Dynamic| {
            let wrong = || format!("`leaf` takes images or a mix, got {}", kind_of(&of));
            let of = tensor_id(&of).ok_or_else(|| refuse(wrong(), call.call_position()))?;
            tensor(&call, &t.0, |frame, at| leaf(frame, of, at))
        });
    },
};

/// The same values without a graph, as the root of a graph of their own.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Leaf {
    of: Id,
}

fn leaf(frame: &mut Frame, of: Id, at: Place) -> Result<Id> {
    mix::refuse_hidden(frame, [of])?;
    let shape = frame.node(of).shape;
    frame.push(Node::of(Leaf { of }, at).rooted(true).shaped(shape))
}

impl Op for Leaf {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        // A new tensor, so that the gradient is of this place of the script alone.
        Ok(Cell::Tensor(step.tensor(self.of)?.f_detach()?.f_set_requires_grad(true)?))
    }

    fn label(&self, _world: &World) -> String {
        "leaf".into()
    }

    fn is_place(&self) -> bool {
        true
    }
}
