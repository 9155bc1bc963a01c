//! The augmentation of MoCo v2: resized crop, flip, colour jitter, grey, blur.

use std::sync::Arc;

use admix_api::Draws;
use admix_torch::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::kind::{Augmentation, AugmentationConfig, Crop, Cropped, Cutter, Setup};
use super::pipeline::Pipeline;
use super::resample::Interpolation;
use super::view::{CHANGES, Jitter, View};
use super::views::Views;
use crate::Result;

/// The augmentation of MoCo v2 (Chen et al. 2020, with the values of its public code).
///
/// Every image of every view draws for itself. What the operations do to pixels is what torchvision does with Pillow
/// images, rounding to 8 bits included: colours alike, crop and blur to one grey level, except blurs whose
/// weights are round fractions (a deviation of exactly 1 or 2: up to three).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Moco {
    /// Height and width of a view in pixels; those of the dataset by default.
    pub size: Option<i64>,
    /// Least and greatest area of the crop, as a share of the image's.
    pub scale: (f64, f64),
    /// Least and greatest width / height of the crop, drawn evenly on a logarithmic scale.
    pub ratio: (f64, f64),
    /// The filter that brings the crop to its size; it widens where the crop is larger than the view (antialias).
    pub interpolation: Interpolation,
    /// Probability of flipping left to right.
    pub flip: f64,
    /// Probability of the colour jitter: its four operations in random order.
    pub jitter: f64,
    /// Brightness is multiplied by a factor within 1 - b and 1 + b, not below 0.
    pub brightness: f64,
    /// The same for contrast, about the mean of the grey image.
    pub contrast: f64,
    /// The same for saturation, about the grey image.
    pub saturation: f64,
    /// Hue is turned by up to this share of the circle either way, 0 to 0.5.
    pub hue: f64,
    /// Probability of turning grey.
    pub grey: f64,
    /// Probability of the blur.
    pub blur: f64,
    /// Least and greatest standard deviation of the blur in pixels.
    pub sigma: (f64, f64),
}

impl Default for Moco {
    /// MoCo v2 on ImageNet, used by the AMix paper for every dataset.
    fn default() -> Self {
        Self {
            size: None,
            scale: (0.2, 1.0),
            ratio: (3.0 / 4.0, 4.0 / 3.0),
            interpolation: Interpolation::Bilinear,
            flip: 0.5,
            jitter: 0.8,
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.4,
            hue: 0.1,
            grey: 0.2,
            blur: 0.5,
            sigma: (0.1, 2.0),
        }
    }
}

crate::augmentation! {
    Moco, "moco", "that of MoCo v2: resized crop, flip, colour jitter, grey, blur",
    source: "Chen et al., arXiv:2003.04297, with the values of its public code"
}

/// The widest blur: its boxes then reach over 33 pixels.
const MOST_SIGMA: f64 = 16.0;

impl AugmentationConfig for Moco {
    fn validate(&self) -> admix_api::Result<()> {
        let refuse = |what: &str, got: String, wanted: &str| {
            Err(admix_api::Error::Range { what: what.into(), got, wanted: wanted.into() })
        };
        if let Some(size) = self.size.filter(|size| !(4..=1024).contains(size)) {
            return refuse("size", size.to_string(), "4 to 1024 pixels, or None for the dataset's size");
        }
        let range = |field, (low, high): (f64, f64), most: f64, wanted| {
            let good = low > 0.0 && low <= high && high <= most;
            if good { Ok(()) } else { refuse(field, format!("({low}, {high})"), wanted) }
        };
        range("scale", self.scale, 1.0, "(least, greatest) share of the area, above 0 to 1")?;
        range("ratio", self.ratio, 100.0, "(least, greatest) width / height, above 0 to 100")?;
        let wanted = "(least, greatest) pixels, above 0 to 16";
        range("sigma", self.sigma, MOST_SIGMA, wanted)?;
        let within = |field, value: f64, most: f64, wanted| {
            if (0.0..=most).contains(&value) { Ok(()) } else { refuse(field, value.to_string(), wanted) }
        };
        let probability = "a probability, 0 to 1";
        within("flip", self.flip, 1.0, probability)?;
        within("jitter", self.jitter, 1.0, probability)?;
        within("grey", self.grey, 1.0, probability)?;
        within("blur", self.blur, 1.0, probability)?;
        let strength = "a strength from 0 to 10, such as 0.4 for factors of 0.6 to 1.4";
        within("brightness", self.brightness, 10.0, strength)?;
        within("contrast", self.contrast, 10.0, strength)?;
        within("saturation", self.saturation, 10.0, strength)?;
        within("hue", self.hue, 0.5, "0 to 0.5 of the colour circle")
    }
    fn size(&self) -> Option<i64> {
        self.size
    }

    fn takes_any_size(&self) -> bool {
        true
    }

    fn build(&self, setup: &Setup<'_>) -> Result<Box<dyn Augmentation>> {
        let pipeline = Pipeline::new(self.interpolation, self.size, setup.info, setup.device)?;
        Ok(Box::new(Built { law: self.clone(), pipeline }))
    }

