//! `m.images`, `m.mask`, `m.lambda` and `m.partner`: tensors of a mix.

use admix_api::Credit;

use crate::method::handle::{Call, MixHandle, tensor};
use crate::method::{Cell, Entry, Executing, Id, Node, Op, line};
use crate::world::World;
use crate::{Error, Result};

pub const ENTRY: Entry = Entry {
    lines: &[
        line("`m.images`", "`[N, C, H, W]`; of a mix inside of the network the images as they are"),
        line(
            "`m.mask`",
            "the own image's mask, `[N, 1, H, W]`, if the mixer has one; inside of the network also `[1 or N, 1, 1, 1]`",
        ),
        line(
            "`m.lambda`",
            "lambda as it was drawn, one number or `[N]`; of a mixer that draws none, the own image's share, `[N]`",
        ),
        line("`m.partner`", "`[N]`: who is mixed in, of a mix of pairs"),
    ],
    register: |engine| {
        for name in ["images", "mask", "lambda", "partner"] {
            engine.register_get(name, move |call: Call<'_>, m: &mut MixHandle| {
                tensor(&call, &m.frame, |frame, at| {
                    let parents = frame.with_graph([m.id]);
                    let shape = frame.node(m.id).shape.filter(|_| name == "images");
                    frame.push(Node::of(Part { mix: m.id, name }, at).after(parents).shaped(shape))
                })
            });
        }
    },
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct Part {
    mix: Id,
    /// Which.
    name: &'static str,
}

impl Op for Part {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let (mixed, lambda) = step.mix(self.mix)?;
        let part = match (self.name, &mixed.credit) {
            ("images", _) => Some(&mixed.images),
            ("mask", _) => mixed.mask.as_ref(),
            ("lambda", _) => Some(lambda),
            ("partner", Credit::Pair { partner, .. }) => Some(partner),
            _ => None,
        };
        let part = part.ok_or_else(|| Error::Input(format!("this mix has no `{}`", self.name)))?;
        Ok(Cell::Tensor(part.shallow_clone()))
    }

    fn label(&self, _world: &World) -> String {
        self.name.into()
    }
}
