//! `t.mix` and `t.quiet`: mixes.

use std::collections::BTreeMap;

use admix_api::{Ask, MixInput, Mixed, Plan, Value, spans};
use admix_torch::{Device, Tensor};
use rhai::Map;

use crate::choice;
use crate::method::handle::{Call, MixHandle, Step, kind_of, record, tensor_id};
use crate::method::health::{health, verdict};
use crate::method::{Cell, Entry, Executing, Frame, Id, MixReport, Node, Op, Outcome, Place, line, refuse};
use crate::script::sandbox;
use crate::text::{self, list};
use crate::world::World;
use crate::{Error, Result};

pub const ENTRY: Entry = Entry {
    lines: &[
        line("`t.mix(name, #{ ... })`", "a mix by the mixer that the recipe calls `name`"),
        line(
            "`t.quiet(name, #{ ... })`",
            "the same without a graph: for images that train the encoder alone",
        ),
    ],
    register: |engine| {
        for (verb, quiet) in [("mix", false), ("quiet", true)] {
            engine.register_fn(verb, move |call: Call<'_>, t: &mut Step, mixer: &str, keys: Map| {
                let (draw, inputs) = told(&call, keys)?;
                let id = record(&call, &t.0, |frame, at| mix(frame, mixer, draw, inputs, quiet, at))?;
                Outcome::Ok(MixHandle { frame: t.0.clone(), id })
            });
        }
    },
};

/// A mix.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Mix {
    /// Index of the mixer.
    pub mixer: usize,
    /// Index of the mixer that the script named: the same, or the choice that picked it.
    pub named: usize,
    /// The draw's own name, unique in a step.
    draw: String,
    /// `images`, `features`, ... and their handles.
    inputs: Vec<(String, Id)>,
    /// Without graph, for the encoder only.
    quiet: bool,
    /// The batch stays as it is, by the settings `prob` and `until`.
    rests: bool,
}

impl Mix {
    /// The handle of one of its inputs.
    pub fn input(&self, name: &str) -> Option<Id> {
        self.inputs.iter().find(|(own, _)| own == name).map(|(_, id)| *id)
    }
}

/// The name of the draw, and the inputs.
type Told = (Option<String>, Vec<(String, Id)>);

fn told(call: &Call<'_>, keys: Map) -> Outcome<Told> {
    let at = call.call_position();
    let (mut draw, mut inputs) = (None, Vec::new());
    for (key, value) in keys {
        if key == "as" {
            let got = kind_of(&value).to_string();
            let wrong = |_| refuse(format!("`as` must be a name in quotes, got {got}"), at);
            draw = Some(value.into_string().map_err(wrong)?);
        } else {
            let wrong = || format!("`{key}` of a mix must be a tensor, got {}", kind_of(&value));
            let id = tensor_id(&value).ok_or_else(|| refuse(wrong(), at))?;
            inputs.push((key.to_string(), id));
        }
    }
    Ok((draw, inputs))
}

/// The mixer of this name.
pub fn index(world: &World, name: &str) -> Result<usize> {
    let names = || world.mixers.iter().map(|unit| unit.name.as_str());
    text::find("mixer", name, "the recipe's `mixers` has", names)
}

/// Whether this is a mix that may happen inside of a network.
pub fn may_be_hidden(frame: &Frame, id: Id, mixer: fn(&Mix) -> usize) -> bool {
    let Some(mix) = frame.node(id).get() else { return false };
    frame.world().mixers[mixer(mix)].needs.hidden.is_some()
}

/// Refuses a mix where its images are meant, if it may have none. In every step, so that it does not depend on the
/// stage that is drawn, nor on what a choice picks.
pub fn refuse_hidden(frame: &Frame, ids: impl IntoIterator<Item = Id>) -> Result<()> {
    let hidden = |id: &Id| may_be_hidden(frame, *id, |mix| mix.named);
    let Some(mix) = ids.into_iter().find(hidden).and_then(|id| frame.node(id).get::<Mix>()) else {
        return Ok(());
    };
    let world = frame.world();
    Err(Error::Input(format!(
        "mixer `{}` may mix inside of the network, so its mix `{}` is no image: give it to a pass",
        world.mixers[mix.named].name, mix.draw
    )))
}

