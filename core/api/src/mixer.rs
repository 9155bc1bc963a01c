//! Mixers: how two (or more) images become one, and what share of the label each gets.

use std::collections::BTreeMap;

use admix_torch::{Kind, Tensor};

use crate::{Ask, Draws, Error, Path, Plan, Planned, Result, Settings};

/// What a mixer reads beside the images.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Needs {
    /// The feature map of this stage of a network (1-based, as in the paper: `l`).
    pub features: Option<usize>,
    /// A saliency map of the images, `[N, H, W]`.
    pub saliency: bool,
    /// Pseudo labels, `[N]` int64.
    pub pseudo: bool,
    /// The deepest stage at whose output a mix may happen, from 1; `None` where images alone are mixed.
    pub hidden: Option<usize>,
    /// Whether it takes images to show in place of those that it looks at ([`MixInput::shown`]), where some are given.
    pub shown: bool,
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

    /// What serves both, or `None` where they read maps of different stages: a mix is given one.
    pub fn and(self, other: &Self) -> Option<Self> {
        let Self { features, saliency, pseudo, hidden, shown, capturable, host_solver } = other;
        let features = match (self.features, *features) {
            (Some(one), Some(two)) if one != two => return None,
            (one, two) => one.or(two),
        };
        Some(Self {
            features,
            saliency: self.saliency || *saliency,
            pseudo: self.pseudo || *pseudo,
            capturable: self.capturable && *capturable,
            host_solver: self.host_solver || *host_solver,
            hidden: self.hidden.max(*hidden),
            shown: self.shown || *shown,
        })
    }

    /// The keys of a mix that must be given beside `as`, and those that may be.
    pub fn keys(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let reads = [
            ("images", true),
            ("features", self.features.is_some()),
            ("saliency", self.saliency),
            ("pseudo", self.pseudo),
        ];
        let must = reads.into_iter().filter_map(|(name, read)| read.then_some(name)).collect();
        let mut may = vec!["partner_images"];
        may.extend(self.features.map(|_| "partner_features"));
        if self.shown {
            may.extend(["shown", "partner_shown"]);
        }
        (must, may)
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
    /// The own images as the mix shows them, `[N, C, H, W]`, where they differ from those that it is made for: with noise
    /// on them that is to be learned from, but not to be looked at.
    pub shown: Option<&'a Tensor>,
    /// The images that partners are shown from, in the same way.
    pub partner_shown: Option<&'a Tensor>,
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
            shown: lookup("shown"),
            partner_shown: lookup("partner_shown"),
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
            shown: None,
            partner_shown: None,
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

    /// The own images and each sample's partner as the mix shows them, `[N, C, H, W]` both: the images that were given
    /// for it, else those that are mixed.
    ///
    /// # Errors
    /// Images of another shape, or an index out of range.
    pub fn shown(&self, partner: &Tensor) -> Result<(Tensor, Tensor)> {
        let wanted = self.images.size();
        if let Some(other) =
            [self.shown, self.partner_shown].into_iter().flatten().find(|t| t.size() != wanted)
        {
            let (what, got) = ("the images that a mix shows".into(), other.size());
            return Err(Error::Shape { what, got, wanted: format!("{wanted:?}, that of its images") });
        }
        let theirs = match self.partner_shown {
            Some(shown) => shown.f_index_select(0, partner)?,
            None => self.partners(partner)?,
        };
        Ok((self.shown.unwrap_or(self.images).shallow_clone(), theirs))
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

    /// The share of each sample's own image, `[N]` float32: 0 where it has none.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn own_share(&self) -> Result<Tensor> {
        let (sources, shares) = self.shares()?;
        let own = Tensor::f_arange(sources.size2()?.0, (Kind::Int64, sources.device()))?.f_unsqueeze(1)?;
        let is_own = sources.f_eq_tensor(&own)?.f_to_kind(shares.kind())?;
        Ok(shares.f_mul(&is_own)?.f_sum_dim_intlist([1i64].as_slice(), false, None)?)
    }

    /// The keys of the sources, `[N, S, D]` from keys `[N, D]` in the batch's order, and the shares `[N, S]`.
    ///
    /// # Errors
    /// Keys that are not `[N, D]`.
    pub fn contrast(&self, keys: &Tensor) -> Result<(Tensor, Tensor)> {
        let (_, depth) = keys.size2().map_err(|_| Error::Shape {
            what: "the keys of a contrast".into(),
            got: keys.size(),
            wanted: "[N, D]".into(),
        })?;
        let (sources, shares) = self.shares()?;
        let (n, each) = sources.size2()?;
        let chosen = keys.f_index_select(0, &sources.f_reshape([-1])?)?.f_reshape([n, each, depth])?;
        Ok((chosen, shares))
    }
}

/// A mix inside of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hidden {
    /// The stage whose output is mixed, from 1.
    pub stage: usize,
}

