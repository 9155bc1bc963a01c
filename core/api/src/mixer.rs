//! Mixers: how two (or more) images become one, and what share of the label each gets.

use std::collections::BTreeMap;

use crate::{Ask, Draws, MixInput, Mixed, Needs, Pairing, Path, Plan, Planned, Result, Settings};

/// A mixup policy.
///
/// `plan` runs on the host at every step and makes every scalar choice; `mix` does tensor work only and keeps no
/// state but in declared buffers, so that a captured step stays right and a test can hand in any plan.
///
/// ```
/// use admix_api::{MixInput, Mixed, Mixer, Plan, Planned, Result};
/// use admix_torch::{Device, Tensor};
///
/// /// Shows the partner alone.
/// #[derive(Debug)]
/// struct Swap;
///
/// impl Mixer for Swap {
///     fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
///         let partner = plan.partner()?;
///         Ok(Mixed::pair(input.partners(&partner)?, partner, plan.lambda()?))
///     }
/// }
///
/// let images = Tensor::from_slice(&[1f32, 2.0]).reshape([2, 1, 1, 1]);
/// let mixed = Swap.mix(&MixInput::of(&images), &Plan::given(0.0, &[1, 0]).on(Device::Cpu)?)?;
/// assert!(mixed.images.equal(&images.flip([0])));
/// # Ok::<(), admix_api::Error>(())
/// ```
pub trait Mixer: std::fmt::Debug {
    /// What the policy reads.
    fn needs(&self) -> Needs {
        Needs::images()
    }

    /// Draws lambda and partners. Policies with more choices add them to `Plan::draw`.
    ///
    /// # Errors
    /// A setting out of range.
    fn plan(&self, ask: &Ask, draws: &mut Draws) -> Result<Plan> {
        Plan::draw(ask, draws)
    }

    /// Mixes a batch by a plan. The input is never modified.
    ///
    /// # Errors
    /// A missing input or a shape that does not fit.
    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed>;

    /// Train mode (batch statistics, dropout) or evaluation mode.
    fn train(&mut self, _on: bool) {}

    /// Called after every optimiser step, without graph: projections of parameters.
    ///
    /// # Errors
    /// libtorch refused.
    fn after_step(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What a mixer is built for: facts of the network and of the data. The default is what is known of nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MixerContext {
    /// Channels of the feature map that it asked for.
    pub feature_channels: Option<i64>,
    /// Mean of each channel by which images are normalised, pixels in [0, 1]: an image is `(pixel - mean) / std`. Empty
    /// where images are not normalised: mean 0, standard deviation 1.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel, above 0, in the same way.
    pub std: Vec<f64>,
    /// Number of classes; 0 if unknown.
    pub classes: i64,
}

/// The settings of a mixer, from which the mixer is built.
///
/// ```
/// use admix_api::prelude::*;
/// use admix_api::{Store, Streams};
///
/// /// Recipe: `Same()`. Gives the images back.
/// #[derive(Debug, Clone, Serialize)]
/// struct Same {}
///
/// impl Mixer for Same {
///     fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
///         Ok(Mixed::pair(input.images.shallow_clone(), plan.partner()?, plan.lambda()?))
///     }
/// }
///
/// impl MixerConfig for Same {
///     fn build(&self, _: &Path, _: &MixerContext) -> Result<Box<dyn Mixer>> {
///         Ok(Box::new(self.clone()))
///     }
/// }
///
/// let store = Store::new(Device::Cpu, Streams::new(0));
/// let mixer = Same {}.build(&store.root(), &MixerContext::default())?;
/// assert_eq!(mixer.needs(), Needs::images());
/// # Ok::<(), Error>(())
/// ```
pub trait MixerConfig: std::fmt::Debug + Settings {
    /// What the mixer will read; known before it is built.
    fn needs(&self) -> Needs {
        Needs::images()
    }

    /// Checks ranges and combinations, naming the field.
    ///
    /// # Errors
    /// A value out of range.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// The settings of the host that play no part in this policy ([`FIELDS`](crate::Served::FIELDS) of `Pairing`): a recipe that names one
    /// of them is refused.
    fn ignores(&self) -> &'static [&'static str] {
        &[]
    }

    /// The host's settings that a recipe does not name; `entry` holds the defaults of the plugin. For a preset that differs
    /// in them.
    fn pairing(&self, entry: &Pairing) -> Pairing {
        entry.clone()
    }

    /// Other mixers of the recipe by name, with weights from 0, if each mix picks one of them. Such a mixer mixes
    /// nothing itself: the host looks the name up, and records the mix as one of the mixer that was picked.
    fn choices(&self) -> Option<&BTreeMap<String, f64>> {
        None
    }

    /// Builds the mixer; trained tensors are made under `path`.
    ///
    /// # Errors
    /// Invalid settings.
    fn build(&self, path: &Path, context: &MixerContext) -> Result<Box<dyn Mixer>>;
}
