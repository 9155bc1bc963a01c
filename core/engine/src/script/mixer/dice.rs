//! `d` of a script's `plan(d)`: what the plan is for, and the draws.

use std::cell::RefCell;
use std::rc::Rc;

use admix_api::{Ask, Draws};
use rhai::{Array, Dynamic, Engine, NativeCallContext};

use crate::method::operand::{Outcome, refuse};
use crate::script::live::Params;
use crate::script::values::number;

/// `d`: what a plan is wanted for, and the draws.
#[derive(Debug, Clone)]
pub(super) struct Dice(pub(super) Rc<Roll>);

#[derive(Debug)]
pub(super) struct Roll {
    pub(super) draws: RefCell<Draws>,
    pub(super) ask: Ask,
    /// One for the batch, or one for each sample.
    pub(super) lambdas: Vec<f64>,
    pub(super) per_sample: bool,
    pub(super) params: Params,
}

fn whole_array(values: Vec<i64>) -> Array {
    values.into_iter().map(Dynamic::from).collect()
}

/// What can follow `d.`.
pub(super) fn register(engine: &mut Engine) {
    type C<'a> = NativeCallContext<'a>;
    engine
        .register_type_with_name::<Dice>("Draws")
        .register_get("lambda", |c: C<'_>, d: &mut Dice| -> Outcome<f64> {
            match d.0.lambdas[..] {
                [one] if !d.0.per_sample => Ok(one),
                _ => Err(refuse(
                    "each sample has a lambda of its own here: use `d.lambdas`",
                    c.call_position(),
                )),
            }
        })
        .register_get("lambdas", |d: &mut Dice| -> Array {
            d.0.lambdas.iter().map(|lambda| Dynamic::from(*lambda)).collect()
        })
        .register_get("alpha", |d: &mut Dice| d.0.ask.pairing.alpha)
        .register_get("batch", |d: &mut Dice| d.0.ask.batch as i64)
        .register_get("height", |d: &mut Dice| d.0.ask.height)
        .register_get("width", |d: &mut Dice| d.0.ask.width)
        .register_get("quiet", |d: &mut Dice| d.0.ask.quiet)
        .register_get("progress", |d: &mut Dice| d.0.ask.progress);
    engine.register_fn("param", |c: C<'_>, d: &mut Dice, name: &str| d.0.params.get(name, &c));
    engine.register_fn("count", |c: C<'_>, d: &mut Dice, name: &str, least: i64| {
        d.0.params.count(name, least, &c)
    });
    engine.register_fn("uniform", |d: &mut Dice| d.0.draws.borrow_mut().uniform());
    engine.register_fn("normal", |d: &mut Dice| d.0.draws.borrow_mut().normal());
    engine.register_fn("field_key", |d: &mut Dice| d.0.draws.borrow_mut().field_key());
    engine.register_fn("beta", |c: C<'_>, d: &mut Dice, a: Dynamic, b: Dynamic| -> Outcome<f64> {
        let at = c.call_position();
        let (Some(a), Some(b)) = (number(&a), number(&b)) else {
            return Err(refuse("`beta` takes two numbers above 0", at));
        };
        d.0.draws.borrow_mut().beta(a, b).map_err(|e| refuse(e, at))
    });
    engine.register_fn("below", |c: C<'_>, d: &mut Dice, end: i64| -> Outcome<i64> {
        let end = usize::try_from(end).ok().filter(|end| *end > 0);
        let end = end.ok_or_else(|| refuse("`below` takes a whole number from 1", c.call_position()))?;
        Ok(d.0.draws.borrow_mut().below(end) as i64)
    });
    engine.register_fn("coin", |c: C<'_>, d: &mut Dice, p: Dynamic| -> Outcome<bool> {
        let p = number(&p).filter(|p| (0.0..=1.0).contains(p));
        let p = p.ok_or_else(|| refuse("`coin` takes a probability in [0, 1]", c.call_position()))?;
        Ok(d.0.draws.borrow_mut().coin(p))
    });
    engine.register_fn("permutation", |d: &mut Dice| {
        whole_array(d.0.draws.borrow_mut().permutation(d.0.ask.batch))
    });
    engine.register_fn("derangement", |c: C<'_>, d: &mut Dice| -> Outcome<Array> {
        if d.0.ask.batch < 2 {
            let message =
                "`derangement` lets no sample meet itself, but the batch has one: expected a batch from 2";
            return Err(refuse(message, c.call_position()));
        }
        Ok(whole_array(d.0.draws.borrow_mut().derangement(d.0.ask.batch)))
    });
}
