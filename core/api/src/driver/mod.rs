//! Mixers and losses by name and settings, in any loop: no recipe, no network and no engine.

mod given;
mod loss;
mod mixer;
mod settings;
mod turn;

use admix_torch::{Device, Kind};
use serde_json::Value as Json;

pub use loss::{DrivenLoss, Operand};
pub use mixer::{DrivenMix, DrivenMixer};
pub use turn::Turn;

use crate::{Loss, Mixer, MixerContext, Registry, Result, Streams};

/// Makes mixers and losses from names and settings, as a recipe's reader does.
///
/// ```no_run
/// use admix_api::{Driver, MixInput, Operand, Registry, Turn};
/// use admix_torch::{Device, Kind, Tensor};
/// use serde_json::json;
///
/// let driver = Driver::new(Registry::linked()?, 0);
/// let mut mixer = driver.mixer("cutmix", &json!({"alpha": 1.0}))?;
/// let loss = driver.loss("mixup_cross_entropy", &json!({}))?;
///
/// let images = Tensor::rand([8, 3, 32, 32], (Kind::Float, Device::Cpu));
/// let labels = Tensor::randint(10, [8], (Kind::Int64, Device::Cpu));
/// let mixed = mixer.mix(&MixInput::of(&images), &Turn::at(0, 0))?.mixed;
/// let logits = Tensor::rand([8, 10], (Kind::Float, Device::Cpu));
/// let value = loss.loss(vec![Operand::Tensor(logits), Operand::shared(&mixed.credit, &labels)?])?;
/// # Ok::<(), admix_api::Error>(())
/// ```
#[derive(Debug)]
pub struct Driver {
    registry: Registry,
    streams: Streams,
    context: MixerContext,
    device: Device,
    kind: Kind,
}

impl Driver {
    /// Makes entries of this registry; all draws flow from the seed. Trained tensors are float32 and on the CPU.
    pub fn new(registry: Registry, seed: u64) -> Self {
        let streams = Streams::new(seed);
        Self { registry, streams, context: MixerContext::default(), device: Device::Cpu, kind: Kind::Float }
    }

    /// The same for mixers that know this of networks and data.
    #[must_use]
    pub fn knowing(self, context: MixerContext) -> Self {
        Self { context, ..self }
    }

    /// The same with trained tensors on this device, of this floating kind.
    #[must_use]
    pub fn on(self, device: Device, kind: Kind) -> Self {
        Self { device, kind, ..self }
    }

    /// The entries.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The mixer of this name with these settings (an object; those that the host serves for every mixer stand beside
    /// the mixer's own), in train mode. Its first weights are those of a run with this seed whose recipe calls it by the
    /// entry's name.
    ///
    /// A choice picks among mixers of the registry with their settings at the defaults.
    ///
    /// # Errors
    /// No mixer of this name, a setting that is unknown, of a wrong type or out of range, or something that the mixer
    /// must know of the network. Each names the setting and what was expected.
    pub fn mixer(&self, name: &str, settings: &Json) -> Result<DrivenMixer> {
        let choice = settings::choose::<dyn Mixer>(&self.registry, name, settings)?;
        let picks = choice.config.choices().into_iter().flatten();
        let picks = picks.map(|(option, weight)| {
            let mixer = self.mixer(option, &Json::Object(serde_json::Map::new()))?;
            Ok((mixer, *weight))
        });
        let picks = picks.collect::<Result<_>>()?;
        DrivenMixer::new(choice, picks, self.streams, self.context.clone(), (self.device, self.kind))
    }

    /// The loss of this name with these settings (an object).
    ///
    /// # Errors
    /// As [`mixer`](Self::mixer).
    pub fn loss(&self, name: &str, settings: &Json) -> Result<DrivenLoss> {
        DrivenLoss::new(settings::choose::<dyn Loss>(&self.registry, name, settings)?)
    }
}
