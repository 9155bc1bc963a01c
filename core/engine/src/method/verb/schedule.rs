//! Functions of the clock, for `weights` and `schedule`.

use rhai::Dynamic;

use crate::method::handle::{Call, Step, wanted_number};
use crate::method::{Entry, Outcome, line};
use crate::schedule;

pub const ENTRY: Entry = Entry {
    lines: &[
        line("`cosine(base, end, progress)`", "`end + (base - end)(1 + cos(pi progress)) / 2`"),
        line(
            "`warm_cosine(base, end, t, warm)`",
            "`base` during the first `warm` of the run, then `cosine(base, end, t.progress)` with the progress of the whole \
             run, so with a small jump; with `warm` 0 the very first value is 0",
        ),
        line(
            "`compounding_cosine(base, t)`",
            "each step multiplies the current value by `(1 + cos(pi t.progress)) / 2`: the authors' mask weight, which falls \
             much faster than a cosine",
        ),
        line(
            "`warmup(base, warm, progress)`",
            "in a straight line from 0 to `base` over the first `warm`, then `base`",
        ),
    ],
    register: |engine| {
        type D = Dynamic;
        engine.register_fn("cosine", |call: Call<'_>, base: D, end: D, progress: D| {
            let base = number(&call, &base, "the first argument of cosine")?;
            let end = number(&call, &end, "the second argument of cosine")?;
            let progress = number(&call, &progress, "the third argument of cosine")?;
            Outcome::Ok(schedule::cosine(base, end, progress))
        });
        engine.register_fn("warm_cosine", |call: Call<'_>, base: D, end: D, t: Step, warm: D| {
            let clock = t.0.borrow().clock;
            let base = number(&call, &base, "the first argument of warm_cosine")?;
            let end = number(&call, &end, "the second argument of warm_cosine")?;
            let warm = number(&call, &warm, "the fourth argument of warm_cosine")?;
            Outcome::Ok(schedule::warm_cosine(base, end, clock.step, clock.steps, warm))
        });
        engine.register_fn("compounding_cosine", |call: Call<'_>, base: D, t: Step| {
            let clock = t.0.borrow().clock;
            let base = number(&call, &base, "the first argument")?;
            Outcome::Ok(schedule::compounding_cosine(base, clock.step, clock.steps))
        });
        engine.register_fn("warmup", |call: Call<'_>, base: D, warm: D, progress: D| {
            let base = number(&call, &base, "the first argument of warmup")?;
            let warm = number(&call, &warm, "the second argument of warmup")?;
            let progress = number(&call, &progress, "the third argument of warmup")?;
            Outcome::Ok(schedule::warmup(base, warm, progress))
        });
    },
};

fn number(call: &Call<'_>, value: &Dynamic, what: &str) -> Outcome<f64> {
    wanted_number(value, what, call.call_position())
}
