//! `m.contrast`: what a mix stands for in a contrast, the keys of its sources.

use admix_api::Partner;
use admix_torch::{Kind, Tensor};

use crate::method::handle::{Call, MixHandle, TargetHandle, TensorHandle, record};
use crate::method::verb::mix::Mix;
use crate::method::{Cell, Entry, Executing, Frame, Id, Node, Op, Outcome, Place, line};
use crate::world::World;
use crate::{Error, Result};

pub const ENTRY: Entry = Entry {
    lines: &[
        line(
            "`m.contrast(keys)`",
            "what a contrastive loss holds it against: the key of each source, from `[N, D]`, with its share. The mixer \
             must not pair an image with itself (`partner: Derangement`)",
        ),
        line(
            "`m.contrast(keys, partner_keys)`",
            "the same with the keys of other images than the own one from the second",
        ),
    ],
    register: |engine| {
        fn contrasted(call: &Call<'_>, m: &MixHandle, op: Contrast) -> Outcome<TargetHandle> {
            let id = record(call, &m.frame, |frame, at| contrast(frame, op, at))?;
            Ok(TargetHandle(id))
        }
        engine.register_fn("contrast", |call: Call<'_>, m: &mut MixHandle, keys: TensorHandle| {
            contrasted(&call, m, Contrast { mix: m.id, keys: keys.id, partner_keys: None })
        });
        engine.register_fn(
            "contrast",
            |call: Call<'_>, m: &mut MixHandle, keys: TensorHandle, partner_keys: TensorHandle| {
                let partner_keys = Some(partner_keys.id);
                contrasted(&call, m, Contrast { mix: m.id, keys: keys.id, partner_keys })
            },
        );
    },
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct Contrast {
    mix: Id,
    /// `[N, D]`: the keys.
    keys: Id,
    /// `[N, D]`: those of other images than the own one, if not the same.
    partner_keys: Option<Id>,
}

fn contrast(frame: &mut Frame, op: Contrast, at: Place) -> Result<Id> {
    if let Some(mix) = frame.node(op.mix).get::<Mix>() {
        let world = frame.world();
        let unit = &world.mixers[mix.mixer];
        if unit.pairing.partner == Partner::Permutation {
            return Err(Error::Input(format!(
                "mixer `{}` may pair an image with itself, and then its mix shows what its keys are told by; add \
                 `partner: Derangement` to its settings",
                unit.name
            )));
        }
    }
    let parents = frame.with_graph(op.partner_keys.into_iter().chain([op.keys]));
    frame.push(Node::of(op, at).after(parents))
}

impl Op for Contrast {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let credit = &step.mix(self.mix)?.0.credit;
        let (mut each, shares) = credit.contrast(&step.tensor(self.keys)?)?;
        if let Some(partners) = self.partner_keys {
            let (theirs, _) = credit.contrast(&step.tensor(partners)?)?;
            let (sources, _) = credit.shares()?;
            let own = Tensor::f_arange(sources.size()[0], (Kind::Int64, sources.device()))?;
            let own = sources.f_eq_tensor(&own.f_unsqueeze(1)?)?.f_unsqueeze(2)?;
            each = each.f_where_self(&own, &theirs)?;
        }
        Ok(Cell::Target(each, shares))
    }

    fn label(&self, _world: &World) -> String {
        "contrast".into()
    }
}
