//! `m.target`: the target of a mix for given labels.

use crate::Result;
use crate::method::handle::{Call, MixHandle, TargetHandle, TensorHandle, record};
use crate::method::{Cell, Entry, Executing, Id, Node, Op, Outcome, line};
use crate::world::World;

pub const ENTRY: Entry = Entry {
    lines: &[line("`m.target(labels)`", "the target of a loss: who is in each image, with which share")],
    register: |engine| {
        engine.register_fn("target", |call: Call<'_>, m: &mut MixHandle, labels: TensorHandle| {
            let target = Target { mix: m.id, labels: labels.id };
            let id = record(&call, &m.frame, |frame, at| frame.push(Node::of(target, at)))?;
            Outcome::Ok(TargetHandle(id))
        });
    },
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct Target {
    mix: Id,
    /// `[N]` int64.
    labels: Id,
}

impl Op for Target {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let labels = step.tensor(self.labels)?;
        let (sources, shares) = step.mix(self.mix)?.0.credit.shares()?;
        let each = labels.f_index_select(0, &sources.f_reshape([-1])?)?.f_reshape(sources.size())?;
        Ok(Cell::Target(each, shares))
    }

    fn label(&self, _world: &World) -> String {
        "target".into()
    }
}