/// A mixed batch.
#[derive(Debug)]
pub struct Mixed {
    /// `[N, C, H, W]`, same kind and device as the input. Of a hidden mix: the own images as they were given.
    pub images: Tensor,
    /// The own image's mask, `[N, 1, H, W]` in [0, 1], if the policy has one: the mix is `mask * own + (1 - mask) *
    /// partner`, with the partner in place, or as the extra [`Mixed::PLACED`] shows it. A hidden mix has one, in a form
    /// that broadcasts: `[1 or N, 1, 1, 1]`, or `[1 or N, 1, H, W]` (see [`Mixed::blended`]).
    pub mask: Option<Tensor>,
    /// Where the mix happens inside of a network: images stay as they are, and a pass over the mix mixes the maps of
    /// this stage. `None` for mixed images.
    pub hidden: Option<Hidden>,
    /// Who gets which share of the label.
    pub credit: Credit,
    /// Anything else worth looking at, by name.
    pub extras: BTreeMap<String, Tensor>,
}

impl Mixed {
    /// The extra with the partners as they lie in the mix, `[N, C, H, W]`, of a policy that moves, turns or resizes
    /// them. Where the mask hides a partner, it holds any of the partner's own values.
    pub const PLACED: &'static str = "placed";

    /// The extra with the saliency, `[1 or N, H, W]`, of a policy that computes its own.
    pub const SALIENCY: &'static str = "saliency";

    /// A mix of pairs without a mask.
    pub fn pair(images: Tensor, partner: Tensor, lambda: Tensor) -> Self {
        let credit = Credit::Pair { partner, lambda };
        Self { images, mask: None, hidden: None, credit, extras: BTreeMap::new() }
    }

    /// A mix of any number of samples, without a mask: `sources` `[N, S]` int64, `shares` `[N, S]` float32 with rows that
    /// sum to 1.
    pub fn shared(images: Tensor, sources: Tensor, shares: Tensor) -> Self {
        let credit = Credit::Shares { sources, shares };
        Self { images, mask: None, hidden: None, credit, extras: BTreeMap::new() }
    }

    /// A mix of pairs at the output of a stage, from 1, of the network that the mix will pass through. `images` are
    /// the input's own; `mask` is the own share, `[1 or N, 1, 1, 1]` or `[1 or N, 1, H, W]`; `lambda` is the own share as
    /// credited to the label.
    pub fn hidden(stage: usize, images: &Tensor, mask: Tensor, partner: Tensor, lambda: Tensor) -> Self {
        let mixed = Self::pair(images.shallow_clone(), partner, lambda).masked(mask);
        Self { hidden: Some(Hidden { stage }), ..mixed }
    }

    /// Whether the parts of a hidden mix belong together, as far as that can be seen without reading the device: images of
    /// the given shape `[N, C, H, W]`, a stage from 1, a mask that broadcasts, the credit of a pair.
    ///
    /// # Errors
    /// They do not.
    pub fn check_hidden(&self, [n, _, height, width]: [i64; 4]) -> Result<()> {
        let shape = |what: &str, got: Vec<i64>, wanted: &str| Error::Shape {
            what: format!("the {what} of a hidden mix"),
            got,
            wanted: wanted.into(),
        };
        let Some(Hidden { stage }) = self.hidden else { return Ok(()) };
        if stage == 0 {
            return Err(Error::Range {
                what: "the stage of a hidden mix".into(),
                got: "0".into(),
                wanted: "1 or more (at stage 0 images are mixed)".into(),
            });
        }
        if !matches!(self.credit, Credit::Pair { .. }) {
            return Err(shape("credit", self.credit.shares()?.1.size(), "a pair: a partner and a lambda"));
        }
        let wanted = format!("[1 or {n}, 1, 1, 1] or [1 or {n}, 1, {height}, {width}]");
        let size = self.mask.as_ref().map(Tensor::size).unwrap_or_default();
        match size[..] {
            [count, 1, h, w] if (count == 1 || count == n) && [(1, 1), (height, width)].contains(&(h, w)) => {
                Ok(())
            }
            _ => Err(shape("mask", size, &wanted)),
        }
    }

