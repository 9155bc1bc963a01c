//! `t.keep` and `t.kept`: tensors from one step to the next.

use crate::method::handle::{Call, Step, TensorHandle, record, tensor};
use crate::method::{Cell, Entry, Executing, Frame, Id, Node, Op, Place, line};
use crate::world::World;
use crate::{Error, Result};

pub const ENTRY: Entry = Entry {
    lines: &[
        line(
            "`t.keep(name, tensor)`",
            "nothing; the values are there in the next step, in checkpoints too. A skipped step keeps nothing",
        ),
        line(
            "`t.kept(name, like)`",
            "what the step before kept under the name, without a graph; zeros in the shape of `like` at the start. Shape and \
             kind stay the same over a run",
        ),
    ],
    register: |engine| {
        engine.register_fn("keep", |call: Call<'_>, t: &mut Step, name: &str, value: TensorHandle| {
            record(&call, &t.0, |frame, at| keep(frame, name, value.id, at))
        });
        engine.register_fn("kept", |call: Call<'_>, t: &mut Step, name: &str, like: TensorHandle| {
            tensor(&call, &t.0, |frame, at| {
                refuse_parts(frame, "kept")?;
                frame.keeps = true;
                let shape = frame.node(like.id).shape;
                let kept = Kept { name: name.into(), like: like.id };
                frame.push(Node::of(kept, at).shaped(shape))
            })
        });
    },
};

fn refuse_parts(frame: &Frame, verb: &str) -> Result<()> {
    one_part(verb, frame.values.accumulate, frame.world().place().1)
}

/// Refuses steps of several parts: what one of them keeps, another has not seen.
pub(crate) fn one_part(verb: &str, accumulate: usize, processes: usize) -> Result<()> {
    if accumulate > 1 || processes > 1 {
        return Err(Error::Input(format!(
            "`{verb}` works where a step has one part: with `accumulate: 1` and one process. This step has {} x {processes}",
            accumulate.max(1)
        )));
    }
    Ok(())
}

fn keep(frame: &mut Frame, name: &str, value: Id, at: Place) -> Result<()> {
    refuse_parts(frame, "keep")?;
    frame.keeps = true;
    if let Some(first) = frame.asked.kept.insert(name.to_string(), at.0) {
        return Err(Error::Input(format!(
            "`{name}` is kept in line {first} already, and again in line {}; give one of them another name",
            at.0
        )));
    }
    frame.push(Node::of(Keep { name: name.into(), value }, at)).map(drop)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Keep {
    name: String,
    value: Id,
}

impl Op for Keep {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let value = step.tensor(self.value)?;
        step.world.memory.keep(&self.name, &value)?;
        Ok(Cell::Done)
    }

    fn label(&self, _world: &World) -> String {
        format!("keep {}", self.name)
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Kept {
    name: String,
    /// A tensor of its shape and kind.
    like: Id,
}

impl Op for Kept {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let like = step.tensor(self.like)?;
        Ok(Cell::Tensor(step.world.memory.kept(&self.name, &like)?))
    }

    fn label(&self, _world: &World) -> String {
        format!("kept {}", self.name)
    }
}
