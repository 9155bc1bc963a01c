//! `t.queue` and `t.enqueue`: queues of keys.

use crate::method::handle::{Call, Step, TensorHandle, record, tensor};
use crate::method::{Cell, Entry, Executing, Frame, Id, Node, Op, line};
use crate::text;
use crate::world::World;
use crate::{Error, Result};

pub const ENTRY: Entry = Entry {
    lines: &[
        line(
            "`t.queue(name)`",
            "the entries of a queue of the recipe, `[D, K]`, as the step before left them; unit columns in random \
             directions at the start",
        ),
        line(
            "`t.enqueue(name, keys)`",
            "nothing; after the step the queue takes in the keys `[N, D]`, in place of the oldest",
        ),
    ],
    register: |engine| {
        engine.register_fn("queue", |call: Call<'_>, t: &mut Step, name: &str| {
            tensor(&call, &t.0, |frame, at| {
                let queue = index(frame, name)?;
                frame.call("queues", name);
                frame.push(Node::of(Queue { queue }, at))
            })
        });
        engine.register_fn("enqueue", |call: Call<'_>, t: &mut Step, name: &str, keys: TensorHandle| {
            record(&call, &t.0, |frame, at| {
                let queue = index(frame, name)?;
                frame.call("queues", name);
                frame.push(Node::of(Enqueue { queue, keys: keys.id }, at)).map(drop)
            })
        });
    },
};

fn index(frame: &Frame, name: &str) -> Result<usize> {
    let world = frame.world();
    let names = || world.queues.iter().map(|unit| unit.name.as_str());
    text::find("queue", name, "the recipe's `queues` has", names).map_err(|error| {
        match world.queues.is_empty() {
            true => Error::Input(format!("{error}; add `queues: {{\"{name}\": (length: 65536)}}` to it")),
            false => error,
        }
    })
}

/// The entries of a queue, as they are before the step.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Queue {
    /// Its index.
    queue: usize,
}

impl Op for Queue {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        Ok(Cell::Tensor(step.world.queues[self.queue].queue.entries()))
    }

    fn label(&self, world: &World) -> String {
        format!("queue {}", world.queues[self.queue].name)
    }
}

/// Keys for a queue, which takes them in after the step.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Enqueue {
    /// Index of the queue.
    queue: usize,
    /// `[N, D]`.
    keys: Id,
}

impl Op for Enqueue {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let keys = step.tensor(self.keys)?;
        step.world.queues[self.queue].queue.enqueue(&keys)?;
        Ok(Cell::Done)
    }

    fn label(&self, world: &World) -> String {
        format!("enqueue {}", world.queues[self.queue].name)
    }
}