fn mix(
    frame: &mut Frame,
    mixer: &str,
    draw: Option<String>,
    mut inputs: Vec<(String, Id)>,
    quiet: bool,
    at: Place,
) -> Result<Id> {
    let _outside = sandbox::outside();
    let draw = draw.ok_or_else(|| {
        Error::Input(format!(
            "a mix needs `as`, the name of its draw: t.mix(\"{mixer}\", #{{ as: \"...\", ... }})"
        ))
    })?;
    frame.refuse_drawn(&draw)?;
    let (mix, owner) = {
        let world = frame.world();
        let named = index(world, mixer)?;
        check_keys(world, named, &inputs)?;
        let mixer = picked(frame, world, named, &draw)?;
        refuse_hidden(frame, inputs.iter().map(|(_, id)| *id))?;
        // Of what a choice was given for all its options, the one that was picked gets what it reads.
        let (must, may) = world.mixers[mixer].needs.keys();
        inputs.retain(|(name, _)| must.iter().chain(&may).any(|key| key == name));
        let rests = !(mixes(frame, named, &draw) && (mixer == named || mixes(frame, mixer, &draw)));
        let mix = Mix { mixer, named, draw, inputs, quiet, rests };
        let owner = mix.trains(world);
        (mix, owner)
    };
    frame.call("mixers", mixer);
    let plan = plan(frame, &mix, at)?;
    let trained = owner.is_some_and(|owner| frame.moves(&owner));
    let shape = mix.input("images").and_then(|id| frame.node(id).shape);
    let parents = if quiet { Vec::new() } else { frame.with_graph(mix.inputs.iter().map(|(_, id)| *id)) };
    let mixer = mix.mixer;
    frame.planned(|world| format!("mixer `{}`", world.mixers[mixer].name), plan)?;
    frame.drawn(&mix.draw, at.0);
    frame.push(Node::of(mix, at).after(parents).rooted(trained && !quiet).shaped(shape))
}

/// The plan of a mix: a given one, or what its mixer draws.
fn plan(frame: &mut Frame, mix: &Mix, at: Place) -> Result<Plan> {
    let Some([n, _, height, width]) = mix.input("images").and_then(|id| frame.shape(id)) else {
        return Err(Error::Input("`images` of a mix must be [N, C, H, W]".into()));
    };
    if let Some(given) = frame.given.get(&mix.draw) {
        return Ok(given.clone());
    }
    if mix.rests {
        return Ok(Plan::default()
            .with("lambda", Value::Float(1.0))
            .with("partner", Value::Ints((0..n).collect())));
    }
    let world = frame.world();
    let unit = &world.mixers[mix.mixer];
    let ask = Ask {
        batch: n as usize,
        height,
        width,
        pairing: unit.pairing.clone(),
        lambda: None,
        quiet: mix.quiet,
        progress: frame.clock.progress(),
    };
    frame.try_plans(mix.mixer, &ask)?;
    let world = frame.world();
    let unit = &world.mixers[mix.mixer];
    let mut draws = world.streams.draws("mix", &mix.draw, frame.clock.epoch, frame.draw_step);
    let _timed = spans::part(|| format!("plan {}", unit.name), at.0);
    unit.plan(&ask, &mut draws)
}

/// Whether a mixer mixes this batch, by its settings `prob` and `until`. A given plan is always followed. The last of the dry
/// calls lets the batch rest, if the settings may.
fn mixes(frame: &Frame, index: usize, draw: &str) -> bool {
    let unit = &frame.world().mixers[index];
    if !unit.pairing.may_rest() || frame.given.contains_key(draw) {
        return true;
    }
    if frame.turn.is_some() {
        return !frame.rests;
    }
    let mut draws = frame.world().streams.draws(
        "prob",
        &format!("{draw}.{}", unit.name),
        frame.clock.epoch,
        frame.draw_step,
    );
    unit.pairing.mixes(frame.clock.epoch, frame.clock.progress(), &mut draws)
}

/// The mixer that a mix is made by: the one of this index, or the one that it picks.
fn picked(frame: &Frame, world: &World, index: usize, draw: &str) -> Result<usize> {
    let unit = &world.mixers[index];
    if unit.picks.is_empty() {
        return Ok(index);
    }
    if let Some(turn) = frame.turn {
        return Ok(unit.picks[turn % unit.picks.len()].0);
    }
    let mut draws = world.streams.draws("choice", draw, frame.clock.epoch, frame.draw_step);
    let picked = match frame.choices.get(&unit.name) {
        Some(given) => {
            let weight = |option: usize| given.get(&world.mixers[option].name).copied().unwrap_or(0.0);
            let picks: Vec<_> = unit.picks.iter().map(|(option, _)| (*option, weight(*option))).collect();
            draws.pick(&picks)
        }
        None => draws.pick(&unit.picks),
    };
    picked.ok_or_else(|| choice::no_mixer(&world.mixers, unit))
}

