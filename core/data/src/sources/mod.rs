//! Where images come from: one file per kind of source.

pub(crate) mod cifar;
pub(crate) mod fashion_mini;
pub(crate) mod idx;
pub(crate) mod packed;
pub(crate) mod stl10;
pub(crate) mod tiny_imagenet;
pub(crate) mod toy;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use admix_api::{Streams, did_you_mean};
use admix_torch::{Device, Kind, Tensor};

use crate::config::{DataConfig, check_name, setting};
use crate::error::{At, Malformed};
use crate::{Error, Info, Result};

/// A whole dataset in host memory.
pub(crate) struct Source {
    pub info: Info,
    pub train: Part,
    pub test: Part,
    /// Images without labels, if they were asked for.
    pub unlabelled: Option<Part>,
}

/// One split: labels `[n]`, -1 for an image without one, and pixels `[n, C, H, W]`, one byte each, in any order in memory.
pub(crate) struct Part {
    pub labels: Vec<i64>,
    pub pixels: Tensor,
}

impl Part {
    pub(crate) fn new(images: &Images, channels: i64, height: i64, width: i64) -> Result<Self> {
        let n = images.labels.len() as i64;
        let pixels = Tensor::f_from_slice(&images.pixels)?.f_view([n, channels, height, width])?;
        Ok(Self { labels: images.labels.iter().map(|&label| i64::from(label)).collect(), pixels })
    }

    /// The images at these positions.
    pub(crate) fn select(&self, keep: &[i64]) -> Result<Self> {
        let pixels = self.pixels.f_index_select(0, &Tensor::f_from_slice(keep)?)?;
        debug_assert_eq!((pixels.kind(), pixels.device()), (Kind::Uint8, Device::Cpu));
        Ok(Self { labels: keep.iter().map(|&i| self.labels[i as usize]).collect(), pixels })
    }
}

/// What a parser of a raw format hands back: a label per image, pixels `[n, C, H, W]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// One per image.
    pub labels: Vec<u16>,
    /// Row-major.
    pub pixels: Vec<u8>,
}

/// A dataset this crate knows by name.
pub(crate) struct Builtin {
    pub name: &'static str,
    pub summary: &'static str,
    pub how_to_get: &'static str,
    /// Files of which the first missing one decides that the set is missing; `None` for a set without files.
    missing: fn(&Path) -> Option<Absent>,
    load: fn(&Path, &DataConfig, Streams) -> Result<Source>,
    /// Whether it has images without labels, and folds.
    parts: bool,
}

/// Which files are not there.
pub(crate) struct Absent {
    pub folder: PathBuf,
    pub expected: String,
}

/// All of them, in the order of `admix datasets`.
pub(crate) const BUILTIN: &[Builtin] = &[
    Builtin {
        name: "fashion-mini",
        summary: "6,000 + 1,000 images of Fashion-MNIST, 10 classes, 28x28 grey; part of the binary",
        how_to_get: "nothing to do",
        missing: |_| None,
        load: |_, _, _| fashion_mini::load(),
        parts: false,
    },
    Builtin {
        name: "fashion-mnist",
        summary: "Fashion-MNIST, 60,000 + 10,000 images, 10 classes, 28x28 grey; from its IDX files, plain or .gz",
        how_to_get: idx::HOW_TO_GET,
        missing: idx::missing,
        load: |root, _, _| idx::load(root),
        parts: false,
    },
    Builtin {
        name: "cifar10",
        summary: "CIFAR-10, 50,000 + 10,000 images, 10 classes, 32x32 RGB; from its binary version or an import",
        how_to_get: cifar::CIFAR10.how_to_get,
        missing: |root| cifar::missing(root, &cifar::CIFAR10),
        load: |root, _, _| cifar::load(root, &cifar::CIFAR10),
        parts: false,
    },
    Builtin {
        name: "cifar100",
        summary: "CIFAR-100, 50,000 + 10,000 images, 100 classes, 32x32 RGB; from its binary version or an import",
        how_to_get: cifar::CIFAR100.how_to_get,
        missing: |root| cifar::missing(root, &cifar::CIFAR100),
        load: |root, _, _| cifar::load(root, &cifar::CIFAR100),
        parts: false,
    },
    Builtin {
        name: "stl10",
        summary: "STL-10, 5,000 + 8,000 images, 10 classes, 96x96 RGB, and 100,000 without labels; from its binary version",
        how_to_get: stl10::HOW_TO_GET,
        missing: stl10::missing,
        load: |root, config, _| stl10::load(root, config.split, config.fold),
        parts: true,
    },
    Builtin {
        name: "tiny_imagenet",
        summary: "Tiny ImageNet, 100,000 + 10,000 images, 200 classes, 64x64 RGB; from an import of its archive",
        how_to_get: tiny_imagenet::HOW_TO_GET,
        missing: tiny_imagenet::missing,
        load: |root, _, _| Err(tiny_imagenet::not_imported(root)),
        parts: false,
    },
    Builtin {
        name: "toy",
        summary: "coloured gratings made on the spot from the run's seed; its size is set in the recipe (data.toy)",
        how_to_get: "nothing to do",
        missing: |_| None,
        load: |_, config, streams| toy::load(&config.toy, streams),
        parts: false,
    },
];