    /// The mix of other tensors by the mask and the partners of this one, with gradient through both halves:
    /// `mask * own + (1 - mask) * theirs[partner]`. It is how the maps of a hidden mix are mixed, `own` and `theirs`
    /// `[N, D, h, w]`, the same tensor or those of another view.
    ///
    /// A mask of the images' size is brought to that of the maps by the mean over the area of each of their places
    /// (adaptive average pooling): where the sides divide, the mean of a mask stays what it was.
    ///
    /// # Errors
    /// No mask, a credit that is not a pair's, or shapes that do not fit.
    pub fn blended(&self, own: &Tensor, theirs: &Tensor) -> Result<Tensor> {
        let (Some(mask), Credit::Pair { partner, .. }) = (&self.mask, &self.credit) else {
            let (plugin, input) = ("a hidden mix".into(), "mask".into());
            return Err(Error::MissingInput {
                plugin,
                input,
                remedy: "give it one, and a pair's credit".into(),
            });
        };
        let (_, _, height, width) = own.size4()?;
        let (_, _, h, w) = mask.size4()?;
        let mask = match (h, w) {
            (1, 1) => mask.shallow_clone(),
            size if size == (height, width) => mask.shallow_clone(),
            _ => mask.f_adaptive_avg_pool2d([height, width])?,
        };
        Ok(theirs.f_index_select(0, partner)?.f_lerp_tensor(own, &mask.f_to_kind(own.kind())?)?)
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

#[cfg(test)]
mod tests {
    use admix_torch::Device;

    use super::*;
    use crate::contract::wild;

    fn hidden(mask: Tensor) -> Mixed {
        let images = wild(&[3, 2, 8, 6], 0.1, Kind::Float);
        Mixed::hidden(2, &images, mask, Tensor::from_slice(&[2i64, 0, 1]), Tensor::from(0.5f32))
    }

    #[test]
    fn maps_are_mixed_by_the_mean_of_the_mask_over_the_area_of_each_place() -> Result<()> {
        let maps = wild(&[3, 5, 4, 2], 0.2, Kind::Double);
        let mask = (wild(&[3, 1, 8, 6], 0.3, Kind::Float) + 1.0) / 2.0;
        // Two rows and three columns of the image for each place of the map.
        let small = mask.reshape([3, 1, 4, 2, 2, 3]).mean_dim([3i64, 5].as_slice(), false, None);
        let small = small.to_kind(Kind::Double);
        let theirs: Tensor = (1.0 - &small) * maps.index_select(0, &Tensor::from_slice(&[2i64, 0, 1]));
        let wanted: Tensor = &small * &maps + theirs;
        let found = hidden(mask).blended(&maps, &maps)?;
        assert!((found - wanted).abs().max().double_value(&[]) < 1e-7);
        // Sides that do not divide, and maps larger than images: still between own and partner.
        for size in [[3i64, 5, 3, 5], [3, 5, 16, 7]] {
            let ones = Tensor::ones(size, (Kind::Float, Device::Cpu));
            let mask = (wild(&[1, 1, 8, 6], 0.4, Kind::Float) + 1.0) / 2.0;
            let found = hidden(mask.shallow_clone()).blended(&ones, &ones.zeros_like())?;
            assert_eq!(found.size(), size);
            let range = |t: &Tensor| (t.min().double_value(&[]), t.max().double_value(&[]));
            let ((low, high), (least, most)) = (range(&found), range(&mask));
            assert!(least <= low && high <= most, "{low} {high} in {least} {most}");
        }
        Ok(())
    }

    #[test]
    fn a_share_of_one_gives_the_own_maps_back_bit_for_bit() -> Result<()> {
        let maps = wild(&[3, 5, 4, 2], 0.2, Kind::Float) * 1e3;
        for mask in [
            Tensor::ones([1, 1, 1, 1], (Kind::Float, Device::Cpu)),
            Tensor::ones([3, 1, 8, 6], (Kind::Float, Device::Cpu)),
        ] {
            assert!(hidden(mask).blended(&maps, &maps)?.equal(&maps));
        }
        Ok(())
    }

    #[test]
    fn parts_that_no_map_can_be_mixed_by_are_refused_in_words() {
        let shape = [3, 2, 8, 6];
        let of = |size: &[i64]| hidden(Tensor::zeros(size, (Kind::Float, Device::Cpu)));
        for size in [&[1i64, 1, 1, 1][..], &[3, 1, 1, 1], &[1, 1, 8, 6], &[3, 1, 8, 6]] {
            assert!(of(size).check_hidden(shape).is_ok(), "{size:?}");
        }
        for size in [&[2i64, 1, 1, 1][..], &[3, 2, 8, 6], &[3, 1, 4, 3], &[3], &[]] {
            let message = of(size).check_hidden(shape).expect_err("refused").to_string();
            assert!(
                message.contains("the mask of a hidden mix") && message.contains("[1 or 3, 1, 8, 6]"),
                "{message}"
            );
        }
        let at_images = Mixed { hidden: Some(Hidden { stage: 0 }), ..of(&[1, 1, 1, 1]) };
        assert!(at_images.check_hidden(shape).expect_err("refused").to_string().contains("1 or more"));
        let images = Mixed { hidden: None, mask: None, ..of(&[1, 1, 1, 1]) };
        assert!(images.check_hidden(shape).is_ok(), "mixed images have other rules");
        assert!(images.blended(&images.images, &images.images).is_err());
    }
}
