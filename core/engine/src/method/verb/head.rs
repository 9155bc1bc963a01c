//! `t.head`: a linear head on embeddings.

use crate::Result;
use crate::method::handle::{Call, Step, TensorHandle, tensor};
use crate::method::{Cell, Entry, Executing, Frame, Id, Node, Op, Place, line};
use crate::text;
use crate::world::World;

pub const ENTRY: Entry = Entry {
    lines: &[line(
        "`t.head(name, z)`",
        "the output of a linear head on embeddings of the recipe, `[N, out]`. One that follows another is frozen: its \
         gradient reaches `z` alone",
    )],
    register: |engine| {
        engine.register_fn("head", |call: Call<'_>, t: &mut Step, name: &str, z: TensorHandle| {
            tensor(&call, &t.0, |frame, at| head(frame, name, z.id, at))
        });
    },
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct Head {
    /// Index of the head.
    head: usize,
    /// `[N, D]`.
    input: Id,
}

fn head(frame: &mut Frame, name: &str, input: Id, at: Place) -> Result<Id> {
    let (head, owner) = {
        let world = frame.world();
        let names = || world.heads.iter().map(|unit| unit.name.as_str());
        let head = text::find("head on embeddings", name, "the recipe's `embedding_heads` has", names)?;
        let head = Head { head, input };
        let owner = head.trains(world);
        (head, owner)
    };
    frame.call("embedding_heads", name);
    let trained = owner.is_some_and(|owner| frame.moves(&owner));
    let parents = frame.with_graph([input]);
    frame.push(Node::of(head, at).after(parents).rooted(trained))
}

impl Op for Head {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        Ok(Cell::Tensor(step.world.heads[self.head].forward(&step.tensor(self.input)?, true)?))
    }

    fn label(&self, world: &World) -> String {
        format!("head {}", world.heads[self.head].name)
    }

    fn head(&self, world: &World) -> Option<String> {
        Some(format!("head.{}", world.heads[self.head].name))
    }

    fn trains(&self, world: &World) -> Option<String> {
        let unit = &world.heads[self.head];
        unit.trained.then(|| format!("head.{}", unit.name))
    }
}
