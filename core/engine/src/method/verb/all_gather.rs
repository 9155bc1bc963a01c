//! `t.all_gather`: the rows of every part of the step.

use admix_torch::Tensor;

use crate::method::execute::Gathered;
use crate::method::handle::{Call, Step, TensorHandle, tensor};
use crate::method::{Cell, Entry, Executing, Id, Node, Op, line};
use crate::world::World;
use crate::{Error, Result};

pub const ENTRY: Entry = Entry {
    lines: &[line(
        "`t.all_gather(rows)`",
        "the rows `[N, ..]` of all parts of the step (`accumulate` x processes): the own ones first, then the others in the \
         order of parts. A loss on gathered rows alone has the gradient of the whole step",
    )],
    register: |engine| {
        engine.register_fn("all_gather", |call: Call<'_>, t: &mut Step, rows: TensorHandle| {
            tensor(&call, &t.0, |frame, at| {
                let parents = frame.with_graph([rows.id]);
                frame.push(Node::of(AllGather { rows: rows.id }, at).after(parents))
            })
        });
    },
};

/// The rows of all parts. Every part computes the same from them, so each takes its own rows' gradient times the number of
/// parts: the mean over parts, which a step learns from, is then the gradient of one of these equal losses.
#[derive(Debug, PartialEq, Eq, Hash)]
struct AllGather {
    /// `[N, ..]`: those of this part.
    rows: Id,
}

impl Op for AllGather {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let rows = step.tensor(self.rows)?;
        let gathered = match step.values.gathered.take() {
            Some(gathered) => gathered,
            None => alone(step, &rows)?,
        };
        Ok(Cell::Tensor(own_first(&rows, &gathered)?))
    }

    fn label(&self, _world: &World) -> String {
        "all_gather".into()
    }

    fn waits_with(&self) -> Option<Id> {
        Some(self.rows)
    }

    fn refuses_capture(&self, world: &World) -> Option<String> {
        world.waits_for_others().then(|| "its processes gather rows within a step".into())
    }
}

/// What a part gathers that is the only one of its process.
fn alone(step: &Executing<'_>, rows: &Tensor) -> Result<Gathered> {
    let (own, parts) = step.world.place();
    if step.values.accumulate > parts {
        return Err(Error::Input(
            "`all_gather` waits for the other parts of the step, and this script must be executed to be read: leave out what \
             asks for the shape of a value, or set `accumulate: 1`"
                .into(),
        ));
    }
    Ok(Gathered { all: step.world.rows_of_all(&rows.f_detach()?)?, own, parts })
}

fn own_first(rows: &Tensor, gathered: &Gathered) -> Result<Tensor> {
    let Gathered { all, own, parts } = gathered;
    if *parts == 1 {
        return Ok(rows.shallow_clone());
    }
    let each = rows.size().first().copied().unwrap_or(0);
    let (before, after) = (each * *own as i64, each * (*own as i64 + 1));
    // The value of `rows` to the bit: what is added is 0.
    let nothing = rows.f_sub(&rows.f_detach()?)?;
    let own = rows.f_add(&nothing.f_mul_scalar(*parts as f64 - 1.0)?)?;
    let others = [all.f_narrow(0, 0, before)?, all.f_narrow(0, after, each * *parts as i64 - after)?];
    let [first, last] = &others;
    Ok(Tensor::f_cat(&[&own, first, last], 0)?)
}