/// The keys of a mix must be what its mixer needs.
fn check_keys(world: &World, mixer: usize, inputs: &[(String, Id)]) -> Result<()> {
    let unit = &world.mixers[mixer];
    let mixer = &unit.name;
    let (wanted, optional) = unit.needs.keys();
    let given: Vec<&str> = inputs.iter().map(|(name, _)| name.as_str()).collect();
    if let Some(missing) = wanted.iter().find(|name| !given.contains(name)) {
        // The pairing of the mixer itself, or of one that it picks.
        let mut units = [unit].into_iter().chain(unit.picks.iter().map(|(index, _)| &world.mixers[*index]));
        let pairing = units.find(|unit| *missing == "pseudo" && unit.pairing.partner.needs_pseudo());
        let why = pairing.map(|unit| {
            format!(", as `mixers.{}.partner` of the recipe is {}", unit.name, unit.pairing.partner)
        });
        return Err(Error::Input(format!(
            "mixer `{mixer}` needs `{missing}`{}; it was given {}. Add `{missing}: ...` to the keys of the mix",
            why.unwrap_or_default(),
            list(&given)
        )));
    }
    if let Some(extra) = given.iter().find(|name| !wanted.contains(name) && !optional.contains(name)) {
        return Err(Error::Input(format!(
            "mixer `{mixer}` takes no `{extra}`; it takes `as`, {}",
            list(wanted.iter().chain(&optional))
        )));
    }
    Ok(())
}

impl Op for Mix {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let mut inputs: BTreeMap<&str, Tensor> = BTreeMap::new();
        for (name, handle) in &self.inputs {
            inputs.insert(name, step.tensor(*handle)?);
        }
        let images = inputs.get("images").ok_or_else(|| Error::Input("a mix needs `images`".into()))?;
        let planned = step.values.slots.plans.get(&step.id);
        let planned = planned.ok_or_else(|| Error::Input("a mix without a plan".into()))?;
        let paired = planned.paired(inputs.get("pseudo"))?;
        let planned = paired.as_ref().unwrap_or(planned);
        let unit = &mut step.world.mixers[self.mixer];
        let input = MixInput::named(images, self.quiet, |name| inputs.get(name));
        let mixed = if self.rests {
            Mixed::rested(inputs.get("shown").unwrap_or(images), planned)?
        } else {
            // A solver on the host is the one thing in a step that may wait for the device.
            let _apart = unit.needs.host_solver.then(admix_torch::apart);
            unit.mixer.mix(&input, planned)?
        };
        let mixed = if self.quiet { mixed.quietened(|| unit.parameters()) } else { mixed };
        unit.check_hidden(&mixed, images)?;
        if let Some(label) = &unit.watched {
            let health = health(&mixed, images)?;
            if step.world.device == Device::Cpu {
                // Nothing runs ahead there: found at once, the state of the step before can be saved.
                verdict(label, f64::try_from(&health)?)?;
            } else {
                step.values.report.health.push((label.clone(), health));
            }
        }
        if step.values.detail {
            let report = MixReport::of(&mixed, planned, input.saliency)?;
            step.values.report.mixes.insert(self.draw.clone(), report);
        }
        let lambda = mixed.lambda(planned)?;
        Ok(Cell::Mix(Box::new(mixed), lambda))
    }

    fn label(&self, world: &World) -> String {
        let verb = if self.quiet { "quiet" } else { "mix" };
        format!("{verb} {} as {}", world.mixers[self.mixer].name, self.draw)
    }

    fn trains(&self, world: &World) -> Option<String> {
        let unit = &world.mixers[self.mixer];
        unit.trained().then(|| format!("mixer.{}", unit.name))
    }

    fn refuses_capture(&self, world: &World) -> Option<String> {
        let unit = &world.mixers[self.mixer];
        if let Some(label) = world.examined(&unit.watched) {
            return Some(label);
        }
        let what = format!("mixer `{}` ({})", unit.name, unit.plugin);
        match (unit.needs.host_solver, unit.on_device()) {
            (true, _) => Some(format!("{what} does a part of its work on the host")),
            (_, false) => Some(format!("{what} says that it cannot be captured")),
            _ => None,
        }
    }
}
