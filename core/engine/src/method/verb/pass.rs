//! `t.pass`, `t.resume` and `t.evaluating`: passes of networks. Nothing runs before a pass [grows](super::grow).

use std::collections::BTreeMap;
use std::rc::Rc;

use admix_api::{Plan, Value, uniform_field};
use admix_torch::Tensor;
use rhai::Dynamic;

use crate::method::handle::{
    Call, NetHandle, PassHandle, Step, TensorHandle, kind_of, placed, record, tensor_id,
};
use crate::method::verb::mix::{self, Mix};
use crate::method::{
    Cell, Entry, Executing, Frame, Growing, HiddenMix, Id, Node, Op, Outcome, Place, line, refuse,
};
use crate::text;
use crate::world::World;
use crate::{Error, Result};

pub const ENTRY: Entry = Entry {
    lines: &[
        line(
            "`t.pass(net, input)`",
            "a pass of a network of the recipe over images or a mix, in train mode; of a frozen one in evaluation mode",
        ),
        line(
            "`t.resume(net, map, stage)`",
            "a pass that starts with the output of a stage, from 0, the stem: a map `[N, D, h, w]` as `p.features(stage)` gives, \
             mixed or moved. For networks whose maps are cells alone",
        ),
        line("`t.evaluating(net)`", "the network in evaluation mode, for `t.pass` and `t.resume`"),
    ],
    register: |engine| {
        engine.register_fn("pass", |call: Call<'_>, t: &mut Step, net: &str, input: Dynamic| {
            let net = placed(&call, named(&t.0.borrow(), net))?;
            passed(&call, t, net, &input)
        });
        engine.register_fn("pass", |call: Call<'_>, t: &mut Step, net: NetHandle, input: Dynamic| {
            passed(&call, t, net, &input)
        });
        engine.register_fn(
            "resume",
            |call: Call<'_>, t: &mut Step, net: &str, map: TensorHandle, stage: i64| {
                let net = placed(&call, named(&t.0.borrow(), net))?;
                resumed(&call, t, net, map.id, stage)
            },
        );
        engine.register_fn(
            "resume",
            |call: Call<'_>, t: &mut Step, net: NetHandle, map: TensorHandle, stage: i64| {
                resumed(&call, t, net, map.id, stage)
            },
        );
        engine.register_fn("evaluating", |call: Call<'_>, t: &mut Step, net: &str| {
            let net = placed(&call, named(&t.0.borrow(), net))?;
            Outcome::Ok(NetHandle { train: false, ..net })
        });
    },
};

/// The names of the values in the plan of a pass whose BatchNorms work in groups.
const ORDER: &str = "order";
const BACK: &str = "back";
/// The key of what a pass drops.
const DROPS: &str = "drops";

/// A pass of a network over images; nothing runs yet.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Pass {
    /// Index of the network.
    pub net: usize,
    /// Images or a mix, or the map of the stage before `next`.
    input: Id,
    /// The first stage to run: 0, the stem, takes images.
    next: usize,
    /// Train mode, or evaluation mode.
    train: bool,
    /// Where a hidden mix takes the partners' maps from, if not from the same pass: other images.
    partners: Option<Id>,
}

fn passed(call: &Call<'_>, t: &Step, net: NetHandle, input: &Dynamic) -> Outcome<PassHandle> {
    let wrong = || format!("a pass takes images or a mix, got {}", kind_of(input));
    let input = tensor_id(input).ok_or_else(|| refuse(wrong(), call.call_position()))?;
    let id = record(call, &t.0, |frame, at| pass(frame, net, input, at))?;
    Ok(PassHandle { frame: t.0.clone(), id })
}

/// The network of this name, in train mode if it is not frozen.
fn named(frame: &Frame, name: &str) -> Result<NetHandle> {
    let world = frame.world();
    let names = || world.nets.iter().map(|net| net.name.as_str());
    let net = text::find("network", name, "the recipe has", names)?;
    Ok(NetHandle { net, train: !world.nets[net].frozen })
}

fn pass(frame: &mut Frame, NetHandle { net, train }: NetHandle, input: Id, at: Place) -> Result<Id> {
    // A mix may happen inside of the network; then partners of another view pass through it too.
    let partners = frame.node(input).get::<Mix>().and_then(|mix| mix.input("partner_images"));
    let partners = partners.filter(|_| mix::may_be_hidden(frame, input, |mix| mix.mixer));
    begin(frame, Pass { net, input, next: 0, train, partners }, at)
}

/// Records a pass before its first stage.
fn begin(frame: &mut Frame, pass: Pass, at: Place) -> Result<Id> {
    let Pass { net, input, train, partners, .. } = pass;
    let owner = pass.trains(frame.world());
    let trained = owner.is_some_and(|owner| frame.moves(&owner));
    let parents = frame.with_graph(partners.into_iter().chain([input]));
    if train {
        draw(frame, net, input)?;
    }
    let id = frame.push(Node::of(pass, at).after(parents).rooted(trained))?;
    frame.asked.grown.insert(id, id);
    Ok(id)
}

