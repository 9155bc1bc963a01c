//! A plan at the boundary: the host's question and draws come in, the values go out.

use std::rc::Rc;

use crate::abi::raw;
use crate::draws::HostDraws;
use crate::{Ask, Draws, Error, Plan, Result, Value};

impl raw::Ask {
    /// What the host asks.
    pub(super) fn read(&self) -> Ask {
        Ask {
            batch: self.batch.max(0) as usize,
            height: self.height,
            width: self.width,
            pairing: self.pairing.read(),
            lambda: (!self.lambda.is_nan()).then_some(self.lambda),
            quiet: self.quiet != 0,
            progress: self.progress,
        }
    }
}

/// The host's draws, as long as `plan` runs.
pub(super) fn draws(draws: raw::Draws) -> Draws {
    Draws::hosted(Rc::new(Served(draws)))
}

#[derive(Debug)]
struct Served(raw::Draws);

impl HostDraws for Served {
    fn uniform(&self) -> f64 {
        // SAFETY (here and below): the host's functions with its own pointer, during `plan`.
        self.0.uniform.map_or(f64::NAN, |draw| unsafe { draw(self.0.host) })
    }

    fn below(&self, end: usize) -> usize {
        self.0.choice.map_or(0, |draw| unsafe { draw(self.0.host, end as i64) }) as usize
    }

    fn normal(&self) -> f64 {
        self.0.normal.map_or(f64::NAN, |draw| unsafe { draw(self.0.host) })
    }

    fn beta(&self, a: f64, b: f64) -> f64 {
        self.0.beta.map_or(f64::NAN, |draw| unsafe { draw(self.0.host, a, b) })
    }

    fn permutation(&self, n: usize) -> Vec<i64> {
        let mut all = vec![0; n];
        if let Some(draw) = self.0.permutation {
            unsafe { draw(self.0.host, n as i64, all.as_mut_ptr()) };
        }
        all
    }

    fn derangement(&self, n: usize) -> Vec<i64> {
        let mut all = vec![0; n];
        if let Some(draw) = self.0.derangement {
            unsafe { draw(self.0.host, n as i64, all.as_mut_ptr()) };
        }
        all
    }

    fn field_key(&self) -> i64 {
        self.0.field.map_or(0, |draw| unsafe { draw(self.0.host) })
    }
}

/// Hands a plan of the mixer `name` to the host.
pub(super) fn put(name: &str, plan: &Plan, out: &raw::Plan) -> Result<()> {
    let (Some(floats), Some(ints), Some(structure)) = (out.floats, out.ints, out.structure) else {
        return Ok(());
    };
    for (key, value) in plan.values() {
        // A count of zero means one number at this boundary, and there is none.
        let is_empty = match value {
            Value::Floats(all) => all.is_empty(),
            Value::Ints(all) => all.is_empty(),
            Value::Float(_) | Value::Int(_) => false,
        };
        if is_empty {
            return Err(Error::plugin(name, format!("the plan's value `{key}` is an empty list")));
        }
        let key = raw::Text::of(key);
        // SAFETY: the host's functions with its own pointer; slices live for the call.
        unsafe {
            match value {
                Value::Float(one) => floats(out.host, key, one, 0),
                Value::Floats(all) => floats(out.host, key, all.as_ptr(), all.len()),
                Value::Int(one) => ints(out.host, key, one, 0),
                Value::Ints(all) => ints(out.host, key, all.as_ptr(), all.len()),
            }
        }
    }
    // SAFETY: as above.
    unsafe { structure(out.host, plan.structure) };
    Ok(())
}