/// Names that an import may not take: these sets need no files.
pub(crate) fn is_reserved(name: &str) -> bool {
    matches!(name, "fashion-mini" | "toy")
}

impl Builtin {
    pub(crate) fn named(name: &str) -> Option<&'static Builtin> {
        BUILTIN.iter().find(|set| set.name == name)
    }

    /// The files that are not there, if any.
    pub(crate) fn absent(&self, root: &Path) -> Option<Absent> {
        (self.missing)(root)
    }
}

/// Reads the dataset named in `config`: a packed file of that name first, else the built-in source.
pub(crate) fn open(config: &DataConfig, streams: Streams) -> Result<Source> {
    let (name, root) = (&config.name, &config.root);
    check_name("data.name", name)?;
    let file = packed::path(root, name);
    if !is_reserved(name) && file.exists() {
        check_parts(config, false)?;
        return packed::load(&file, name);
    }
    let Some(set) = Builtin::named(name) else {
        return Err(unknown(name, root));
    };
    check_parts(config, set.parts)?;
    if let Some(Absent { folder, expected }) = set.absent(root) {
        let how_to_get = set.how_to_get.into();
        return Err(Error::Missing { name: name.clone(), folder, expected, how_to_get });
    }
    (set.load)(root, config, streams)
}

/// Refuses `data.split` and `data.fold` for a dataset that has neither images without labels nor folds.
fn check_parts(config: &DataConfig, has_parts: bool) -> Result<()> {
    let having = || -> Vec<&str> { BUILTIN.iter().filter(|set| set.parts).map(|set| set.name).collect() };
    let name = &config.name;
    if !has_parts && !config.split.labelled() {
        let wanted = format!(
            "Train: `{name}` has no images without labels ({} has, in the files that it is published in)",
            having().join(", ")
        );
        return Err(setting("data.split", config.split, &wanted));
    }
    if let Some(fold) = config.fold.filter(|_| !has_parts) {
        let wanted = format!("None: `{name}` has no folds ({} has)", having().join(", "));
        return Err(setting("data.fold", fold, &wanted));
    }
    Ok(())
}

/// Every name that `data.name` may have.
pub(crate) fn known_names(root: &Path) -> Vec<String> {
    let mut names: Vec<String> = BUILTIN.iter().map(|set| set.name.to_owned()).collect();
    names.extend(packed::names(root).into_iter().filter(|name| Builtin::named(name).is_none()));
    names.extend(crate::stream::names(root));
    // A folder whose images were imported too is one dataset.
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

pub(crate) fn unknown(name: &str, root: &Path) -> Error {
    let known = known_names(root);
    let hint = did_you_mean(name, known.iter().map(String::as_str));
    Error::Unknown { name: name.into(), known: known.join(", "), hint }
}

/// The first `len` bytes of a file, mapped into memory: pages are read when they are needed, and shared by all processes.
pub(crate) fn mapped(path: &Path, len: u64) -> Result<Tensor> {
    let text = path.to_str().ok_or_else(|| {
        Malformed::new("the path is not valid UTF-8", "a path in UTF-8").within(path, "rename the folder")
    })?;
    Ok(Tensor::f_from_file(text, false, len as i64, (Kind::Uint8, Device::Cpu))?)
}

/// A raw file, read whole after its size was found sane.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    /// The largest raw file of the formats read here has 180 MB.
    const MOST: u64 = 2 << 30;
    let file = File::open(path).at("open", path)?;
    let len = file.metadata().at("read", path)?.len();
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).at("read", path)?;
    if bytes.len() as u64 == MOST {
        return Err(Error::Malformed {
            path: path.to_owned(),
            problem: format!("the file has {len} bytes"),
            expected: "less than 2 GiB".into(),
            remedy: "check that it is the file it should be".into(),
        });
    }
    Ok(bytes)
}

pub(crate) fn class_names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}
