//! What a recipe says about its data.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::augment::{Augment, unheeded};
use crate::stream::Storage;
use crate::{Error, Result, TrainSplit};

/// Most views of an image in a batch.
const MOST_VIEWS: usize = 8;
/// Folds of STL-10.
pub(crate) const FOLDS: usize = 10;

/// The `data` part of a recipe.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// `fashion-mini` (embedded), `fashion-mnist`, `cifar10`, `cifar100`, `stl10`, `tiny_imagenet`, `toy`, a set imported by
    /// `admix data import`, or a folder `<root>/<name>/{train,val}/<class>/<files>` of images, such as `imagenet`.
    pub name: String,
    /// The folder that holds the datasets.
    pub root: PathBuf,
    /// Which images are trained on; evaluation takes those with labels.
    pub split: TrainSplit,
    /// Of the training images with labels take one of the predefined folds, 0 to 9; for `stl10`.
    pub fold: Option<usize>,
    /// Where pixels are: on the device, or read as they are needed.
    pub storage: Storage,
    /// Threads that read, decode, crop and resize, 1 to 1024; for `storage: Stream`. As many as the machine has cores by
    /// default.
    pub workers: Option<usize>,
    /// For images that differ in size: the shorter side is brought to so many pixels before the centre is cut out of an image
    /// that is measured. 256/224 of the size of a view by default.
    pub test_resize: Option<i64>,
    /// Keep the first so many training images of each class, in the order of the files; a smaller class stays whole.
    pub per_class: Option<usize>,
    /// Views of each training image in a batch, each augmented on its own, 1 to 8; self-supervised methods take 2.
    pub views: usize,
    /// The law that every view of a training image follows.
    pub augment: Augment,
    /// Flip half of the training images left to right; for `augment: Shift`.
    pub flip: bool,
    /// Crop training images at random after adding a reflected border of so many pixels; for `augment: Shift`.
    pub crop: Option<i64>,
    /// The generated set, for `name: "toy"`.
    pub toy: ToyConfig,
    /// Mean of each channel, pixels in [0, 1]; the dataset's own by default.
    pub mean: Option<Vec<f64>>,
    /// Standard deviation of each channel, pixels in [0, 1]; the dataset's own by default.
    pub std: Option<Vec<f64>>,
}

impl Default for DataConfig {
    /// The embedded set; the CIFAR augmentation of the paper (spec: random crop with 4 pixels of reflected border, flip).
    fn default() -> Self {
        Self {
            name: "fashion-mini".into(),
            root: "data".into(),
            storage: Storage::Auto,
            workers: None,
            test_resize: None,
            split: TrainSplit::Train,
            fold: None,
            per_class: None,
            views: 1,
            augment: Augment::default(),
            flip: true,
            crop: Some(4),
            toy: ToyConfig::default(),
            mean: None,
            std: None,
        }
    }
}

admix_api::plain!(DataConfig);

/// Size of the generated set.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct ToyConfig {
    /// Number of classes.
    pub classes: usize,
    /// Number of training images.
    pub train: usize,
    /// Number of test images.
    pub test: usize,
    /// Height and width in pixels.
    pub size: i64,
    /// Number of channels.
    pub channels: i64,
}

impl Default for ToyConfig {
    fn default() -> Self {
        Self { classes: 4, train: 512, test: 128, size: 16, channels: 3 }
    }
}

impl DataConfig {
    /// Checks every value that can be checked without the data.
    ///
    /// # Errors
    /// Names the first field out of its range.
    pub fn validate(&self) -> Result<()> {
        check_name("data.name", &self.name)?;
        if let Some(fold) = self.fold.filter(|fold| *fold >= FOLDS) {
            return Err(setting("data.fold", fold, "0 to 9, or None for all images"));
        }
        if let Some(most) = self.per_class.filter(|_| !self.split.labelled()) {
            let wanted =
                format!("None with `data.split` {}: images without labels have no class", self.split);
            return Err(setting("data.per_class", most, &wanted));
        }
        if self.per_class == Some(0) {
            return Err(setting("data.per_class", "0", "at least 1, or None for all images"));
        }
        if !(1..=MOST_VIEWS).contains(&self.views) {
            return Err(setting("data.views", self.views, "1 to 8 views of each image"));
        }
        crate::stream::validate(self)?;
        self.augment.validate()?;
        if self.augment != Augment::Shift {
            let default = Self::default();
            if self.flip != default.flip {
                return Err(unheeded("data.flip", self.flip));
            }
            if self.crop != default.crop {
                return Err(unheeded("data.crop", format!("{:?}", self.crop)));
            }
        }
        if let Some(pad) = self.crop.filter(|pad| !(1..=1024).contains(pad)) {
            return Err(setting("data.crop", pad, "1 to 1024 pixels of border, or None for no crop"));
        }
        for (field, values) in [("data.mean", &self.mean), ("data.std", &self.std)] {
            if let Some(values) = values.as_ref().filter(|values| !values.iter().all(|v| v.is_finite())) {
                return Err(setting(field, format!("{values:?}"), "finite numbers, one per channel"));
            }
        }
        if let Some(std) = self.std.as_ref().filter(|std| std.iter().any(|v| *v <= 0.0)) {
            return Err(setting("data.std", format!("{std:?}"), "numbers above 0, one per channel"));
        }
        self.toy.validate()
    }
}

impl ToyConfig {
    fn validate(&self) -> Result<()> {
        const MOST: u64 = 1 << 30;
        if !(2..=1000).contains(&self.classes) {
            return Err(setting("data.toy.classes", self.classes, "2 to 1000"));
        }
        if self.train < self.classes {
            return Err(setting("data.toy.train", self.train, "at least one image per class"));
        }
        if self.test == 0 {
            return Err(setting("data.toy.test", self.test, "at least 1"));
        }
        if !(4..=512).contains(&self.size) {
            return Err(setting("data.toy.size", self.size, "4 to 512 pixels"));
        }
        if !(1..=16).contains(&self.channels) {
            return Err(setting("data.toy.channels", self.channels, "1 to 16"));
        }
        let image = (self.size * self.size * self.channels) as u64;
        let bytes = (self.train as u64).saturating_add(self.test as u64).saturating_mul(image);
        if bytes > MOST {
            return Err(setting("data.toy", format!("{bytes} bytes of pixels"), "at most 1 GiB"));
        }
        Ok(())
    }
}

pub(crate) fn setting(field: &'static str, got: impl ToString, wanted: &str) -> Error {
    Error::Setting { field, got: got.to_string(), wanted: wanted.into() }
}

/// A dataset's name becomes a file name: no separators, nothing hidden.
pub(crate) fn check_name(field: &'static str, name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || name.starts_with(['.', '-']) || !name.chars().all(plain) {
        let wanted = "1 to 64 letters, digits, `-`, `_` or `.`, beginning with a letter or digit";
        return Err(setting(field, format!("`{}`", name.escape_debug()), wanted));
    }
    Ok(())
}