    fn resolved(&self) -> Json {
        json!(self)
    }
}

/// The settings with what they need on the device.
#[derive(Debug)]
struct Built {
    law: Moco,
    pipeline: Pipeline,
}

impl Augmentation for Built {
    fn size(&self) -> (i64, i64) {
        self.pipeline.to()
    }

    fn draw(&self, sizes: &[(i64, i64)], draws: &mut Draws) -> Views {
        self.law.draw(sizes, draws)
    }

    fn apply(&self, images: &Tensor, index: &Tensor, views: &[Views]) -> Result<Vec<Tensor>> {
        // All views go through together: half the operations, each on twice the images.
        let index = index.f_repeat([views.len() as i64])?;
        parts(&self.pipeline.views(images, &index, &all(views)?)?, views)
    }

    fn cropped(&self) -> Option<&dyn Cropped> {
        Some(self)
    }
}

impl Cropped for Built {
    fn cutter(&self) -> Arc<dyn Cutter> {
        Arc::new(self.law.clone())
    }

    fn finish(&self, crops: &Tensor, views: &[Views]) -> Result<Vec<Tensor>> {
        parts(&self.pipeline.finish(crops, &all(views)?)?, views)
    }
}

const DRAWN: &str = "views";

/// The views of all images, one behind the other.
fn all(views: &[Views]) -> Result<Vec<View>> {
    let mut all = Vec::with_capacity(views.iter().map(Views::len).sum());
    for view in views {
        all.extend_from_slice(view.of::<View>(DRAWN)?);
    }
    Ok(all)
}

/// The images of each view.
fn parts(images: &Tensor, views: &[Views]) -> Result<Vec<Tensor>> {
    let mut start = 0;
    let mut part = |view: &Views| {
        let (from, len) = (start, view.len() as i64);
        start += len;
        Ok(images.f_narrow(0, from, len)?)
    };
    views.iter().map(&mut part).collect()
}

impl Cutter for Moco {
    fn draw(&self, sizes: &[(i64, i64)], draws: &mut Draws) -> Views {
        sizes.iter().map(|&size| self.view(size, draws)).collect::<Vec<View>>().into()
    }

    fn crop(&self, views: &Views, at: usize) -> Result<Crop> {
        let View { top, left, height, width, .. } = views.of::<View>(DRAWN)?[at];
        Ok(Crop { top, left, height, width })
    }

    fn filter(&self) -> Interpolation {
        self.interpolation
    }
}

impl Moco {
    /// Draws a view of one image: crop, flip, jitter, grey, blur, in this order.
    fn view(&self, (height, width): (i64, i64), draws: &mut Draws) -> View {
        let Crop { top, left, height, width } = crop(self, height, width, draws);
        View {
            top,
            left,
            height,
            width,
            flip: draws.coin(self.flip),
            jitter: draws.coin(self.jitter).then(|| jitter(self, draws)),
            grey: draws.coin(self.grey),
            blur: draws.coin(self.blur).then(|| between(self.sigma, draws)),
        }
    }
}

fn between((low, high): (f64, f64), draws: &mut Draws) -> f64 {
    low + (high - low) * draws.uniform()
}

/// Tries before the crop falls back to the centre, as torchvision.
const TRIES: usize = 10;

/// A crop of random area, shape and place.
fn crop(law: &Moco, height: i64, width: i64, draws: &mut Draws) -> Crop {
    let area = (height * width) as f64;
    let logarithms = (law.ratio.0.ln(), law.ratio.1.ln());
    for _ in 0..TRIES {
        let target = area * between(law.scale, draws);
        let aspect = between(logarithms, draws).exp();
        let w = (target * aspect).sqrt().round_ties_even() as i64;
        let h = (target / aspect).sqrt().round_ties_even() as i64;
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let top = draws.below((height - h + 1) as usize) as i64;
            let left = draws.below((width - w + 1) as usize) as i64;
            return Crop { top, left, height: h, width: w };
        }
    }
    // The largest centred crop whose shape is within the range.
    let shape = width as f64 / height as f64;
    let (h, w) = if shape < law.ratio.0 {
        (((width as f64 / law.ratio.0).round_ties_even() as i64).min(height), width)
    } else if shape > law.ratio.1 {
        (height, ((height as f64 * law.ratio.1).round_ties_even() as i64).min(width))
    } else {
        (height, width)
    };
    let (h, w) = (h.max(1), w.max(1));
    Crop { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
}

fn jitter(law: &Moco, draws: &mut Draws) -> Jitter {
    let order = draws.permutation(4);
    let mut factor = |strength: f64| between(((1.0 - strength).max(0.0), 1.0 + strength), draws);
    Jitter {
        order: std::array::from_fn(|place| CHANGES[order[place] as usize]),
        brightness: factor(law.brightness),
        contrast: factor(law.contrast),
        saturation: factor(law.saturation),
        hue: between((-law.hue, law.hue), draws),
    }
}
