//! Opening a dataset: on the device as a whole, or its images behind threads.

use std::num::NonZero;
use std::thread;

use admix_api::{Registry, Streams};
use admix_torch::{Device, Tensor};

use crate::augment::Setup;
use crate::config::{DataConfig, augment_name};
use crate::dataset::Dataset;
use crate::error::setting;
use crate::groups::ViewsConfig;
use crate::laws::{Law, Laws};
use crate::lookup::Datasets;
use crate::resident::Resident;
use crate::source::Source;
use crate::stream::{Clean, Folder, Images, SIZE, Storage, Stream, Unread};
use crate::tensors::per_channel;
use crate::{Error, Info, Result, TrainSplit};

impl Dataset {
    /// Reads the dataset and moves it to the device, or lists its images and starts the threads that read them.
    /// `streams` is what the toy set is generated from.
    ///
    /// # Errors
    /// A setting out of range, a dataset that is unknown, missing or damaged, or a device without room for it. An image
    /// of a folder that cannot be decoded is an error when it is first used.
    pub fn open(config: &DataConfig, registry: &Registry, device: Device, streams: Streams) -> Result<Self> {
        config.validate()?;
        let sets = Datasets::new(&config.root, registry);
        let of_files = sets.is_streamed(&config.name);
        let streamed = match config.storage {
            Storage::Stream => true,
            Storage::Device => false,
            Storage::Auto => of_files,
        };
        if !streamed {
            return Self::resident(config, sets.source(config, streams)?, device);
        }
        if of_files {
            return Self::streamed(config, of_folder(config, sets.files_of(config)?)?, device);
        }
        if config.split != TrainSplit::Train && !sets.is_packed(&config.name) {
            let wanted =
                "Train where images are streamed (`data.storage`): the others are held on the device";
            return Err(setting("data.split", config.split, wanted));
        }
        let unread = sets.source(config, streams)?.try_into()?;
        Self::streamed(config, unread, device)
    }

    /// All images on the device.
    pub(crate) fn resident(config: &DataConfig, source: Source, device: Device) -> Result<Self> {
        let Source { mut info, mut train, test, unlabelled } = source;
        check_per_class(config, &info)?;
        if let Some(most) = config.per_class {
            train = train.select(&first_of_each_class(&train.labels, &info, most))?;
            info.train = train.labels.len();
        }
        own_normalisation(config, &mut info)?;
        let (train, labelled) = match (&unlabelled, config.split) {
            (Some(part), TrainSplit::Unlabelled) => {
                (Resident::new(part, device)?, Some(Resident::new(&train, device)?))
            }
            (Some(part), TrainSplit::TrainUnlabelled) => {
                let both = Resident::of(&[&train, part], device)?;
                let first = both.first(train.labels.len())?;
                (both, Some(first))
            }
            _ => (Resident::new(&train, device)?, None),
        };
        info.train = train.n;
        info.split = if labelled.is_some() { config.split } else { TrainSplit::of_classes(info.classes) };
        let laws = laws(config, &info, device, true)?;
        let (scale, shift) = normalisation(&info, device)?;
        tracing::info!(
            name = info.name,
            source = info.source,
            split = %info.split,
            train = info.train,
            test = info.test,
            "dataset opened"
        );
        let test = Resident::new(&test, device)?;
        Ok(Self { train, labelled, test, laws, scale, shift, device, info, stream: None })
    }

    /// Images that threads read as they are needed.
    pub(crate) fn streamed(config: &DataConfig, mut unread: Unread, device: Device) -> Result<Self> {
        check_per_class(config, &unread.info)?;
        if let Some(most) = config.per_class {
            let keep = first_of_each_class(&unread.labels.0, &unread.info, most);
            unread.keep(&keep)?;
        }
        own_normalisation(config, &mut unread.info)?;
        let info = unread.info.clone();
        let laws = laws(config, &info, device, matches!(unread.clean, Clean::Whole(_)))?;
        let labels = unread.labels.clone();
        let workers =
            config.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get));
        let stream = Stream::start(unread, &laws, workers, matches!(device, Device::Cuda(_)))?;
        let (scale, shift) = normalisation(&info, device)?;
        tracing::info!(
            name = info.name,
            source = info.source,
            train = info.train,
            test = info.test,
            workers = stream.worked().workers,
            "dataset opened, its images are streamed"
        );
        Ok(Self {
            train: Resident::without_pixels(&labels.0, &info, device)?,
            labelled: None,
            test: Resident::without_pixels(&labels.1, &info, device)?,
            laws,
            scale,
            shift,
            device,
            info,
            stream: Some(stream),
        })
    }
}

/// Refuses to count by classes where there are none.
fn check_per_class(config: &DataConfig, info: &Info) -> Result<()> {
    match config.per_class.filter(|_| info.classes == 0) {
        None => Ok(()),
        Some(most) => {
            let wanted = format!("None: the images of `{}` have no classes", info.name);
            Err(setting("data.per_class", most, &wanted))
        }
    }
}

