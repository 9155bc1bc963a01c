//! `m.images`, `m.mask`, `m.lambda`, `m.sources`, ...: tensors of a mix.

use admix_api::{Credit, did_you_mean};
use admix_torch::Tensor;

use crate::method::handle::{Call, MixHandle, TensorHandle, tensor};
use crate::method::{Cell, Entry, Executing, Id, Node, Op, Outcome, line};
use crate::text::list;
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
        line(
            "`m.sources`, `m.shares`",
            "`[N, S]`: who is in each image, whole numbers, and with which share of the label. Of a pair the own image and its \
             partner",
        ),
        line("`m.extra(name)`", "a tensor that the mixer shows beside these, such as `\"placed\"`"),
    ],
    register: |engine| {
        fn taken(call: &Call<'_>, m: &MixHandle, part: Which) -> Outcome<TensorHandle> {
            tensor(call, &m.frame, |frame, at| {
                let parents = frame.with_graph([m.id]);
                let shape = frame.node(m.id).shape.filter(|_| part == Which::Images);
                frame.push(Node::of(Part { mix: m.id, part }, at).after(parents).shaped(shape))
            })
        }
        let parts = [
            ("images", Which::Images),
            ("mask", Which::Mask),
            ("lambda", Which::Lambda),
            ("partner", Which::Partner),
            ("sources", Which::Sources),
            ("shares", Which::Shares),
        ];
        for (name, part) in parts {
            engine.register_get(name, move |call: Call<'_>, m: &mut MixHandle| taken(&call, m, part.clone()));
        }
        engine.register_fn("extra", |call: Call<'_>, m: &mut MixHandle, name: &str| {
            taken(&call, m, Which::Extra(name.into()))
        });
    },
};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Which {
    Images,
    Mask,
    Lambda,
    Partner,
    Sources,
    Shares,
    /// By its name.
    Extra(String),
}

impl Which {
    fn name(&self) -> &str {
        match self {
            Self::Images => "images",
            Self::Mask => "mask",
            Self::Lambda => "lambda",
            Self::Partner => "partner",
            Self::Sources => "sources",
            Self::Shares => "shares",
            Self::Extra(name) => name,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Part {
    mix: Id,
    part: Which,
}

impl Op for Part {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let (mixed, lambda) = step.mix(self.mix)?;
        let part = match (&self.part, &mixed.credit) {
            (Which::Images, _) => Some(mixed.images.shallow_clone()),
            (Which::Mask, _) => mixed.mask.as_ref().map(Tensor::shallow_clone),
            (Which::Lambda, _) => Some(lambda.shallow_clone()),
            (Which::Partner, Credit::Pair { partner, .. }) => Some(partner.shallow_clone()),
            (Which::Partner, _) => None,
            (Which::Sources, credit) => Some(credit.shares()?.0),
            (Which::Shares, credit) => Some(credit.shares()?.1),
            (Which::Extra(name), _) => mixed.extras.get(name).map(Tensor::shallow_clone),
        };
        let missing = || {
            let extras = match &self.part {
                Which::Extra(name) => {
                    let known = || mixed.extras.keys().map(String::as_str);
                    format!("; its extras are {}{}", list(known()), did_you_mean(name, known()))
                }
                _ => String::new(),
            };
            let remedy = match self.part {
                Which::Mask => ": its mixer makes none, as `MixUp` does not; `CutMix` and `mixers/timm` do",
                _ => "",
            };
            Error::Input(format!("this mix has no `{}`{extras}{remedy}", self.part.name()))
        };
        Ok(Cell::Tensor(part.ok_or_else(missing)?))
    }

    fn label(&self, _world: &World) -> String {
        self.part.name().into()
    }
}
