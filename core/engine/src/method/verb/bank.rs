//! `t.bank`, and what it is asked for: clusterers.

use crate::method::handle::{BankHandle, Call, Step, TensorHandle, placed, tensor};
use crate::method::{Cell, Entry, Executing, Frame, Id, Node, Op, Outcome, line};
use crate::text;
use crate::world::World;
use crate::{Error, Result};

pub const ENTRY: Entry = Entry {
    lines: &[
        line("`t.bank(name)`", "the clusterer of this name"),
        line("`b.labels(t.index)`", "the labels of the batch, `[N]`"),
        line("`b.class_weight()`", "the weight of each label, `[k]`: rare ones weigh more"),
        line(
            "`b.update(t.index, z)`",
            "nothing; the bank takes in new embeddings `[N, D]`, and the batch's labels move. The share that changed is \
             logged as `<name>_changed`",
        ),
    ],
    register: |engine| {
        fn asked(call: &Call<'_>, b: &BankHandle, ask: Ask) -> Outcome<TensorHandle> {
            tensor(call, &b.frame, |frame, at| frame.push(Node::of(Bank { bank: b.bank, ask }, at)))
        }
        engine.register_fn("bank", |call: Call<'_>, t: &mut Step, name: &str| {
            let bank = placed(&call, index(&t.0.borrow(), name))?;
            t.0.borrow_mut().call("clusterers", name);
            Outcome::Ok(BankHandle { frame: t.0.clone(), bank })
        });
        engine.register_fn("labels", |call: Call<'_>, b: &mut BankHandle, index: TensorHandle| {
            asked(&call, b, Ask::Labels { index: index.id })
        });
        engine.register_fn("class_weight", |call: Call<'_>, b: &mut BankHandle| {
            asked(&call, b, Ask::ClassWeight)
        });
        engine.register_fn(
            "update",
            |call: Call<'_>, b: &mut BankHandle, index: TensorHandle, embeddings: TensorHandle| {
                let ask = Ask::Update { index: index.id, embeddings: embeddings.id };
                asked(&call, b, ask).map(drop)
            },
        );
    },
};

/// What a step asks of a clusterer.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Ask {
    /// The labels of samples.
    Labels {
        /// `[N]` int64: which.
        index: Id,
    },
    /// The weight of each label.
    ClassWeight,
    /// New embeddings of samples.
    Update {
        /// `[N]` int64: which.
        index: Id,
        /// `[N, D]`.
        embeddings: Id,
    },
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bank {
    /// Index of the clusterer.
    bank: usize,
    ask: Ask,
}

fn index(frame: &Frame, name: &str) -> Result<usize> {
    let world = frame.world();
    let names = || world.clusterers.iter().map(|unit| unit.name.as_str());
    text::find("clusterer", name, "the recipe's `clusterers` has", names).map_err(|error| {
        match world.clusterers.is_empty() {
            true => Error::Input(format!("{error}; add `clusterers: {{\"{name}\": Odc(k: 200)}}` to it")),
            false => error,
        }
    })
}

impl Op for Bank {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let _full = step.world.precision.leave(step.world.device)?;
        match self.ask {
            Ask::Labels { index } => {
                let index = step.tensor(index)?;
                Ok(Cell::Tensor(step.world.clusterers[self.bank].clusterer.labels(&index)?))
            }
            Ask::ClassWeight => Ok(Cell::Tensor(step.world.clusterers[self.bank].class_weight()?)),
            Ask::Update { index, embeddings } => {
                let all = |id| step.world.rows_of_all(&step.tensor(id)?.f_detach()?);
                let (index, embeddings) = (all(index)?, all(embeddings)?);
                let unit = &mut step.world.clusterers[self.bank];
                let changed = unit.clusterer.update(&index, &embeddings)?;
                step.values.report.logged.push((format!("{}_changed", unit.name), changed));
                Ok(Cell::Done)
            }
        }
    }

    fn refuses_capture(&self, world: &World) -> Option<String> {
        let gathers = matches!(self.ask, Ask::Update { .. }) && world.waits_for_others();
        gathers.then(|| "its processes gather features for a clusterer within a step".into())
    }

    fn label(&self, world: &World) -> String {
        let verb = match self.ask {
            Ask::Labels { .. } => "labels",
            Ask::ClassWeight => "class_weight",
            Ask::Update { .. } => "update",
        };
        format!("bank {} {verb}", world.clusterers[self.bank].name)
    }
}
