//! Mixers: how two (or more) images become one, and what share of the label each gets.

use std::collections::BTreeMap;

use admix_torch::{Kind, Tensor};

use crate::{Ask, Draws, Error, Path, Plan, Planned, Result};

/// What a mixer reads beside the images.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Needs {
    /// The feature map of this stage of a network (1-based, as in the paper: `l`).
    pub features: Option<usize>,
    /// A saliency map of the images, `[N, H, W]`.
    pub saliency: bool,
    /// Pseudo labels, `[N]` int64.
    pub pseudo: bool,
    /// The mix can be replayed from a captured graph.
    pub capturable: bool,
    /// Part of the work runs on the host.
    pub host_solver: bool,
}

impl Needs {
    /// A mixer that reads images alone and can be captured.
    pub fn images() -> Self {
        Self { capturable: true, ..Self::default() }
    }
}

/// The tensors given to one mix.
#[derive(Debug)]
pub struct MixInput<'a> {
    /// The own images, `[N, C, H, W]`, normalised. Never modified.
    pub images: &'a Tensor,
    /// The images that partners are taken from, if not the same batch (the other view).
    pub partner_images: Option<&'a Tensor>,
    /// The feature map that the mixer needs, `[N, D, h, w]`, without graph.
    pub features: Option<&'a Tensor>,
    /// The features that partners are taken from, if not the same.
    pub partner_features: Option<&'a Tensor>,
    /// Saliency of the images, `[N, H, W]`.
    pub saliency: Option<&'a Tensor>,
    /// Pseudo labels, `[N]` int64.
    pub pseudo: Option<&'a Tensor>,
    /// True where the mix trains the encoder only: no graph, and adjusting of lambda applies.
    pub quiet: bool,
}

impl<'a> MixInput<'a> {
    /// Images, and whatever else `lookup` has under the names of the fields.
    pub fn named(images: &'a Tensor, quiet: bool, lookup: impl Fn(&str) -> Option<&'a Tensor>) -> Self {
        Self {
            images,
            partner_images: lookup("partner_images"),
            features: lookup("features"),
            partner_features: lookup("partner_features"),
            saliency: lookup("saliency"),
            pseudo: lookup("pseudo"),
            quiet,
        }
    }
}

impl MixInput<'_> {
    /// Images alone.
    pub fn of(images: &Tensor) -> MixInput<'_> {
        MixInput {
            images,
            partner_images: None,
            features: None,
            partner_features: None,
            saliency: None,
            pseudo: None,
            quiet: false,
        }
    }

    /// The partner's image for each sample, `[N, C, H, W]`.
    ///
    /// # Errors
    /// An index out of range.
    pub fn partners(&self, partner: &Tensor) -> Result<Tensor> {
        Ok(self.partner_images.unwrap_or(self.images).f_index_select(0, partner)?)
    }

    /// `(N, C, H, W)` of the images.
    ///
    /// # Errors
    /// The images are not of rank 4.
    pub fn nchw(&self) -> Result<(i64, i64, i64, i64)> {
        self.images.size4().map_err(|_| Error::Shape {
            what: "the images of a mix".into(),
            got: self.images.size(),
            wanted: "[N, C, H, W]".into(),
        })
    }

    /// The features, or an error that names the mixer.
    ///
    /// # Errors
    /// None were given.
    pub fn features_for(&self, mixer: &str) -> Result<&Tensor> {
        self.features.ok_or_else(|| Error::MissingInput {
            plugin: mixer.into(),
            input: "features".into(),
            remedy: format!("pass `features: t.pass(net, x).features(\"{mixer}\")` to the mix"),
        })
    }
}

/// How the label is shared between the sources of a mixed image.
#[derive(Debug)]
pub enum Credit {
    /// Two sources: the own image with `lambda` (0-dim or `[N]`), its partner with the rest.
    Pair {
        /// `[N]` int64.
        partner: Tensor,
        /// The own share **as credited to the label**.
        lambda: Tensor,
    },
    /// Any number of sources.
    Shares {
        /// `[N, S]` int64.
        sources: Tensor,
        /// `[N, S]` float32; rows sum to 1.
        shares: Tensor,
    },
}

impl Credit {
    /// `sources [N, S]` int64 and `shares [N, S]` float32, rows of which sum to 1.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn shares(&self) -> Result<(Tensor, Tensor)> {
        match self {
            Credit::Shares { sources, shares } => Ok((sources.shallow_clone(), shares.shallow_clone())),
            Credit::Pair { partner, lambda } => {
                let n = partner.size1()?;
                let own = Tensor::f_arange(n, (Kind::Int64, partner.device()))?;
                let sources = Tensor::f_stack(&[own, partner.shallow_clone()], 1)?;
                let lambda = lambda.f_expand([n], false)?;
                let rest = lambda.f_neg()?.f_add_scalar(1.0)?;
                Ok((sources, Tensor::f_stack(&[lambda, rest], 1)?))
            }
        }
    }
}

/// A mixed batch.
#[derive(Debug)]
pub struct Mixed {
    /// `[N, C, H, W]`, same kind and device as the input.
    pub images: Tensor,
    /// The own image's mask, `[N, 1, H, W]` in [0, 1], if the policy has one: the mix is `mask * own + (1 - mask) *
    /// partner`, with the partner in place, or as the extra [`Mixed::PLACED`] shows it.
    pub mask: Option<Tensor>,
    /// Who gets which share of the label.
    pub credit: Credit,
    /// Anything else worth looking at, by name.
    pub extras: BTreeMap<String, Tensor>,
}

impl Mixed {
    /// The extra with the partners as they lie in the mix, `[N, C, H, W]`, of a policy that moves, turns or resizes
    /// them. Where the mask hides a partner, it holds any of the partner's own values.
    pub const PLACED: &'static str = "placed";

    /// A mix of pairs without a mask.
    pub fn pair(images: Tensor, partner: Tensor, lambda: Tensor) -> Self {
        Self { images, mask: None, credit: Credit::Pair { partner, lambda }, extras: BTreeMap::new() }
    }

    /// The same with the own image's mask `[N, 1, H, W]`.
    #[must_use]
    pub fn masked(mut self, mask: Tensor) -> Self {
        self.mask = Some(mask);
        self
    }

    /// The same with the partners as they lie in the mix: the extra [`Mixed::PLACED`].
    #[must_use]
    pub fn placed(self, partners: Tensor) -> Self {
        self.with(Self::PLACED, partners)
    }

    /// The same with one more named tensor.
    #[must_use]
    pub fn with(mut self, name: &str, value: Tensor) -> Self {
        self.extras.insert(name.to_string(), value);
        self
    }
}

/// A mixup policy.
///
/// `plan` runs on the host at every step and makes every scalar choice; `mix` does tensor work only and keeps no
/// host state, so that a captured step stays right and a test can hand in any plan.
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

/// What a trained mixer is built for.
#[derive(Debug, Clone)]
pub struct MixerContext {
    /// Channels of the feature map that it asked for.
    pub feature_channels: Option<i64>,
}

/// The settings of a mixer, from which the mixer is built.
pub trait MixerConfig: std::fmt::Debug {
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

    /// Builds the mixer; trained tensors are made under `path`.
    ///
    /// # Errors
    /// Invalid settings.
    fn build(&self, path: &Path, context: &MixerContext) -> Result<Box<dyn Mixer>>;

    /// The settings in full, defaults included.
    fn resolved(&self) -> serde_json::Value;
}
