//! `t.coin`, `t.uniform` and `t.flip`: random draws of a method's own, beside those of its mixes.
//!
//! Drawn on the host from the named streams, keyed by the draw's name, the epoch and the step; on the device each is a slot.
//! So a resumed or replayed run draws the same. A field is made on the device from a drawn key. A flip stays on the host: the
//! script branches on it.

use admix_api::{Draws, Plan, Value};
use rhai::Dynamic;

use crate::method::handle::{Call, Step, TensorHandle, record, tensor, wanted_number};
use crate::method::{Cell, Entry, Executing, Frame, Id, Mode, Node, Op, Place, line};
use crate::world::World;
use crate::{Error, Result};

pub const ENTRY: Entry = Entry {
    lines: &[
        line("`t.coin(name, p)`", "1 with probability `p`, else 0: one number"),
        line(
            "`t.flip(name, p)`",
            "`true` with probability `p`, else `false`: for `if`. Each branch is a step of its own to a recorded run",
        ),
        line("`t.uniform(name)`", "one number, uniform in [0, 1)"),
        line("`t.uniform(name, like)`", "numbers uniform in [0, 1), in the shape of `like`"),
    ],
    register: |engine| {
        engine.register_fn("coin", |call: Call<'_>, t: &mut Step, name: &str, p: Dynamic| {
            let p = wanted_number(&p, "the probability of a coin", call.call_position())?;
            tensor(&call, &t.0, |frame, at| coin(frame, name, p, at))
        });
        engine.register_fn("flip", |call: Call<'_>, t: &mut Step, name: &str, p: Dynamic| {
            let p = wanted_number(&p, "the probability of a flip", call.call_position())?;
            record(&call, &t.0, |frame, at| flip(frame, name, p, at))
        });
        engine.register_fn("uniform", |call: Call<'_>, t: &mut Step, name: &str| {
            tensor(&call, &t.0, |frame, at| {
                let plan = |draws: &mut Draws| (NUMBER, Value::Float(draws.uniform()));
                draw(frame, name, None, plan, at)
            })
        });
        engine.register_fn("uniform", |call: Call<'_>, t: &mut Step, name: &str, like: TensorHandle| {
            tensor(&call, &t.0, |frame, at| {
                let plan = |draws: &mut Draws| (KEY, Value::Int(draws.field_key()));
                draw(frame, name, Some(like.id), plan, at)
            })
        });
    },
};

/// The names of the values in a draw's plan.
const NUMBER: &str = "number";
const KEY: &str = "key";
/// A field that is given as it is, in place of a key.
const FIELD: &str = "field";

/// Random numbers, from a plan of their own.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Draw {
    /// The draw's own name, unique in a step.
    name: String,
    /// One number, or a field in the shape of this tensor.
    like: Option<Id>,
}

fn refuse_probability(what: &str, name: &str, p: f64) -> Result<()> {
    if (0.0..=1.0).contains(&p) {
        return Ok(());
    }
    Err(Error::Input(format!("the probability of the {what} `{name}` is {p}, expected a number in [0, 1]")))
}

/// True with a probability. The dry calls take both sides in turn, as far as both can come.
fn flip(frame: &mut Frame, name: &str, p: f64, at: Place) -> Result<bool> {
    refuse_probability("flip", name, p)?;
    if frame.mode == Mode::Clock {
        return Err(Error::Input("only `step` draws; `weights` and `schedule` read the clock".into()));
    }
    frame.refuse_drawn(name)?;
    let flipped = match (frame.given.get(name), frame.turn) {
        (Some(given), _) => matches!(given.value(NUMBER)?, Value::Float(number) if *number != 0.0),
        (None, Some(turn)) if p > 0.0 && p < 1.0 => (turn + frame.asked.flips).is_multiple_of(2),
        _ => frame.world().streams.draws("draw", name, frame.clock.epoch, frame.draw_step).coin(p),
    };
    frame.asked.flips += 1;
    frame.drawn(name, at.0);
    Ok(flipped)
}

fn coin(frame: &mut Frame, name: &str, p: f64, at: Place) -> Result<Id> {
    refuse_probability("coin", name, p)?;
    let plan = |draws: &mut Draws| (NUMBER, Value::Float(f64::from(u8::from(draws.coin(p)))));
    draw(frame, name, None, plan, at)
}

fn draw(
    frame: &mut Frame,
    name: &str,
    like: Option<Id>,
    value: impl FnOnce(&mut Draws) -> (&'static str, Value),
    at: Place,
) -> Result<Id> {
    frame.refuse_drawn(name)?;
    let plan = match frame.given.get(name) {
        Some(given) => given.clone(),
        None => {
            let streams = frame.world().streams;
            let mut draws = streams.draws("draw", name, frame.clock.epoch, frame.draw_step);
            let (key, value) = value(&mut draws);
            Plan::default().with(key, value)
        }
    };
    let shape = like.and_then(|id| frame.node(id).shape);
    frame.planned(|_| "the draw".into(), plan)?;
    frame.drawn(name, at.0);
    frame.push(Node::of(Draw { name: name.into(), like }, at).shaped(shape))
}

impl Op for Draw {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let plan = step.plan().ok_or_else(|| Error::Input("a draw without a plan".into()))?;
        let Some(like) = self.like else { return Ok(Cell::Tensor(plan.get(NUMBER)?)) };
        let size = step.tensor(like)?.size();
        Ok(Cell::Tensor(match plan.values().find(|(name, _)| *name == FIELD) {
            Some((_, given)) => given.f_reshape(&size)?,
            None => admix_api::uniform_field(&plan.get(KEY)?, &size)?,
        }))
    }

    fn label(&self, _world: &World) -> String {
        format!("draw {}", self.name)
    }
}
