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
/// A field that is given as it is, in place of a key.
pub(crate) const FIELD: &str = "field";
/// Those of a pass whose BatchNorms work in groups.
pub(crate) const ORDER: &str = "order";
pub(crate) const BACK: &str = "back";
/// The key of what a pass drops.
pub(crate) const DROPS: &str = "drops";

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

    /// The draws of the next pass in train mode, kept as its plan: the order in which its samples are dealt out to BatchNorm
    /// groups, and the key of what its network drops. Each pass of a step draws its own, so that no two passes of one image
    /// share a group by rule. `samples` counts the pass's samples.
    pub(crate) fn draw_pass(&mut self, net: usize, samples: impl Fn(&Self) -> Result<i64>) -> Result<()> {
        let (streams, groups, drops, name) = {
            let world = self.world.borrow();
            let net = &world.nets[net];
            (world.streams, world.bn_groups, net.network.backbone().drops(), net.name.clone())
        };
        let draws =
            |purpose: &str, name: &str| streams.draws(purpose, name, self.clock.epoch, self.draw_step);
        let number = self.passes.to_string();
        let mut plan = Plan::default();
        if groups > 1 {
            let order = draws("bn_groups", &number).permutation(samples(self)? as usize);
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
        self.passes += 1;
        self.planned(plan)
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
