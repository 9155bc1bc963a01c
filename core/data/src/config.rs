//! What a recipe says about its data.

use std::path::PathBuf;

use admix_api::{Registry, section};

use crate::augment::{AugmentChoice, Shift};
use crate::datasets::SetSettings;
use crate::error::{check_name, of_entry, setting};
use crate::import::{Channels, Exif};
use crate::stream::{Asked, BrokenFiles, Reading, SIZE, Storage};
use crate::{Result, TrainSplit};

/// Most views of an image in a batch.
const MOST_VIEWS: usize = 8;

section! {
    /// The `data` part of a recipe. By default the embedded set, under the CIFAR augmentation of the paper (spec: random crop
    /// with 4 pixels of reflected border, flip).
    default pub struct DataConfig {
        /// `fashion-mini` (embedded), `fashion-mnist`, `cifar10`, `cifar100`, `stl10`, `tiny_imagenet`, `cub200`, `aircraft`,
        /// `toy`, a set imported by `admix data import`, or a folder `<root>/<name>/{train,val}/<class>/<files>` of images, such as `imagenet`. A folder
        /// of images without class folders is a set without labels.
        pub name: String = "fashion-mini".into(),
        /// The folder that holds the datasets.
        pub root: PathBuf = "data".into(),
        /// Which images are trained on; evaluation takes those with labels. Of a streamed folder, `Unlabelled` takes all training
        /// images, whatever folders they lie in, without labels.
        pub split: TrainSplit = TrainSplit::Train,
        /// Of the training images with labels take one of the predefined folds, 0 to 9; for `stl10`.
        pub fold: Option<usize> = None,
        /// Where pixels are: on the device, or read as they are needed.
        pub storage: Storage = Storage::Auto,
        /// What happens at a file that cannot be decoded, for a streamed folder: `Stop`, or `Skip(limit: 0.001)`, where the next
        /// sound image of its class stands in for it, and more than this share of a split's files ends the run.
        pub broken: BrokenFiles = BrokenFiles::Stop,
        /// Whether pictures of a folder are turned as their cameras noted: `Apply` or `Ignore`.
        pub exif: Exif = Exif::Apply,
        /// Channels of the pictures of a folder: `Rgb`, or `Grey` for one.
        pub channels: Channels = Channels::Rgb,
        /// A file with a path and a label on each line, which says what the training images of a folder are; its own path is
        /// relative to the folder `<root>/<name>`, those in it are relative to it. Default: the folder's own files.
        pub train_list: Option<PathBuf> = None,
        /// The same for the test images.
        pub test_list: Option<PathBuf> = None,
        /// Threads that read, decode, crop and resize, 1 to 1024; for `storage: Stream`. As many as the machine has cores by
        /// default.
        pub workers: Option<usize> = None,
        /// For images that differ in size: the shorter side is brought to so many pixels before the centre is cut out of an image
        /// that is measured. 256/224 of the size of a view by default.
        pub test_resize: Option<i64> = None,
        /// Keep the first so many training images of each class, in the order of the files; a smaller class stays whole.
        pub per_class: Option<usize> = None,
        /// Views of each training image in a batch, each augmented on its own, 1 to 8; self-supervised methods take 2.
        pub views: usize = 1,
        /// How every view of a training image is made: an augmentation, such as `Shift`, `ResizedCrop()` or `Moco()`.
        pub augment: AugmentChoice = Shift {}.into(),
        /// Flip half of the training images left to right; for augmentations that heed it, such as `Shift`.
        pub flip: bool = true,
        /// Crop training images at random after adding a reflected border of so many pixels; for augmentations that heed it, such as `Shift`.
        pub crop: Option<i64> = Some(4),
        /// Mean of each channel, pixels in [0, 1]; the dataset's own by default.
        pub mean: Option<Vec<f64>> = None,
        /// Standard deviation of each channel, pixels in [0, 1]; the dataset's own by default.
        pub std: Option<Vec<f64>> = None,
        ; others
        /// The settings of datasets that have some, each at the name of its dataset: `toy: (classes: 10)`. Those of other
        /// datasets than `name` play no part.
        pub sets: SetSettings,
    }
}

