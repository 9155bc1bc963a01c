//! `t.embed`: the embeddings of several passes as one batch.

use admix_torch::Tensor;
use rhai::Array;

use crate::method::handle::{Call, PassHandle, Step, kind_of, tensor};
use crate::method::verb::grow::{Reach, grow};
use crate::method::verb::pass::Pass;
use crate::method::{Cell, Entry, Executing, Frame, Id, Node, Op, Place, line, refuse};
use crate::world::World;
use crate::{Error, Result};

pub const ENTRY: Entry = Entry {
    lines: &[line(
        "`t.embed([p, ...])`",
        "the embeddings of several passes of one network, of images of any sizes, as one batch: `[N + ..., D]`. A norm in the \
         neck sees all of them",
    )],
    register: |engine| {
        engine.register_fn("embed", |call: Call<'_>, t: &mut Step, passes: Array| {
            let id = |value: &rhai::Dynamic| {
                let wrong = || format!("`embed` takes an array of passes, got {} in it", kind_of(value));
                let pass = value.read_lock::<PassHandle>().map(|pass| pass.id);
                pass.ok_or_else(|| refuse(wrong(), call.call_position()))
            };
            let passes = passes.iter().map(id).collect::<std::result::Result<Vec<_>, _>>()?;
            tensor(&call, &t.0, |frame, at| embed(frame, passes, at))
        });
    },
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct Embed {
    passes: Vec<Id>,
    /// Index of their network.
    net: usize,
}

fn embed(frame: &mut Frame, passes: Vec<Id>, at: Place) -> Result<Id> {
    let mut nets = passes.iter().map(|pass| frame.node(*pass).get::<Pass>().map(|pass| pass.net));
    let first = nets.next().flatten();
    let Some(net) = first.filter(|_| nets.all(|net| net == first)) else {
        return Err(Error::Input("`embed` takes one pass or more, all of one network".into()));
    };
    let grown = passes.iter().map(|pass| grow(frame, *pass, Reach::End, at)).collect::<Result<Vec<_>>>()?;
    frame.call("neck", "");
    let parents = frame.with_graph(passes.iter().copied().chain(grown));
    frame.push(Node::of(Embed { passes, net }, at).after(parents))
}

impl Op for Embed {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let network = &step.world.nets[self.net].network;
        let (mut pooled, mut train) = (Vec::new(), false);
        for pass in &self.passes {
            let Cell::Pass(pass) = &step.values.cells[*pass] else {
                return Err(Error::Input("expected a pass".into()));
            };
            train |= pass.run.train;
            pooled.push(pass.ordered_back(&network.pooled(&pass.map)?)?);
        }
        Ok(Cell::Tensor(network.embed_pooled(&Tensor::f_cat(&pooled, 0)?, train)?))
    }

    fn label(&self, world: &World) -> String {
        format!("embed {}", world.nets[self.net].name)
    }
}
