//! `m.target` and `t.target`: targets of losses.

use admix_torch::{Kind, Tensor};

use crate::method::handle::{Call, MixHandle, Step, TargetHandle, TensorHandle, record};
use crate::method::{Cell, Entry, Executing, Id, Node, Op, Outcome, line};
use crate::world::World;
use crate::{Error, Result};

pub const ENTRY: Entry = Entry {
    lines: &[
        line("`m.target(labels)`", "the target of a loss: who is in each image, with which share"),
        line(
            "`m.target(labels, partner_labels)`",
            "the same with the labels of other images than the own one from the second: for a mix with `partner_images`",
        ),
        line(
            "`t.target(sources, shares, labels)`",
            "a target of the script's own: samples `[N, S]`, whole numbers, and their shares `[N, S]`, which need not sum to \
             1. It has the shares' graph",
        ),
    ],
    register: |engine| {
        fn of_mix(
            call: &Call<'_>,
            m: &MixHandle,
            labels: Id,
            partner_labels: Option<Id>,
        ) -> Outcome<TargetHandle> {
            let target = Target { mix: m.id, labels, partner_labels };
            let id = record(call, &m.frame, |frame, at| frame.push(Node::of(target, at)))?;
            Ok(TargetHandle(id))
        }
        engine.register_fn("target", |call: Call<'_>, m: &mut MixHandle, labels: TensorHandle| {
            of_mix(&call, m, labels.id, None)
        });
        engine.register_fn(
            "target",
            |call: Call<'_>, m: &mut MixHandle, labels: TensorHandle, partner_labels: TensorHandle| {
                of_mix(&call, m, labels.id, Some(partner_labels.id))
            },
        );
        engine.register_fn(
            "target",
            |call: Call<'_>,
             t: &mut Step,
             sources: TensorHandle,
             shares: TensorHandle,
             labels: TensorHandle| {
                let target = Shared { sources: sources.id, shares: shares.id, labels: labels.id };
                let id = record(&call, &t.0, |frame, at| {
                    let parents = frame.with_graph([target.shares]);
                    frame.push(Node::of(target, at).after(parents))
                })?;
                Outcome::Ok(TargetHandle(id))
            },
        );
    },
};

/// The label of each source, `[N, S]`.
fn labels_of(labels: &Tensor, sources: &Tensor) -> Result<Tensor> {
    Ok(labels.f_index_select(0, &sources.f_reshape([-1])?)?.f_reshape(sources.size())?)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Target {
    mix: Id,
    /// `[N]` int64.
    labels: Id,
    /// `[N]` int64: those of other images than the own one, if not the same.
    partner_labels: Option<Id>,
}

impl Op for Target {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let labels = step.tensor(self.labels)?;
        let (sources, shares) = step.mix(self.mix)?.0.credit.shares()?;
        let own = labels_of(&labels, &sources)?;
        let Some(partners) = self.partner_labels else { return Ok(Cell::Target(own, shares)) };
        let theirs = labels_of(&step.tensor(partners)?, &sources)?;
        let place = Tensor::f_arange(sources.size()[0], (Kind::Int64, sources.device()))?.f_unsqueeze(1)?;
        Ok(Cell::Target(own.f_where_self(&sources.f_eq_tensor(&place)?, &theirs)?, shares))
    }

    fn label(&self, _world: &World) -> String {
        "target".into()
    }
}

/// A target that no mix made.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Shared {
    /// `[N, S]` int64.
    sources: Id,
    /// `[N, S]`.
    shares: Id,
    /// `[N]` int64.
    labels: Id,
}

impl Op for Shared {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let (sources, shares) = (step.tensor(self.sources)?, step.tensor(self.shares)?);
        if sources.dim() != 2 || sources.kind() != Kind::Int64 || shares.size() != sources.size() {
            return Err(Error::Input(format!(
                "`t.target` takes samples [N, S], whole numbers, and as many shares; got {:?} {:?} and {:?} {:?}",
                sources.kind(),
                sources.size(),
                shares.kind(),
                shares.size()
            )));
        }
        let shares = if shares.is_floating_point() { shares } else { shares.f_to_kind(Kind::Float)? };
        Ok(Cell::Target(labels_of(&step.tensor(self.labels)?, &sources)?, shares))
    }

    fn label(&self, _world: &World) -> String {
        "target".into()
    }
}