impl DataConfig {
    /// Checks every value that can be checked without the data.
    ///
    /// # Errors
    /// Names the first field out of its range.
    pub fn validate(&self) -> Result<()> {
        check_name("data.name", &self.name)?;
        if let Some(most) = self.per_class.filter(|_| !self.split.labelled()) {
            let wanted =
                format!("None with `data.split` {}: images without labels have no class", self.split);
            return Err(setting("data.per_class", most, &wanted));
        }
        if let (None, Some(list)) = (&self.train_list, &self.test_list) {
            let wanted = "None, or beside a list of the training images, `data.train_list`";
            return Err(setting("data.test_list", list.display(), wanted));
        }
        if self.per_class == Some(0) {
            return Err(setting("data.per_class", "0", "at least 1, or None for all images"));
        }
        if !(1..=MOST_VIEWS).contains(&self.views) {
            return Err(setting("data.views", self.views, "1 to 8 views of each image"));
        }
        self.validate_stream()?;
        self.augment.validate().map_err(|error| of_entry("data.augment", error))?;
        let default = Self::default();
        let heeds = self.augment.config.heeds();
        let unheeded = |field: &str, got: String| {
            let wanted =
                "its default, as it acts under `augment: Shift` only; give the setting to `augment` itself";
            Err(setting(format!("data.{field}"), got, wanted))
        };
        if self.flip != default.flip && !heeds.contains(&"flip") {
            return unheeded("flip", self.flip.to_string());
        }
        if self.crop != default.crop && !heeds.contains(&"crop") {
            return unheeded("crop", format!("{:?}", self.crop));
        }
        if let Some(pad) = self.crop.filter(|pad| !(1..=1024).contains(pad)) {
            return Err(setting("data.crop", pad, "1 to 1024 pixels of border, or None for no crop"));
        }
        for (field, values) in [("data.mean", &self.mean), ("data.std", &self.std)] {
            // Normalised in float32.
            let held = |value: &f64| (*value as f32).is_finite();
            if let Some(values) = values.as_ref().filter(|values| !values.iter().all(held)) {
                let wanted =
                    "finite numbers, one per channel, of at most 3.4e38 in size, as float32 holds them";
                return Err(setting(field, format!("{values:?}"), wanted));
            }
        }
        // Divided by a smaller one, a pixel is beyond what float32 holds.
        let small = f64::from(f32::MIN_POSITIVE);
        if let Some(std) = self.std.as_ref().filter(|std| std.iter().any(|v| *v <= small)) {
            let wanted = format!("numbers above {small:?}, one per channel");
            return Err(setting("data.std", format!("{std:?}"), &wanted));
        }
        self.sets.validate()
    }

    /// Checks what is about threads and about images that differ in size.
    fn validate_stream(&self) -> Result<()> {
        if let Some(workers) = self.workers.filter(|workers| !(1..=1024).contains(workers)) {
            return Err(setting("data.workers", workers, "1 to 1024 threads, or None for one per core"));
        }
        if let BrokenFiles::Skip { limit } = self.broken
            && !(0.0..=1.0).contains(&limit)
        {
            return Err(setting("data.broken.limit", limit, "a share of the files, 0 to 1"));
        }
        let Some(shorter) = self.test_resize else { return Ok(()) };
        let size = self.augment.config.size().unwrap_or(SIZE);
        if !(size..=4096).contains(&shorter) {
            let wanted =
                format!("{size} to 4096 pixels, as {size}x{size} are cut out, or None for 256/224 of that");
            return Err(setting("data.test_resize", shorter, &wanted));
        }
        Ok(())
    }

    /// Adds the settings of the dataset that it names, where they are left out.
    pub fn complete(&mut self, registry: &Registry) {
        self.sets.complete(&self.name, registry);
    }

    /// What is wanted of a folder.
    pub(crate) fn asked(&self) -> Asked {
        let reading = Reading { exif: self.exif, broken: self.broken, channels: self.channels, strip: 0 };
        let lists = self.train_list.clone().map(|train| (train, self.test_list.clone()));
        Asked { reading, unlabelled: !self.split.labelled(), lists }
    }

    /// Refuses what only a folder heeds.
    pub(crate) fn for_no_folder(&self) -> Result<()> {
        let wanted = format!("its default: `{}` is no folder of images", self.name);
        if self.channels != Channels::Rgb {
            let wanted = format!(
                "{wanted}; a folder becomes a set of grey images by `admix data import --channels 1`"
            );
            return Err(setting("data.channels", "Grey", &wanted));
        }
        match &self.train_list {
            Some(list) => Err(setting("data.train_list", list.display(), &wanted)),
            None => Ok(()),
        }
    }

    /// The augmentation's name as recipes write it.
    pub(crate) fn augment_name(&self) -> String {
        let words = self.augment.plugin.split('_');
        words.map(|word| word[..1].to_uppercase() + &word[1..]).collect()
    }
}
