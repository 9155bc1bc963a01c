//! `t.log`: a value for the log.

use admix_torch::Kind;

use crate::Result;
use crate::method::handle::{Call, Step, TensorHandle, record};
use crate::method::{Cell, Entry, Executing, Id, Node, Op, line};
use crate::world::World;

pub const ENTRY: Entry = Entry {
    lines: &[line(
        "`t.log(name, tensor)`",
        "nothing; the mean of the tensor goes into `metrics.jsonl`, under `logged`, averaged over the steps between two \
         lines",
    )],
    register: |engine| {
        engine.register_fn("log", |call: Call<'_>, t: &mut Step, name: &str, value: TensorHandle| {
            let log = Log { name: name.into(), value: value.id };
            record(&call, &t.0, |frame, at| frame.push(Node::of(log, at)).map(drop))
        });
    },
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct Log {
    /// Its key.
    name: String,
    /// A scalar or anything that has a mean.
    value: Id,
}

impl Op for Log {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let value = step.tensor(self.value)?.f_detach()?.f_to_kind(Kind::Float)?.f_mean(Kind::Float)?;
        step.values.report.logged.push((self.name.clone(), value));
        Ok(Cell::Done)
    }

    fn label(&self, _world: &World) -> String {
        format!("log {}", self.name)
    }
}