/// The files of a folder, whose images differ in size.
fn of_folder(config: &DataConfig, folder: Folder) -> Result<Unread> {
    let size = of_folder_view(config)?;
    let clean = Clean::Centre { shorter: shorter(config, size), size };
    let info = folder.info(&config.name, (size, size));
    let labels = (folder.train.labels.clone(), folder.test.labels.clone());
    Ok(Unread { info, train: Images::Files(folder.train), test: Images::Files(folder.test), labels, clean })
}

/// The side of a view of a folder's images.
pub(crate) fn of_folder_view(config: &DataConfig) -> Result<i64> {
    for (at, (_, augment)) in config.groups().into_iter().enumerate() {
        if !augment.config.takes_any_size() {
            let wanted = format!(
                "`ResizedCrop(size: 224)` or `Moco(size: 224)`: the images of `{}` differ in size and are cropped as they are \
                 read",
                config.name
            );
            return Err(setting(config.augment_field(at), augment_name(augment), &wanted));
        }
    }
    Ok(config.first_augment().config.size().unwrap_or(SIZE))
}

/// The shorter side of an image before the centre is cut out of it.
fn shorter(config: &DataConfig, view: i64) -> i64 {
    // Half up: 224 gives 256, 64 gives 73.
    config.test_resize.unwrap_or((2 * view * 256 + 224) / (2 * 224))
}

/// Builds the recipe's augmentations for a dataset. `one_size`: its images have the size that `info` says.
pub(crate) fn laws(config: &DataConfig, info: &Info, device: Device, one_size: bool) -> Result<Laws> {
    let setup = Setup { info, device, flip: config.flip, crop: config.crop };
    let mut laws = Vec::new();
    for (at, (views, augment)) in config.groups().into_iter().enumerate() {
        let (field, least) = (config.augment_field(at), info.height.min(info.width));
        let grouped = matches!(config.views, ViewsConfig::Groups(_));
        if let Some(size) = augment.config.size().filter(|size| grouped && one_size && *size > least) {
            let (name, height, width) = (&info.name, info.height, info.width);
            let wanted = format!("at most {least}, as the images of `{name}` have {height}x{width} pixels");
            return Err(setting(format!("{field}.size"), size, &wanted));
        }
        let augmentation = augment.config.build(&setup).map_err(|error| match error {
            Error::Setting { field: own, got, wanted } if own == "data.augment" => {
                setting(field, got, &wanted)
            }
            other => other,
        })?;
        laws.push(Law { views, augmentation });
    }
    let others = laws.split_off(1.min(laws.len()));
    match laws.pop() {
        Some(first) => Ok(Laws::new(first, others)),
        None => Err(setting("data.views", "[]", "at least one group")),
    }
}

/// Puts the recipe's normalisation in place of the dataset's own.
pub(crate) fn own_normalisation(config: &DataConfig, info: &mut Info) -> Result<()> {
    for (field, given, own) in
        [("data.mean", &config.mean, &mut info.mean), ("data.std", &config.std, &mut info.std)]
    {
        let Some(given) = given else { continue };
        if given.len() != own.len() {
            let wanted = format!("{}, one per channel of `{}`", own.len(), info.name);
            return Err(setting(field, format!("{} numbers", given.len()), &wanted));
        }
        *own = given.iter().map(|&v| v as f32).collect();
    }
    // What a black and a white pixel become.
    let held = |(mean, std): (&f32, &f32)| (mean / std).is_finite() && ((1.0 - mean) / std).is_finite();
    if (config.mean.is_some() || config.std.is_some()) && !info.mean.iter().zip(&info.std).all(held) {
        let got = format!("{:?} beside a `data.std` of {:?}", info.mean, info.std);
        return Err(setting(
            "data.mean",
            got,
            "numbers with which `(pixel - mean) / std` stays below 3.4e38",
        ));
    }
    Ok(())
}

/// Positions of the first `most` images of each class, ascending.
fn first_of_each_class(labels: &[i64], info: &Info, most: usize) -> Vec<i64> {
    let mut counts = vec![0; info.classes];
    let mut keep = Vec::new();
    for (i, &label) in labels.iter().enumerate() {
        let count = &mut counts[label as usize];
        *count += 1;
        if *count <= most {
            keep.push(i as i64);
        }
    }
    if let Some(class) = counts.iter().position(|&count| count < most) {
        let name = &info.class_names[class];
        tracing::warn!(
            class = name,
            images = counts[class],
            per_class = most,
            "a class has fewer images than asked for"
        );
    }
    keep
}

/// Scale and shift of each channel, `[1, C, 1, 1]`.
pub(crate) fn normalisation(info: &Info, device: Device) -> Result<(Tensor, Tensor)> {
    per_channel(&info.mean, &info.std, device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_measured_as_on_imagenet_unless_the_recipe_says_otherwise() {
        let shorter = |size, test_resize| shorter(&DataConfig { test_resize, ..DataConfig::default() }, size);
        assert_eq!(shorter(224, None), 256);
        assert_eq!(shorter(64, None), 73);
        assert_eq!(shorter(96, None), 110);
        assert_eq!(shorter(96, Some(96)), 96);
    }
}
