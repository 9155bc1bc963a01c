//! Random draws of a method's own, beside those of its mixes.
//!
//! Drawn on the host from the named streams, keyed by the draw's name, the epoch and the step; on the device each is a slot.
//! So a resumed or replayed run draws the same. A field is made on the device from a drawn key.

use admix_api::{Draws, Plan, Value};

use crate::method::frame::Frame;
use crate::method::trace::{Id, Op};
use crate::{Error, Result};

/// The names of the values in a draw's plan.
pub(crate) const NUMBER: &str = "number";
pub(crate) const KEY: &str = "key";

impl Frame {
    /// 1 with probability `p`, else 0: 0-dim.
    pub(crate) fn coin(&mut self, name: &str, p: f64, at: (usize, usize)) -> Result<Id> {
        if !(0.0..=1.0).contains(&p) {
            return Err(Error::Input(format!(
                "the probability of the coin `{name}` is {p}, expected a number in [0, 1]"
            )));
        }
        let number = |draws: &mut Draws| Value::Float(f64::from(u8::from(draws.coin(p))));
        self.drawn(name, None, |draws| Plan::default().with(NUMBER, number(draws)), at)
    }

    /// Uniform in [0, 1): one number, 0-dim, or a field in the shape of `like`.
    pub(crate) fn uniform(&mut self, name: &str, like: Option<Id>, at: (usize, usize)) -> Result<Id> {
        let plan = |draws: &mut Draws| match like {
            None => Plan::default().with(NUMBER, Value::Float(draws.uniform())),
            Some(_) => Plan::default().with(KEY, Value::Int(draws.field_key())),
        };
        self.drawn(name, like, plan, at)
    }

    fn drawn(
        &mut self,
        name: &str,
        like: Option<Id>,
        plan: impl FnOnce(&mut Draws) -> Plan,
        at: (usize, usize),
    ) -> Result<Id> {
        self.refuse_drawn(name)?;
        let plan = match self.given.get(name) {
            Some(given) => given.clone(),
            None => {
                let streams = self.world.borrow().streams;
                plan(&mut streams.draws("draw", name, self.clock.epoch, self.draw_step))
            }
        };
        let shape = like.and_then(|id| self.trace.nodes[id].shape);
        self.planned(plan)?;
        self.draws.insert(name.to_string(), at.0);
        self.push(Op::Draw { name: name.into(), like }, at, false, Vec::new(), shape)
    }

    /// A draw name is used once in a step.
    pub(crate) fn refuse_drawn(&self, name: &str) -> Result<()> {
        match self.draws.get(name) {
            None => Ok(()),
            Some(first) => Err(Error::Input(format!(
                "the draw name `{name}` was used in line {first} already; each mix (`as`) and each draw of a step needs its own"
            ))),
        }
    }
}
