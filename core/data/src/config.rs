//! What a recipe says about its data.

use std::path::PathBuf;

use admix_api::{Registry, section};

use crate::augment::{AugmentChoice, Shift};
use crate::datasets::SetSettings;
use crate::error::{check_name, of_entry, setting};
use crate::groups::ViewsConfig;
use crate::import::{Channels, Exif};
use crate::stream::{Asked, BrokenFiles, Reading, SIZE, Storage};
use crate::{Result, TrainSplit};

/// Most views of an image in a batch.
const MOST_VIEWS: usize = 16;

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
        /// Views of each training image in a batch, each augmented on its own, 1 to 16; self-supervised methods take 2. A list
        /// of groups for views that are made in several ways: `[(count: 2, augment: Moco(size: 96)), (count: 6, augment:
        /// Moco(size: 40, scale: (0.05, 0.14)))]`. Images that are measured go by the first group.
        pub views: ViewsConfig = ViewsConfig::Count(1),
        /// How every view of a training image is made: an augmentation, such as `Shift`, `ResizedCrop()` or `Moco()`. Groups of
        /// views have their own.
        pub augment: AugmentChoice = Shift {}.into(),
        /// Flip half of the training images left to right; for augmentations that heed it, such as `Shift`.
        pub flip: bool = true,
        /// Crop training images at random after adding a reflected border of so many pixels; for augmentations that heed it, such as `Shift`.
        pub crop: Option<i64> = Some(4),
        /// Mean of each channel, pixels in [0, 1], from 0 to 1; the dataset's own by default.
        pub mean: Option<Vec<f64>> = None,
        /// Standard deviation of each channel, pixels in [0, 1], from 0.001 to 1; the dataset's own by default.
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
        self.validate_views()?;
        self.validate_stream()?;
        let default = Self::default();
        let heeds: Vec<&str> =
            self.groups().iter().flat_map(|(_, augment)| augment.config.heeds()).copied().collect();
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
        let bytes =
            |wanted: &str| format!("{wanted}: pixels lie in [0, 1]; divide values for 0 to 255 by 255");
        if let Some(mean) = self.mean.as_ref().filter(|mean| mean.iter().any(|v| !(0.0..=1.0).contains(v))) {
            return Err(setting("data.mean", format!("{mean:?}"), &bytes("numbers from 0 to 1")));
        }
        if let Some(std) = self.std.as_ref().filter(|std| std.iter().any(|v| !(1e-3..=1.0).contains(v))) {
            return Err(setting("data.std", format!("{std:?}"), &bytes("numbers from 0.001 to 1")));
        }
        self.sets.validate()
    }

    /// Checks how many views there are and how they are made.
    fn validate_views(&self) -> Result<()> {
        if let ViewsConfig::Groups(groups) = &self.views {
            if groups.is_empty() {
                let wanted =
                    "a number of views, or at least one group, such as [(count: 2, augment: Moco(size: 96))]";
                return Err(setting("data.views", "[]", wanted));
            }
            if self.augment != Self::default().augment {
                let wanted = "none beside groups of views: each group in `data.views` has its own";
                return Err(setting("data.augment", augment_name(&self.augment), wanted));
            }
            if let Some(at) = groups.iter().position(|group| group.count == 0) {
                return Err(setting(
                    format!("data.views.{at}.count"),
                    0,
                    "at least 1 view, or no such group",
                ));
            }
        }
        let groups = self.groups();
        let views = groups.iter().fold(0usize, |all, (count, _)| all.saturating_add(*count));
        if !(1..=MOST_VIEWS).contains(&views) {
            return Err(setting("data.views", views, &format!("1 to {MOST_VIEWS} views of each image")));
        }
        for (at, (_, augment)) in groups.into_iter().enumerate() {
            augment.validate().map_err(|error| of_entry(&self.augment_field(at), error))?;
        }
        Ok(())
    }

    /// The groups of views: how many views each has, and how they are made. At least one group in valid settings.
    pub fn groups(&self) -> Vec<(usize, &AugmentChoice)> {
        match &self.views {
            ViewsConfig::Count(count) => vec![(*count, &self.augment)],
            ViewsConfig::Groups(groups) => groups.iter().map(|group| (group.count, &group.augment)).collect(),
        }
    }

    /// How the first view is made, by which images that are measured go, too.
    pub fn first_augment(&self) -> &AugmentChoice {
        self.groups().first().map_or(&self.augment, |&(_, augment)| augment)
    }

    /// The field that says how the views of a group are made.
    pub fn augment_field(&self, group: usize) -> String {
        match self.views {
            ViewsConfig::Count(_) => "data.augment".into(),
            ViewsConfig::Groups(_) => format!("data.views.{group}.augment"),
        }
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
        let size = self.first_augment().config.size().unwrap_or(SIZE);
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
}

/// An augmentation's name as recipes write it.
pub(crate) fn augment_name(augment: &AugmentChoice) -> String {
    let words = augment.plugin.split('_');
    words.map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}
