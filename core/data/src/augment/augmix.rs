//! AugMix: chains of simple operations on an image, mixed with one another and with the image.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use admix_api::Draws;
use admix_api::ranges::expect;
use admix_torch::{Device, Kind, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::kind::{Augmentation, AugmentationConfig, Crop, Cropped, Cutter, Setup};
use super::operations::{self, KINDS, NUMBERS, Operation};
use super::resample::Interpolation;
use super::resized_crop::ResizedCrop;
use super::shift::Shift;
use super::views::Views;
use crate::{Error, Result};

/// What an image goes through before its chains.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub enum FirstCrop {
    /// Crop after a reflected border and flip.
    #[default]
    Shift,
    /// Crop of random area and shape, resized, and flip.
    ResizedCrop(ResizedCrop),
}

admix_api::settings! {
    /// AugMix. Of the operations it has those that its authors use: none of them makes an image of the corrupted test sets. For the
    /// consistency loss use the method `augmix`, with `views: [(count: 1, augment: Shift), (count: 2, augment: AugMix())]`. There
    /// each view has a crop and a flip of its own; in the authors' code the three views of an image share them.
    pub struct AugMix {
        /// How many chains are mixed, 1 to 8.
        pub width: i64 = 3,
        /// Operations of a chain, 1 to 8; `None`: 1 to 3, drawn for each chain.
        pub depth: Option<i64> = None,
        /// Each operation draws its strength evenly from 0.1 to this, at most 10.
        pub severity: f64 = 3.0,
        /// Chains are weighed by Dirichlet(alpha, .., alpha), their mix against the image by Beta(alpha, alpha); above 0 to 100.
        pub alpha: f64 = 1.0,
        /// What an image goes through before: `Shift`, as `data.crop` and `data.flip` say, or `ResizedCrop()`, with its settings, for
        /// photographs, for which the authors take `severity: 1.0`.
        pub crop: FirstCrop = FirstCrop::Shift,
    }
}

crate::augmentation! {
    AugMix, "aug_mix", "AugMix: chains of simple operations, mixed with the image",
    source: "Hendrycks et al., ICLR 2020, arXiv:1912.02781, with the values of its public code"
}

impl AugmentationConfig for AugMix {
    fn validate(&self) -> admix_api::Result<()> {
        expect("width", self.width, (1..=8).contains(&self.width), "a number of chains from 1 to 8")?;
        if let Some(depth) = self.depth {
            expect("depth", depth, (1..=8).contains(&depth), "a number of operations from 1 to 8, or None")?;
        }
        expect(
            "severity",
            self.severity,
            (0.1..=10.0).contains(&self.severity),
            "a strength from 0.1 to 10",
        )?;
        expect(
            "alpha",
            self.alpha,
            self.alpha > 0.0 && self.alpha <= 100.0,
            "a number above 0, at most 100",
        )?;
        match &self.crop {
            FirstCrop::ResizedCrop(crop) => crop.validate().map_err(|error| match error {
                admix_api::Error::Range { what, got, wanted } => {
                    admix_api::Error::Range { what: format!("crop.{what}"), got, wanted }
                }
                other => other,
            }),
            FirstCrop::Shift => Ok(()),
        }
    }

    fn size(&self) -> Option<i64> {
        match &self.crop {
            FirstCrop::ResizedCrop(crop) => crop.size,
            FirstCrop::Shift => None,
        }
    }

    fn takes_any_size(&self) -> bool {
        self.crop != FirstCrop::Shift
    }

    fn heeds(&self) -> &'static [&'static str] {
        if self.crop != FirstCrop::Shift { &[] } else { &["flip", "crop"] }
    }

    fn build(&self, setup: &Setup<'_>) -> Result<Box<dyn Augmentation>> {
        let first: Rc<dyn Augmentation> = Rc::from(match &self.crop {
            FirstCrop::ResizedCrop(crop) => crop.build(setup)?,
            FirstCrop::Shift => Shift {}.build(setup)?,
        });
        let (law, device) = (self.clone(), setup.device);
        let cut =
            |cropped: &dyn Cropped| Cut { law: law.clone(), first: cropped.cutter(), size: first.size() };
        let threads = first.cropped().map(|cropped| Threads {
            cut: Arc::new(cut(cropped)),
            first: first.clone(),
            device,
        });
        Ok(Box::new(Built { law, first, threads, device }))
    }

    fn resolved(&self) -> Json {
        json!(self)
    }
}

