//! A mixed batch: images, or what a network mixes inside, and the credit of the label.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use admix_torch::Tensor;

use crate::{Credit, Error, Planned, Result};

/// A mix inside of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hidden {
    /// The stage whose output is mixed, from 1.
    pub stage: usize,
}

/// How a policy mixes the maps of a stage in a way of its own: from the own maps and those of the partners, `[N, D, h, w]` both
/// and in the order of the batch, to the mixed ones of the same shape and kind. Tensor work alone, with gradient. Class tokens
/// come as maps `[N, D, 1, 1]`.
#[derive(Clone)]
pub struct MapMix(Rc<MapFunction>);

type MapFunction = dyn Fn(&Tensor, &Tensor) -> Result<Tensor>;

impl MapMix {
    /// Mixes by this function.
    pub fn new(mix: impl Fn(&Tensor, &Tensor) -> Result<Tensor> + 'static) -> Self {
        Self(Rc::new(mix))
    }

    /// The mix of the own maps and those of the partners.
    ///
    /// # Errors
    /// Those of the policy, and a result of another shape or kind.
    pub fn mix(&self, own: &Tensor, partners: &Tensor) -> Result<Tensor> {
        let mixed = (self.0)(own, partners)?;
        if mixed.size() != own.size() || mixed.kind() != own.kind() {
            let wanted = format!("{:?} of {:?}, as the maps it was given", own.size(), own.kind());
            return Err(Error::shape(format!("a mixed map of {:?}", mixed.kind()), mixed.size(), wanted));
        }
        Ok(mixed)
    }
}

impl fmt::Debug for MapMix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MapMix")
    }
}

/// Parameters that take no part in graphs until it is dropped.
struct Still(Vec<Tensor>);

impl Still {
    fn new(parameters: &[Tensor]) -> Result<Self> {
        let learning = parameters.iter().filter(|parameter| parameter.requires_grad());
        let still: Vec<Tensor> = learning.map(Tensor::shallow_clone).collect();
        for parameter in &still {
            let _ = parameter.f_set_requires_grad(false)?;
        }
        Ok(Self(still))
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        for parameter in &self.0 {
            // A leaf of floats, as before: libtorch refuses neither.
            let _ = parameter.f_set_requires_grad(true);
        }
    }
}

