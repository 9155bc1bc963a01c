//! Momentum pairs: parameters that follow others.

use admix_api::{Store, spans};
use admix_torch::{Device, Kind, Tensor};

use crate::Result;
use crate::recipe::{Recipe, When};
use crate::text::list;
use crate::world::head_unit::HeadUnit;
use crate::world::net::Net;
use crate::world::part::Part;

/// A momentum pair.
#[derive(Debug)]
pub struct Pair {
    /// The network, or head on embeddings, that is followed.
    pub from: String,
    /// The one that follows.
    pub to: String,
    /// Before or after the optimiser's step.
    pub when: When,
    /// Momentum where the script's schedule gives none.
    pub momentum: f64,
    /// The values are copied, whatever the momentum.
    pub copy: bool,
    sources: Vec<Tensor>,
    targets: Vec<Tensor>,
    /// 0-dim float32 on the device: 1 - momentum, refilled every step.
    weight: Tensor,
}

impl Pair {
    /// The pairs of a recipe. What follows starts as a copy and gets no gradients.
    ///
    /// # Errors
    /// A pair that names nothing.
    pub(crate) fn all(
        recipe: &Recipe,
        nets: &[Net],
        heads: &[HeadUnit],
        device: Device,
    ) -> Result<Vec<Self>> {
        let head = |name: &str| heads.iter().find(|unit| unit.name == name).map(|unit| &unit.store);
        let net = |name: &str| {
            let names = || list(nets.iter().map(|n| &n.name));
            let unknown = || format!("names the network `{name}`, but the recipe has {}", names());
            let net = nets.iter().find(|net| net.name == name).map(|net| &net.store);
            net.ok_or_else(|| recipe.field_error("pairs", unknown()))
        };
        let tensors = |store: &Store| store.parameters().into_iter().map(|(_, t, _)| t).collect();
        let mut pairs = Vec::new();
        for pair in &recipe.pairs {
            let (from, to) = match (head(&pair.from), head(&pair.to)) {
                (Some(from), Some(to)) => (from, to),
                _ => (net(&pair.from)?, net(&pair.to)?),
            };
            to.copy_from(from)?;
            to.set_requires_grad(false);
            pairs.push(Pair {
                from: pair.from.clone(),
                to: pair.to.clone(),
                when: pair.when,
                momentum: pair.momentum,
                copy: pair.copy,
                sources: tensors(from),
                targets: tensors(to),
                weight: Tensor::f_zeros([0i64; 0], (Kind::Float, device))?,
            });
        }
        Ok(pairs)
    }

    /// Copies everything of what is followed, buffers included.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn start(&self, nets: &[Net], heads: &[HeadUnit]) -> Result<()> {
        let all = nets.iter().map(|net| (&net.name, &net.store));
        let all: Vec<_> = all.chain(heads.iter().map(|unit| (&unit.name, &unit.store))).collect();
        let store = |name: &str| all.iter().find(|(own, _)| *own == name).map(|(_, store)| store);
        if let (Some(from), Some(to)) = (store(&self.from), store(&self.to)) {
            to.copy_from(from)?;
        }
        Ok(())
    }

    /// Puts the momentum, in [0, 1], into its slot, in place, for the next step. A pair that is copied has none.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn set_momentum(&mut self, momentum: f64) -> Result<()> {
        if !self.copy {
            let _ = self.weight.f_fill_(1.0 - momentum)?;
        }
        Ok(())
    }

    /// Parameters follow: `k = m k + (1 - m) q`, or are copied. Buffers do not. Where `found_inf` is not zero, nothing
    /// moves: a copy is then what it was, as its source is.
    fn follow(&self, found_inf: Option<&Tensor>) -> Result<()> {
        let _timed = spans::part(|| format!("pair {} to {}", self.from, self.to), 0);
        if self.copy {
            return Ok(admix_torch::copy_all(&self.targets, &self.sources)?);
        }
        Ok(admix_torch::ema(&self.targets, &self.sources, &self.weight, found_inf)?)
    }
}

/// The tensors are those of the network that follows.
impl Part for Pair {
    fn tensors(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }

    fn slots(&self) -> Vec<(String, Tensor)> {
        vec![(format!("momentum.{}", self.to), self.weight.shallow_clone())]
    }

    fn early(&self) -> Vec<Tensor> {
        let moves_early = self.when == When::BeforeStep;
        self.targets.iter().filter(|_| moves_early).map(Tensor::shallow_clone).collect()
    }

    /// What follows is a mean of parameters that are finite.
    fn is_judged(&self) -> bool {
        false
    }

    fn begin(&mut self) -> Result<()> {
        if self.when == When::BeforeStep { self.follow(None) } else { Ok(()) }
    }

    fn close(&mut self, found_inf: &Tensor) -> Result<()> {
        if self.when == When::AfterStep { self.follow(Some(found_inf)) } else { Ok(()) }
    }
}