/// What was drawn for one image.
#[derive(Debug, Clone)]
struct Mix {
    /// What all images go through before; the same for all of a batch.
    first: Views,
    /// Share of the mix of all chains; the rest is the image's.
    share: f64,
    /// Of each chain its share of the mix and its operations.
    chains: Vec<(f64, Vec<Operation>)>,
}

const DRAWN: &str = "mixes of chains";

impl AugMix {
    /// Mixes of images of this size, which have gone through `first`.
    fn draw(&self, first: &Views, size: (i64, i64), draws: &mut Draws) -> Views {
        let mixes = (0..first.len()).map(|_| {
            // Checked: alpha is positive.
            let shares = draws.dirichlet(self.alpha, self.width as usize).unwrap_or_default();
            let share = draws.beta(self.alpha, self.alpha).unwrap_or_default();
            let chains = shares.into_iter().map(|share| {
                let depth = self.depth.unwrap_or_else(|| 1 + draws.below(3) as i64);
                (share, (0..depth).map(|_| self.operation(size, draws)).collect())
            });
            Mix { first: first.clone(), share, chains: chains.collect() }
        });
        mixes.collect::<Vec<Mix>>().into()
    }

    /// One operation on an image of this size: which one, how strong, which way.
    fn operation(&self, (height, width): (i64, i64), draws: &mut Draws) -> Operation {
        let strength =
            |most: f64, draws: &mut Draws| (0.1 + (self.severity - 0.1) * draws.uniform()) * most / 10.0;
        let either = |value: f64, draws: &mut Draws| if draws.coin(0.5) { -value } else { value };
        let kind = draws.below(9);
        match kind {
            0 => Operation::AutoContrast,
            1 => Operation::Equalize,
            2 => Operation::Posterize(4 + strength(4.0, draws) as i64),
            3 => {
                let degrees = strength(30.0, draws).trunc();
                Operation::rotate(either(degrees, draws) as i64, (height, width))
            }
            4 => Operation::Solarize(256 - strength(256.0, draws) as i64),
            5 | 6 => {
                let level = strength(0.3, draws);
                let by = either(level, draws);
                let (x, y) = if kind == 5 { (by, 0.0) } else { (0.0, by) };
                Operation::Affine([1.0, x, 0.0, y, 1.0, 0.0])
            }
            _ => {
                let side = if kind == 7 { width } else { height };
                let level = strength(side as f64 / 3.0, draws).trunc();
                let by = either(level, draws);
                let (x, y) = if kind == 7 { (by, 0.0) } else { (0.0, by) };
                Operation::Affine([1.0, 0.0, x, 0.0, 1.0, y])
            }
        }
    }
}

/// The views of the augmentation that comes first.
fn all_first(views: &[Views]) -> Result<Vec<Views>> {
    let first = |view: &Views| -> Result<Views> {
        Ok(view.of::<Mix>(DRAWN)?.first().map_or_else(|| Vec::<()>::new().into(), |mix| mix.first.clone()))
    };
    views.iter().map(first).collect()
}

/// The settings with what they need on the device.
#[derive(Debug)]
struct Built {
    law: AugMix,
    first: Rc<dyn Augmentation>,
    /// Where what comes first is a crop that threads make.
    threads: Option<Threads>,
    device: Device,
}

impl Augmentation for Built {
    fn size(&self) -> (i64, i64) {
        self.first.size()
    }

    fn draw(&self, sizes: &[(i64, i64)], draws: &mut Draws) -> Views {
        self.law.draw(&self.first.draw(sizes, draws), self.first.size(), draws)
    }

    fn apply(&self, images: &Tensor, index: &Tensor, views: &[Views]) -> Result<Vec<Tensor>> {
        mixed(&self.first.apply(images, index, &all_first(views)?)?, views, self.device)
    }

    fn whole(&self) -> bool {
        false
    }

    fn cropped(&self) -> Option<&dyn Cropped> {
        self.threads.as_ref().map(|threads| threads as &dyn Cropped)
    }
}

