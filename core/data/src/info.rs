//! What is known of a dataset.

use serde::{Deserialize, Serialize};

use crate::import::channels::Channels;

/// Name, sizes and normalisation of a dataset.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// Number of classes; 0 where no image has a label.
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
    /// Number of images that are trained on.
    pub train: usize,
    /// Number of images without labels that the set has besides, whether they are trained on or not.
    #[serde(default)]
    pub unlabelled: usize,
    /// Which images are trained on.
    #[serde(default)]
    pub split: TrainSplit,
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
    /// Learned from: what `data.split` says.
    Train,
    /// The training images that have labels, whatever is learned from: what protocols put classifiers on.
    Labelled,
    /// Evaluated on.
    Test,
}

/// Which images are trained on.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TrainSplit {
    /// The training images that have labels.
    #[default]
    Train,
    /// The images without labels; their label is -1.
    Unlabelled,
    /// The training images that have labels, then those without.
    TrainUnlabelled,
}

admix_api::plain!(TrainSplit);

impl TrainSplit {
    /// What is trained on in a set that has nothing but training images of so many classes.
    pub(crate) fn of_classes(classes: usize) -> Self {
        if classes == 0 { Self::Unlabelled } else { Self::Train }
    }

    /// Whether every image has a label.
    pub fn labelled(self) -> bool {
        self == Self::Train
    }
}

impl std::fmt::Display for TrainSplit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Train => "Train",
            Self::Unlabelled => "Unlabelled",
            Self::TrainUnlabelled => "TrainUnlabelled",
        })
    }
}

/// Mean and standard deviation of the channels, pixels in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    /// Mean of each channel.
    pub mean: &'static [f32],
    /// Standard deviation of each channel.
    pub std: &'static [f32],
}

/// That of photographs: of every set that has none of its own.
pub(crate) const IMAGENET: Normalisation =
    Normalisation { mean: &[0.485, 0.456, 0.406], std: &[0.229, 0.224, 0.225] };
/// That of photographs turned grey: the means of the three.
const GREY: Normalisation = Normalisation { mean: &[0.449], std: &[0.226] };

/// That of photographs of so many channels.
pub(crate) fn photographs(channels: Channels) -> Normalisation {
    match channels {
        Channels::Rgb => IMAGENET,
        Channels::Grey => GREY,
    }
}
