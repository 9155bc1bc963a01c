//! What a step gives back.

use std::collections::BTreeMap;

use admix_api::{Mixed, Planned};
use admix_torch::Tensor;

use crate::Result;

/// What one step gave.
#[derive(Debug, Default)]
pub struct StepReport {
    /// Each term before weighting, 0-dim on the device, without graph.
    pub losses: Vec<(String, Tensor)>,
    /// Values that the script logged, 0-dim on the device.
    pub logged: Vec<(String, Tensor)>,
    /// Whether a term was learned whose weight is not 0.
    pub learned: bool,
    /// 0-dim: not zero where the update was skipped.
    pub found_inf: Option<Tensor>,
    /// Of each mix by a plugin that is not of this program: its label and, 0-dim on the device, whether it is well.
    pub health: Vec<(String, Tensor)>,
    /// Mixed images and masks by draw name; only when details are asked for.
    pub mixes: BTreeMap<String, MixReport>,
    /// Gradients by parameter name; only when details are asked for.
    pub gradients: BTreeMap<String, Tensor>,
    /// Learning rate of each group.
    pub rates: Vec<f64>,
    /// Momentum of the first pair, if there is one.
    pub momentum: Option<f64>,
}

impl StepReport {
    /// Adds what another part of an accumulated step gave: losses are averaged in the log.
    pub fn absorb(&mut self, other: StepReport) {
        self.losses.extend(other.losses);
        self.logged.extend(other.logged);
        self.health.extend(other.health);
        self.mixes.extend(other.mixes);
    }
}

/// One mix, without graph.
#[derive(Debug)]
pub struct MixReport {
    /// `[N, C, H, W]`. Of a hidden mix in a step: the images as they are.
    pub images: Tensor,
    /// The own image's mask, `[N, 1, H, W]`. Of a hidden mix in a step: as the mixer gave it.
    pub mask: Option<Tensor>,
    /// The stage whose output is mixed, from 1; 0 where images are.
    pub stage: usize,
    /// As planned: 0-dim or `[N]`. Of a mixer that plans none, the own image's share, `[N]`.
    pub lambda: Tensor,
    /// `[N]` int64. `None` of a mixer that plans none, as it mixes more than pairs.
    pub partner: Option<Tensor>,
    /// The saliency that the mixer was given or computed, `[1 or N, H, W]`.
    pub saliency: Option<Tensor>,
    /// What else the mixer shows, by name ([`Mixed::extras`]).
    pub extras: BTreeMap<String, Tensor>,
}

impl MixReport {
    /// Reports a mix. `saliency` is the one that the mixer was given, if it was.
    ///
    /// # Errors
    /// The mix shares nothing out, or libtorch refused.
    pub(crate) fn of(mixed: &Mixed, planned: &Planned, saliency: Option<&Tensor>) -> Result<Self> {
        Ok(Self {
            images: mixed.images.f_detach()?,
            mask: mixed.mask.as_ref().map(Tensor::f_detach).transpose()?,
            stage: mixed.hidden.map_or(0, |hidden| hidden.stage),
            lambda: mixed.lambda(planned)?,
            partner: planned.partner().ok(),
            saliency: saliency.or(mixed.extras.get(Mixed::SALIENCY)).map(Tensor::shallow_clone),
            extras: mixed
                .extras
                .iter()
                .map(|(name, tensor)| Ok((name.clone(), tensor.f_detach()?)))
                .collect::<Result<_>>()?,
        })
    }
}