/// What threads and the device do to crops.
#[derive(Debug)]
struct Threads {
    cut: Arc<Cut>,
    first: Rc<dyn Augmentation>,
    device: Device,
}

impl Cropped for Threads {
    fn cutter(&self) -> Arc<dyn Cutter> {
        self.cut.clone()
    }

    fn finish(&self, crops: &Tensor, views: &[Views]) -> Result<Vec<Tensor>> {
        let first = all_first(views)?;
        let Some(cropped) = self.first.cropped() else { return Ok(Vec::new()) };
        mixed(&cropped.finish(crops, &first)?, views, self.device)
    }
}

/// What the threads know.
struct Cut {
    law: AugMix,
    first: Arc<dyn Cutter>,
    size: (i64, i64),
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cut").field("law", &self.law).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Cutter for Cut {
    fn draw(&self, sizes: &[(i64, i64)], draws: &mut Draws) -> Views {
        self.law.draw(&self.first.draw(sizes, draws), self.size, draws)
    }

    fn crop(&self, views: &Views, at: usize) -> Result<Crop> {
        let mix = views.of::<Mix>(DRAWN)?.get(at);
        let mix = mix.ok_or_else(|| Error::Shape {
            what: "a crop",
            got: format!("image {at} of a view of {}", views.len()),
            wanted: "an image of the view".into(),
        })?;
        self.first.crop(&mix.first, at)
    }

    fn filter(&self) -> Interpolation {
        self.first.filter()
    }
}

/// So many images go through an operation at once: on a CPU as many as its caches hold, on a GPU few enough for its memory.
const CPU_CHUNK: usize = 16;
const CHUNK: usize = 128;

/// A stretch of the list of chains that have an operation of this kind.
struct Deed {
    kind: usize,
    start: i64,
    len: i64,
}

/// Views `[N, C, h, w]`, mixed as drawn: the same shapes in f32.
fn mixed(shown: &[Tensor], views: &[Views], device: Device) -> Result<Vec<Tensor>> {
    let upload = |values: &Tensor| -> Result<Tensor> { Ok(admix_torch::upload(values, device)?) };
    let mut mixes: Vec<&Mix> = Vec::new();
    for view in views {
        mixes.extend(view.of::<Mix>(DRAWN)?);
    }
    // All views go through together, and all chains of all images: row `chain * M + image`.
    let images = Tensor::f_cat(shown, 0)?.f_to_kind(Kind::Float)?;
    let m = mixes.len() as i64;
    let width = mixes.first().map_or(0, |mix| mix.chains.len()) as i64;
    let mut chains = images.f_repeat([width, 1, 1, 1])?;
    let (positions, numbers, deeds) = deeds(&mixes, width as usize);
    let positions = upload(&Tensor::f_from_slice(&positions)?)?;
    let numbers = upload(&Tensor::f_from_slice(&numbers)?.f_view([-1, NUMBERS as i64])?)?;
    let most = if device == Device::Cpu { CPU_CHUNK } else { CHUNK };
    for Deed { kind, start, len } in deeds {
        for first in (start..start + len).step_by(most) {
            let some = (most as i64).min(start + len - first);
            let at = positions.f_narrow(0, first, some)?;
            let images = chains.f_index_select(0, &at)?;
            let done = operations::apply(kind, &images, &numbers.f_narrow(0, first, some)?)?;
            let _ = chains.f_index_copy_(0, &at, &done)?;
        }
    }
    let of_chain = |chain: usize| mixes.iter().map(move |mix| (mix.share * mix.chains[chain].0) as f32);
    let shares: Vec<f32> = (0..width as usize)
        .flat_map(of_chain)
        .chain(mixes.iter().map(|mix| (1.0 - mix.share) as f32))
        .collect();
    let shares = upload(&Tensor::f_from_slice(&shares)?.f_view([width + 1, m, 1, 1, 1])?)?;
    let mut mixed = images.f_mul(&shares.f_select(0, width)?)?;
    for chain in 0..width {
        let _ = mixed.f_add_(&chains.f_narrow(0, chain * m, m)?.f_mul(&shares.f_select(0, chain)?)?)?;
    }
    // The shares sum to 1 but for rounding.
    let mixed = mixed.f_clamp_(0.0, 255.0)?;
    let lengths: Vec<i64> = shown.iter().map(|view| view.size()[0]).collect();
    Ok(mixed.f_split_with_sizes(lengths, 0)?)
}

