//! Crop of random area and shape, resized, and flip.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::kind::{Augmentation, AugmentationConfig, Setup};
use super::moco::Moco;
use super::resample::Interpolation;
use crate::Result;

/// A resized crop and a flip, without a change of colours.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
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

crate::augmentation! {
    ResizedCrop, "resized_crop",
    "crop of random area and shape, resized, and flip: supervised training on photographs, linear evaluation",
    source: "Szegedy et al., CVPR 2015, section 6; He et al., CVPR 2020, section 4.1"
}

impl AugmentationConfig for ResizedCrop {
    fn validate(&self) -> admix_api::Result<()> {
        Moco::from(self).validate()
    }

    fn size(&self) -> Option<i64> {
        self.size
    }

    fn takes_any_size(&self) -> bool {
        true
    }

    fn build(&self, setup: &Setup<'_>) -> Result<Box<dyn Augmentation>> {
        Moco::from(self).build(setup)
    }

    fn resolved(&self) -> Json {
        json!(self)
    }
}