fn resumed(call: &Call<'_>, t: &Step, net: NetHandle, map: Id, stage: i64) -> Outcome<PassHandle> {
    let id = record(call, &t.0, |frame, at| resume(frame, net, map, stage, at))?;
    Ok(PassHandle { frame: t.0.clone(), id })
}

/// A pass from the output of a stage on.
fn resume(
    frame: &mut Frame,
    NetHandle { net, train }: NetHandle,
    input: Id,
    stage: i64,
    at: Place,
) -> Result<Id> {
    let last = frame.world().nets[net].network.backbone().stages();
    let next = usize::try_from(stage).ok().filter(|stage| *stage <= last).map(|stage| stage + 1);
    let next = next.ok_or_else(|| {
        Error::Input(format!("`resume` starts with the output of a stage, 0 to {last}; got {stage}"))
    })?;
    begin(frame, Pass { net, input, next, train, partners: None }, at)
}

/// Refuses what the first stage of a pass cannot take.
fn check_input(step: &Executing<'_>, pass: &Pass, map: &Tensor) -> Result<()> {
    let size = map.size();
    let net = &step.world.nets[pass.net];
    let (wanted, what) = match pass.next.checked_sub(1) {
        None => (step.world.normalisation.0.size()[1], None),
        Some(stage) => (net.network.backbone().channels(stage), Some(stage)),
    };
    if matches!(size[..], [_, channels, _, _] if channels == wanted) {
        return Ok(());
    }
    Err(Error::Input(match what {
        None => format!(
            "a pass takes images [N, {wanted}, H, W], got the shape {size:?}; the map of a stage goes on with \
             t.resume(\"{}\", map, stage)",
            net.name
        ),
        Some(stage) => format!(
            "`resume` of `{}` takes the map of its stage {stage}, [N, {wanted}, h, w]; got the shape {size:?}",
            net.name
        ),
    }))
}

/// The draws of the next pass in train mode, kept as its plan: the order in which its samples are dealt out to BatchNorm
/// groups, and the key of what its network drops. Each pass of a step draws its own, so that no two passes of one image
/// share a group by rule.
fn draw(frame: &mut Frame, net: usize, input: Id) -> Result<()> {
    let (streams, groups, drops, name) = {
        let world = frame.world();
        let net = &world.nets[net];
        (world.streams, world.bn_groups, net.network.backbone().drops(), net.name.clone())
    };
    let draws = |purpose: &str, name: &str| streams.draws(purpose, name, frame.clock.epoch, frame.draw_step);
    let number = frame.asked.passes.to_string();
    let mut plan = Plan::default();
    if groups > 1 {
        let [samples, ..] = frame.shape(input).ok_or_else(|| {
            Error::Input("with `bn_groups`, a pass takes images, a view, views of one size joined by `cat([...], 0)`, or a mix of them".into())
        })?;
        let order = draws("bn_groups", &number).permutation(samples as usize);
        let mut back = vec![0; order.len()];
        for (place, sample) in order.iter().enumerate() {
            back[*sample as usize] = place as i64;
        }
        plan = plan.with(ORDER, Value::Ints(order)).with(BACK, Value::Ints(back));
    }
    if drops > 0 {
        let key = draws("pass", &format!("{name}.{number}")).field_key();
        plan = plan.with(DROPS, Value::Int(key));
    }
    if plan == Plan::default() {
        return Ok(());
    }
    frame.asked.passes += 1;
    frame.planned(|_| "the pass".into(), plan)
}

impl Op for Pass {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let (map, hidden) = match step.mix(self.input) {
            Ok((mixed, _)) => {
                let partners = self.partners.map(|id| step.tensor(id)).transpose()?;
                let hidden = |stage| HiddenMix { stage, mix: self.input, partners };
                (mixed.images.shallow_clone(), mixed.hidden.map(|mix| hidden(mix.stage)))
            }
            Err(_) => (step.tensor(self.input)?, None),
        };
        check_input(step, self, &map)?;
        let plan = step.plan();
        let order = plan.and_then(|plan| Some((plan.get(ORDER).ok()?, plan.get(BACK).ok()?)));
        let drops = match plan.and_then(|plan| plan.get(DROPS).ok()) {
            Some(key) => {
                let each = step.world.nets[self.net].network.backbone().drops() as i64;
                Some(uniform_field(&key, &[each, map.size()[0]])?)
            }
            None => None,
        };
        let mut pass = Growing {
            run: Rc::new(admix_models::Pass { train: self.train, drops }),
            map: map.into(),
            next: self.next,
            kept: BTreeMap::new(),
            hidden,
            order,
            embedding: None,
        };
        pass.map = pass.ordered(pass.map.tensor())?.into();
        Ok(Cell::Pass(pass))
    }

    fn works(&self) -> bool {
        false
    }

    fn trains(&self, world: &World) -> Option<String> {
        let net = &world.nets[self.net];
        net.trained.then(|| format!("net.{}", net.name))
    }

    fn is_place(&self) -> bool {
        true
    }
}
