//! What is known of a dataset.

use serde::{Deserialize, Serialize};

/// Name, sizes and normalisation of a dataset.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// Number of classes.
    pub classes: usize,
    /// Their names, by label.
    pub class_names: Vec<String>,
    /// Channels of an image.
    pub channels: i64,
    /// Height in pixels.
    pub height: i64,
    /// Width in pixels.
    pub width: i64,
    /// Mean of each channel, pixels in [0, 1].
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, pixels in [0, 1].
    pub std: Vec<f32>,
    /// Number of training images.
    pub train: usize,
    /// Number of test images.
    pub test: usize,
    /// Where it comes from.
    pub source: String,
}

impl Info {
    /// Bytes of one image.
    pub(crate) fn image_bytes(&self) -> usize {
        (self.channels * self.height * self.width) as usize
    }
}

/// Which part of a dataset.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Learned from.
    Train,
    /// Evaluated on.
    Test,
}

/// Mean and standard deviation of the channels.
pub(crate) struct Normalisation {
    pub mean: &'static [f32],
    pub std: &'static [f32],
}

/// CIFAR-10 and CIFAR-100 (spec amix.md 8).
pub(crate) const CIFAR: Normalisation =
    Normalisation { mean: &[0.4914, 0.4822, 0.4465], std: &[0.2023, 0.1994, 0.2010] };
/// Fashion-MNIST.
pub(crate) const FASHION: Normalisation = Normalisation { mean: &[0.2860], std: &[0.3530] };
/// Everything imported that is not CIFAR (spec amix.md 8).
pub(crate) const IMAGENET: Normalisation =
    Normalisation { mean: &[0.485, 0.456, 0.406], std: &[0.229, 0.224, 0.225] };
