//! Which datasets are streamed, and with what settings.

use std::num::NonZero;
use std::thread;

use admix_api::Streams;
use serde::{Deserialize, Serialize};

use crate::config::{DataConfig, check_name, setting};
use crate::sources::{self, Builtin, Source, packed};
use crate::{Error, Info, Result};

use super::folder::{Folder, named};

/// Where the pixels of a dataset are while a run goes on.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Storage {
    /// `Stream` for a folder of images, `Device` for every other set.
    #[default]
    Auto,
    /// All of them on the device as bytes; images of one size.
    Device,
    /// In files (or in host memory, for a set that is no folder), read and cropped batch by batch.
    Stream,
}

/// Height and width of a view where nothing else says so: that of ImageNet's recipes.
pub(crate) const SIZE: i64 = 224;

/// How images that differ in size are brought to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Height and width of views and of measured images.
    pub view: i64,
    /// The shorter side before the centre is cut out.
    pub shorter: i64,
}

/// Checks what can be checked without the data.
pub(crate) fn validate(config: &DataConfig) -> Result<()> {
    if let Some(workers) = config.workers.filter(|workers| !(1..=1024).contains(workers)) {
        return Err(setting("data.workers", workers, "1 to 1024 threads, or None for one per core"));
    }
    let Some(shorter) = config.test_resize else { return Ok(()) };
    let size = config.augment.size().unwrap_or(SIZE);
    if !(size..=4096).contains(&shorter) {
        let wanted =
            format!("{size} to 4096 pixels, as {size}x{size} are cut out, or None for 256/224 of that");
        return Err(setting("data.test_resize", shorter, &wanted));
    }
    Ok(())
}

/// Whether a dataset is read as it is needed.
pub(crate) fn streamed(config: &DataConfig) -> bool {
    match config.storage {
        Storage::Stream => true,
        Storage::Device => false,
        Storage::Auto => is_folder(config),
    }
}

/// Whether the set is a folder of images: there is neither a packed file nor a built-in set of its name.
pub(crate) fn is_folder(config: &DataConfig) -> bool {
    let plain = check_name("data.name", &config.name).is_ok() && Builtin::named(&config.name).is_none();
    plain && !packed::path(&config.root, &config.name).exists() && named(&config.root, &config.name).is_dir()
}

/// The folder of a dataset.
pub(crate) fn folder(config: &DataConfig) -> Result<Folder> {
    Folder::open(&named(&config.root, &config.name))
}

/// The sizes of a set whose images differ.
pub(crate) fn sizes(config: &DataConfig, info: &Info) -> Result<Sizes> {
    if config.augment.moco().is_none() {
        let wanted = format!(
            "`ResizedCrop(size: 224)` or `Moco(size: 224)`: the images of `{}` differ in size and are cropped as they are \
             read",
            info.name
        );
        return Err(setting("data.augment", "Shift", &wanted));
    }
    let view = config.augment.size().unwrap_or(SIZE);
    // Half up: 224 gives 256, 64 gives 73.
    let shorter = config.test_resize.unwrap_or((2 * view * 256 + 224) / (2 * 224));
    Ok(Sizes { view, shorter })
}

/// Threads of a dataset.
pub(crate) fn workers(config: &DataConfig) -> usize {
    config.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get))
}

/// A whole dataset in host memory: a folder whose images have one size, or any other set.
pub(crate) fn source(config: &DataConfig, streams: Streams) -> Result<Source> {
    let source = if is_folder(config) {
        folder(config)?.load(&config.name)?
    } else {
        if config.name == "imagenet" && !packed::path(&config.root, &config.name).exists() {
            return Err(missing_imagenet(config));
        }
        sources::open(config, streams)?
    };
    if let Some(shorter) = config.test_resize {
        let wanted =
            format!("None: the images of `{}` have one size and are measured as they are", source.info.name);
        return Err(setting("data.test_resize", shorter, &wanted));
    }
    Ok(source)
}

fn missing_imagenet(config: &DataConfig) -> Error {
    Error::Missing {
        name: config.name.clone(),
        folder: config.root.clone(),
        expected: "imagenet/train/<class>/*.JPEG and imagenet/val/<class>/*.JPEG".into(),
        how_to_get: "download ILSVRC2012 from https://image-net.org (it needs an account) and unpack the training and \
                     the validation images into one folder for each class"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Augment;
    use crate::augment::Moco;

    #[test]
    fn images_are_measured_as_on_imagenet_unless_the_recipe_says_otherwise() {
        let info =
            crate::sources::toy::load(&crate::ToyConfig::default(), Streams::new(1)).expect("a set").info;
        let sizes = |size, test_resize| {
            let augment = Augment::Moco(Moco { size, ..Moco::default() });
            let config = DataConfig { augment, test_resize, ..DataConfig::default() };
            let Sizes { view, shorter } = sizes(&config, &info).expect("sizes");
            (view, shorter)
        };
        assert_eq!(sizes(None, None), (224, 256));
        assert_eq!(sizes(Some(64), None), (64, 73));
        assert_eq!(sizes(Some(96), None), (96, 110));
        assert_eq!(sizes(Some(96), Some(96)), (96, 96));
    }
}
