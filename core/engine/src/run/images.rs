//! The images that a network was trained on.

use std::collections::HashMap;

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

    /// The first class that other images number in another way, in words; `None` if there is none. Names that only one of
    /// both sides has say nothing: the files of a dataset may name its classes in another way.
    pub fn numbered_otherwise(&self, others: &[String]) -> Option<String> {
        let there: HashMap<&String, usize> = others.iter().enumerate().map(|(at, name)| (name, at)).collect();
        let mut numbers = self.classes.iter().enumerate();
        let (name, own, other) = numbers.find_map(|(own, name)| {
            let other = *there.get(name)?;
            (own != other).then_some((name, own, other))
        })?;
        Some(format!(
            "the class `{}` is number {other} there, and number {own} for the heads",
            name.escape_debug()
        ))
    }

    /// The first number that has another name among other images, in words; `None` if there is none.
    pub fn named_otherwise(&self, others: &[String]) -> Option<String> {
        let differs = self.classes.iter().zip(others).enumerate().find(|(_, (own, other))| own != other);
        let (number, (own, other)) = differs?;
        Some(format!("number {number} is `{}` there, and was `{}`", other.escape_debug(), own.escape_debug()))
    }
}