/// A mixed batch.
#[derive(Debug)]
pub struct Mixed {
    /// `[N, C, H, W]`, same kind and device as the input. Of a hidden mix: the own images as they were given.
    pub images: Tensor,
    /// The own image's mask, `[N, 1, H, W]` in [0, 1], if the policy has one: the mix is `mask * own + (1 - mask) *
    /// partner`, with the partner in place, or as the extra [`Mixed::PLACED`] shows it. A hidden mix has one, in a form
    /// that broadcasts: `[1 or N, 1 or D, 1, 1]`, or `[1 or N, 1, H, W]` (see [`Mixed::blended`]), or mixes by `map`.
    pub mask: Option<Tensor>,
    /// Of a hidden mix: how maps are mixed, if not by the mask.
    pub map: Option<MapMix>,
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
        Self { images, mask: None, map: None, hidden: None, credit, extras: BTreeMap::new() }
    }

    /// A mix of any number of samples, without a mask: `sources` `[N, S]` int64, `shares` `[N, S]` float32 with rows that
    /// sum to 1.
    pub fn shared(images: Tensor, sources: Tensor, shares: Tensor) -> Self {
        let credit = Credit::Shares { sources, shares };
        Self { images, mask: None, map: None, hidden: None, credit, extras: BTreeMap::new() }
    }

    /// The same with weights of the sources, `[N, S]` float32 from 0, which need not sum to 1.
    pub fn weighted(images: Tensor, sources: Tensor, weights: Tensor) -> Self {
        let credit = Credit::Weights { sources, weights };
        Self { images, mask: None, map: None, hidden: None, credit, extras: BTreeMap::new() }
    }

    /// A batch that is not mixed, `[N, C, H, W]`: each image by itself, with a mask of ones. The plan gives each image as its own
    /// partner, and lambda 1.
    ///
    /// # Errors
    /// Images of another rank, or a plan without partners or lambda.
    pub fn rested(images: &Tensor, plan: &Planned) -> Result<Self> {
        let (n, _, height, width) = images.size4()?;
        let mask = Tensor::f_ones([n, 1, height, width], (images.kind(), images.device()))?;
        Ok(Self::pair(images.shallow_clone(), plan.partner()?, plan.lambda()?).masked(mask))
    }

    /// lambda as it was planned, 0-dim or `[N]`; of a mix whose plan has none, the own image's share, `[N]`.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn lambda(&self, plan: &Planned) -> Result<Tensor> {
        plan.lambda().or_else(|_| self.credit.own_share())
    }

    /// A mix of pairs at the output of a stage, from 1, of the network that the mix will pass through. `images` are
    /// the input's own; `mask` is the own share, `[1 or N, 1 or D, 1, 1]` or `[1 or N, 1, H, W]`; `lambda` is the own share
    /// as credited to the label.
    pub fn hidden(stage: usize, images: &Tensor, mask: Tensor, partner: Tensor, lambda: Tensor) -> Self {
        let mixed = Self::pair(images.shallow_clone(), partner, lambda).masked(mask);
        Self { hidden: Some(Hidden { stage }), ..mixed }
    }

    /// A mix of pairs at the output of a stage, in a way of its own: `map` makes one map of the own one and the partners'.
    pub fn hidden_map(stage: usize, images: &Tensor, map: MapMix, partner: Tensor, lambda: Tensor) -> Self {
        let mixed = Self::pair(images.shallow_clone(), partner, lambda);
        Self { hidden: Some(Hidden { stage }), map: Some(map), ..mixed }
    }

    /// Whether the parts of a hidden mix belong together, as far as that can be seen without reading the device: images of
    /// the given shape `[N, C, H, W]`, a stage from 1, a mask that broadcasts or a mix of maps, the credit of a pair.
    ///
    /// # Errors
    /// They do not.
    pub fn check_hidden(&self, [n, _, height, width]: [i64; 4]) -> Result<()> {
        let shape = |what: &str, got: Vec<i64>, wanted: &str| {
            Error::shape(format!("the {what} of a hidden mix"), got, wanted)
        };
        let Some(Hidden { stage }) = self.hidden else { return Ok(()) };
        if stage == 0 {
            return Err(Error::range(
                "the stage of a hidden mix",
                "0",
                "1 or more (at stage 0 images are mixed)",
            ));
        }
        if !matches!(self.credit, Credit::Pair { .. }) {
            return Err(shape("credit", self.credit.shares()?.1.size(), "a pair: a partner and a lambda"));
        }
        if self.map.is_some() && self.mask.is_none() {
            return Ok(());
        }
        let wanted = format!("[1 or {n}, 1 or D, 1, 1] or [1 or {n}, 1, {height}, {width}]");
        let size = self.mask.as_ref().map(Tensor::size).unwrap_or_default();
        match size[..] {
            [count, 1, h, w] if (count == 1 || count == n) && (h, w) == (height, width) => Ok(()),
            [count, _, 1, 1] if count == 1 || count == n => Ok(()),
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
    /// Where the mix has a [`MapMix`], that makes it of `own` and `theirs[partner]`.
    ///
    /// # Errors
    /// No mask, a credit that is not a pair's, or shapes that do not fit.
    pub fn blended(&self, own: &Tensor, theirs: &Tensor) -> Result<Tensor> {
        if let (Some(map), Credit::Pair { partner, .. }) = (&self.map, &self.credit) {
            return map.mix(own, &theirs.f_index_select(0, partner)?);
        }
        let (Some(mask), Credit::Pair { partner, .. }) = (&self.mask, &self.credit) else {
            return Err(Error::missing("a hidden mix", "mask", "give it one, and a pair's credit"));
        };
        let (_, channels, height, width) = own.size4()?;
        let (_, depth, h, w) = mask.size4()?;
        if depth != 1 && depth != channels {
            let wanted = format!("[1 or N, 1 or {channels}, 1, 1] for maps of {channels} channels");
            return Err(Error::shape("the mask of a hidden mix", mask.size(), wanted));
        }
        let mask = match (h, w) {
            (1, 1) => mask.shallow_clone(),
            size if size == (height, width) => mask.shallow_clone(),
            _ => mask.f_adaptive_avg_pool2d([height, width])?,
        };
        Ok(theirs.f_index_select(0, partner)?.f_lerp_tensor(own, &mask.f_to_kind(own.kind())?)?)
    }

    /// The same as a quiet mix of a mixer with these parameters: what it makes of maps later teaches them nothing. They are asked
    /// for only where maps are mixed.
    #[must_use]
    pub fn quietened(mut self, parameters: impl FnOnce() -> Vec<Tensor>) -> Self {
        if let Some(map) = self.map.take() {
            let parameters = parameters();
            self.map = Some(MapMix::new(move |own, partners| {
                let _still = Still::new(&parameters)?;
                map.mix(own, partners)
            }));
        }
        self
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

#[cfg(test)]
mod tests {
    use admix_torch::{Device, Kind};

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
    fn each_channel_may_have_a_share_of_its_own() -> Result<()> {
        let maps = wild(&[3, 2, 4, 2], 0.2, Kind::Float);
        let mask = Tensor::from_slice(&[1f32, 0.0]).reshape([1, 2, 1, 1]);
        let found = hidden(mask).blended(&maps, &maps)?;
        let partners = maps.index_select(0, &Tensor::from_slice(&[2i64, 0, 1]));
        assert!(found.select(1, 0).equal(&maps.select(1, 0)));
        assert!(found.select(1, 1).equal(&partners.select(1, 1)));
        let wrong = hidden(Tensor::ones([1, 3, 1, 1], (Kind::Float, Device::Cpu))).blended(&maps, &maps);
        assert!(wrong.expect_err("3 shares for 2 channels").to_string().contains("maps of 2 channels"));
        Ok(())
    }

    #[test]
    fn a_policy_may_mix_maps_in_its_own_way_but_keeps_their_shape() -> Result<()> {
        let maps = wild(&[3, 2, 4, 2], 0.2, Kind::Float);
        let partner = Tensor::from_slice(&[2i64, 0, 1]);
        let of =
            |map: MapMix| Mixed::hidden_map(1, &maps, map, partner.shallow_clone(), Tensor::from(0.5f32));
        let larger = of(MapMix::new(|own, theirs| Ok(own.f_maximum(theirs)?)));
        assert!(larger.check_hidden([3, 2, 8, 6]).is_ok());
        assert!(larger.blended(&maps, &maps)?.equal(&maps.maximum(&maps.index_select(0, &partner))));
        let flat = of(MapMix::new(|own, _| Ok(own.f_flatten(2, 3)?)));
        assert!(
            flat.blended(&maps, &maps).expect_err("flat").to_string().contains("as the maps it was given")
        );
        Ok(())
    }

    #[test]
    fn parts_that_no_map_can_be_mixed_by_are_refused_in_words() {
        let shape = [3, 2, 8, 6];
        let of = |size: &[i64]| hidden(Tensor::zeros(size, (Kind::Float, Device::Cpu)));
        for size in
            [&[1i64, 1, 1, 1][..], &[3, 1, 1, 1], &[1, 1, 8, 6], &[3, 1, 8, 6], &[1, 5, 1, 1], &[3, 5, 1, 1]]
        {
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
