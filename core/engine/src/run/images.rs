//! The images that a network was trained on.

use serde::{Deserialize, Serialize};

use crate::run::Fit;

/// What the images that a network takes are like. Kept with its weights, so that it can be used without its dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Images {
    /// The dataset's name.
    pub data: String,
    /// Channels: 3, red, green and blue; or 1, grey.
    pub channels: i64,
    /// Height in pixels at which training images are shown to the network.
    pub height: i64,
    /// Width in pixels.
    pub width: i64,
    /// Mean of each channel that is taken off, pixels in [0, 1].
    pub mean: Vec<f64>,
    /// Standard deviation of each channel that is divided by.
    pub std: Vec<f64>,
    /// Names of the classes, by label.
    pub classes: Vec<String>,
    /// How pictures become the images that are measured.
    // Left out where it is not known, so that the checksums of earlier files hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<Fit>,
}

impl Images {
    /// In what way a network sees others, in words; `None` if it sees them alike. Other files may have other names.
    pub fn differ(&self, others: &Self) -> Option<String> {
        let size = |images: &Self| format!("{}x{} pixels", images.height, images.width);
        let normalised = |images: &Self| format!("a mean of {:?} and a std of {:?}", images.mean, images.std);
        let sides: [[String; 2]; 4] = [
            [self, others].map(|images| format!("{} channels", images.channels)),
            [self, others].map(|images| format!("{} classes", images.classes.len())),
            [self, others].map(size),
            [self, others].map(normalised),
        ];
        let differs = sides.into_iter().find(|[own, other]| own != other);
        differs.map(|[own, other]| format!("they have {other}, expected {own}"))
    }
}
