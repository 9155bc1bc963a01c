//! The settings of a resized crop and of MoCo v2's augmentation.

use serde::{Deserialize, Serialize};

use crate::config::setting;
use crate::{Error, Result};

/// How a crop is brought to its size.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// A triangle filter.
    Bilinear,
    /// Keys' cubic filter with a = -0.5, as Pillow's; not the -0.75 of other libraries.
    Bicubic,
}

/// The augmentation of MoCo v2 (Chen et al. 2020, with the values of its public code).
///
/// Every image of every view draws for itself. What the operations do to pixels is what torchvision does with Pillow
/// images, rounding to 8 bits included: colours alike, crop and blur to one grey level, except blurs whose
/// weights are round fractions (a deviation of exactly 1 or 2: up to three).
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
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

/// A resized crop and a flip, without a change of colours.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ResizedCrop {
    /// Height and width of a view in pixels; those of the dataset by default.
    pub size: Option<i64>,
    /// Least and greatest area of the crop, as a share of the image's.
    pub scale: (f64, f64),
    /// Least and greatest width / height of the crop, drawn evenly on a logarithmic scale.
    pub ratio: (f64, f64),
    /// The filter that brings the crop to its size.
    pub interpolation: Interpolation,
    /// Probability of flipping left to right.
    pub flip: f64,
}

impl Default for ResizedCrop {
    /// Supervised training on ImageNet and Tiny ImageNet in the paper's code.
    fn default() -> Self {
        Self {
            size: None,
            scale: (0.08, 1.0),
            ratio: (3.0 / 4.0, 4.0 / 3.0),
            interpolation: Interpolation::Bicubic,
            flip: 0.5,
        }
    }
}

impl From<&ResizedCrop> for Moco {
    fn from(crop: &ResizedCrop) -> Self {
        let ResizedCrop { size, scale, ratio, interpolation, flip } = *crop;
        Self { size, scale, ratio, interpolation, flip, jitter: 0.0, grey: 0.0, blur: 0.0, ..Self::default() }
    }
}

/// The widest blur: its boxes then reach over 33 pixels.
const MOST_SIGMA: f64 = 16.0;

impl Moco {
    /// Checks every value that can be checked without the data.
    pub(crate) fn validate(&self) -> Result<()> {
        if let Some(size) = self.size.filter(|size| !(4..=1024).contains(size)) {
            return Err(setting(
                "data.augment.size",
                size,
                "4 to 1024 pixels, or None for the dataset's size",
            ));
        }
        let range = |field, (low, high): (f64, f64), least: f64, most: f64, wanted: &str| -> Result<()> {
            let good = low > least && low <= high && high <= most;
            if good { Ok(()) } else { Err(setting(field, format!("({low}, {high})"), wanted)) }
        };
        range(
            "data.augment.scale",
            self.scale,
            0.0,
            1.0,
            "(least, greatest) share of the area, above 0 to 1",
        )?;
        range(
            "data.augment.ratio",
            self.ratio,
            0.0,
            100.0,
            "(least, greatest) width / height, above 0 to 100",
        )?;
        let wanted = "(least, greatest) pixels, above 0 to 16";
        range("data.augment.sigma", self.sigma, 0.0, MOST_SIGMA, wanted)?;
        let within = |field, value: f64, most: f64, wanted: &str| -> Result<(), Error> {
            if (0.0..=most).contains(&value) { Ok(()) } else { Err(setting(field, value, wanted)) }
        };
        let probability = "a probability, 0 to 1";
        within("data.augment.flip", self.flip, 1.0, probability)?;
        within("data.augment.jitter", self.jitter, 1.0, probability)?;
        within("data.augment.grey", self.grey, 1.0, probability)?;
        within("data.augment.blur", self.blur, 1.0, probability)?;
        let strength = "a strength from 0 to 10, such as 0.4 for factors of 0.6 to 1.4";
        within("data.augment.brightness", self.brightness, 10.0, strength)?;
        within("data.augment.contrast", self.contrast, 10.0, strength)?;
        within("data.augment.saturation", self.saturation, 10.0, strength)?;
        within("data.augment.hue", self.hue, 0.5, "0 to 0.5 of the colour circle")
    }
}