/// Which chains each kind of operation is for, place by place, with their numbers.
fn deeds(mixes: &[&Mix], width: usize) -> (Vec<i64>, Vec<f64>, Vec<Deed>) {
    let (mut positions, mut numbers, mut deeds) = (Vec::new(), Vec::new(), Vec::new());
    let longest = mixes.iter().flat_map(|mix| mix.chains.iter().map(|(_, list)| list.len())).max();
    for place in 0..longest.unwrap_or(0) {
        for kind in 0..KINDS {
            let start = positions.len() as i64;
            for chain in 0..width {
                for (image, mix) in mixes.iter().enumerate() {
                    let operation = mix.chains[chain].1.get(place);
                    if let Some(operation) = operation.filter(|operation| operation.kind() == kind) {
                        positions.push((chain * mixes.len() + image) as i64);
                        numbers.extend(operation.numbers());
                    }
                }
            }
            let len = positions.len() as i64 - start;
            if len > 0 {
                deeds.push(Deed { kind, start, len });
            }
        }
    }
    (positions, numbers, deeds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_run_in_order_and_are_weighed_by_their_shares() -> Result<()> {
        // One image of one row; a chain that inverts, then drops 4 bits, one that only inverts, and one of nothing.
        let image = Tensor::from_slice(&[10f32, 200.0]).reshape([1, 1, 1, 2]);
        let chains = vec![
            (0.5, vec![Operation::Solarize(0), Operation::Posterize(4)]),
            (0.3, vec![Operation::Solarize(100)]),
            (0.2, Vec::new()),
        ];
        let views: Views = vec![Mix { first: Vec::<()>::new().into(), share: 0.25, chains }].into();
        let found = mixed(&[image.shallow_clone()], &[views], Device::Cpu)?;
        // 255 - 10 = 245, of 16s 240; 255 - 200 = 55, of 16s 48.
        let wanted = [(10.0, 240.0, 10.0), (200.0, 48.0, 55.0)].map(|(own, both, one): (f64, f64, f64)| {
            0.75 * own + 0.25 * (0.5 * both + 0.3 * one + 0.2 * own)
        });
        for (place, wanted) in wanted.into_iter().enumerate() {
            let found = found[0].f_double_value(&[0, 0, 0, place as i64])?;
            assert!((found - wanted).abs() < 1e-4, "{found}, {wanted}");
        }
        Ok(())
    }

    #[test]
    fn operations_are_those_of_the_authors_in_their_ranges() {
        let law = AugMix { severity: 10.0, ..AugMix::default() };
        let mut draws = admix_api::Streams::new(3).draws("augment", "", 0, 0);
        let mut seen = [0; KINDS];
        for _ in 0..4000 {
            let operation = law.operation((20, 40), &mut draws);
            seen[operation.kind()] += 1;
            match operation {
                Operation::AutoContrast | Operation::Equalize => {}
                Operation::Posterize(bits) => assert!((4..8).contains(&bits), "{bits}"),
                Operation::Solarize(from) => assert!((1..=254).contains(&from), "{from}"),
                Operation::Affine([a, b, c, d, e, f]) => {
                    // A turn of less than 30 degrees, a shear of less than 0.3, a shift by whole pixels of less than a third.
                    let shift = (c.abs() < 40.0 / 3.0 && f.abs() < 20.0 / 3.0)
                        && c.fract() == 0.0
                        && f.fract() == 0.0;
                    let turned = a == e && b == -d && a > 0.866;
                    assert!(turned || (b.abs() < 0.3 && d.abs() < 0.3 && shift), "{operation:?}");
                }
            }
        }
        // Five of the nine move pixels.
        let wanted = [1, 1, 1, 1, 5].map(|ways| 4000 * ways / 9);
        assert!(
            seen.iter().zip(wanted).all(|(seen, wanted): (&i32, i32)| (seen - wanted).abs() < 130),
            "{seen:?}"
        );
    }
}
