//! Which dataset a name stands for: a packed file first, then an entry of the registry, then a folder of images.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use admix_api::{Registry, Streams, did_you_mean};

use crate::config::DataConfig;
use crate::datasets::{Absent, DatasetSource, Wanted, at_defaults};
use crate::error::{check_name, setting};
use crate::packed;
use crate::source::{Contents, Source};
use crate::stream::{self, Folder};
use crate::{Error, Result, TrainSplit};

/// The datasets that can be named: those of a registry, and what lies in a folder.
#[derive(Debug, Clone, Copy)]
pub struct Datasets<'a> {
    pub(crate) root: &'a Path,
    pub(crate) registry: &'a Registry,
}

impl<'a> Datasets<'a> {
    /// The datasets of a registry with their files in `root`.
    pub fn new(root: &'a Path, registry: &'a Registry) -> Self {
        Self { root, registry }
    }

    /// All entries of the registry, by name.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a str, Box<dyn DatasetSource>)> {
        let registry = self.registry;
        let names = registry.names::<dyn DatasetSource>().into_iter();
        names.filter_map(move |name| Some((name, at_defaults(registry, name)?)))
    }

    /// The entry of this very name, with its settings at their defaults.
    pub fn named(&self, name: &str) -> Option<Box<dyn DatasetSource>> {
        at_defaults(self.registry, name)
    }

    /// The entry that a recipe names, with the settings that it gives it.
    pub fn of_recipe(&self, config: &DataConfig) -> Option<Rc<dyn DatasetSource>> {
        config.sets.get(&config.name).or_else(|| self.named(&config.name).map(Rc::from))
    }

    /// Whether nothing else can have this name: that of a set without files.
    pub(crate) fn is_reserved(&self, name: &str) -> bool {
        self.named(name).is_some_and(|set| !set.needs_files())
    }

    /// Whether the name stands for a packed file.
    pub(crate) fn is_packed(&self, name: &str) -> bool {
        !self.is_reserved(name) && packed::path(self.root, name).exists()
    }

    /// Whether the name stands for a folder of images.
    pub(crate) fn is_folder(&self, name: &str) -> bool {
        let free = check_name("data.name", name).is_ok() && self.named(name).is_none();
        free && !packed::path(self.root, name).exists() && self.root.join(name).is_dir()
    }

    /// Whether the name stands for files of images, which are read as they are needed.
    pub(crate) fn is_streamed(&self, name: &str) -> bool {
        let listed = || self.named(name).is_some_and(|set| set.is_streamed());
        self.is_folder(name) || !self.is_packed(name) && listed()
    }

    /// The files of images that a recipe names.
    pub(crate) fn files_of(&self, config: &DataConfig) -> Result<Folder> {
        self.check_parts_of_files(config)?;
        let asked = config.asked();
        if self.is_folder(&config.name) {
            return Folder::open(&self.root.join(&config.name), &asked);
        }
        if let Some(list) = &config.train_list {
            let wanted = format!("its default: `{}` has lists of its own", config.name);
            return Err(setting("data.train_list", list.display(), &wanted));
        }
        let pictures = self.read(config, Streams::new(0))?.files(&config.name)?;
        Ok(Folder::of(pictures, &asked))
    }

    /// Every name that `data.name` may have.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.registry.names::<dyn DatasetSource>().into_iter().map(str::to_owned).collect();
        names.extend(packed::names(self.root));
        names.extend(stream::names(self.root));
        // A folder whose images were imported too is one dataset.
        let mut seen = BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }

    /// Reads the whole dataset that a recipe names into host memory; of a folder, one whose images have one size.
    pub(crate) fn source(&self, config: &DataConfig, streams: Streams) -> Result<Source> {
        let name = &config.name;
        let source = if self.is_streamed(name) {
            self.files_of(config)?.load(name)?
        } else {
            config.for_no_folder()?;
            self.read(config, streams)?.whole(name)?
        };
        if let Some(shorter) = config.test_resize {
            let wanted = format!("None: the images of `{name}` have one size and are measured as they are");
            return Err(setting("data.test_resize", shorter, &wanted));
        }
        Ok(source)
    }

    fn read(&self, config: &DataConfig, streams: Streams) -> Result<Contents> {
        let (name, root) = (&config.name, self.root);
        check_name("data.name", name)?;
        if self.is_packed(name) {
            let path = packed::path(root, name);
            let (_, header) = packed::read_header(&path)?;
            let unlabelled = if header.info.classes == 0 { header.info.train } else { 0 };
            self.check_parts(config, (unlabelled, 0))?;
            return Ok(packed::load(&path, name)?.into());
        }
        let Some(set) = self.of_recipe(config) else {
            return Err(if name == "imagenet" { missing_imagenet(root) } else { self.unknown(name) });
        };
        let about = set.about();
        if !set.is_streamed() {
            self.check_parts(config, (about.unlabelled, about.folds))?;
        }
        if let Some(Absent { folder, expected }) = set.absent(root) {
            let how_to_get = set.how_to_get().into();
            return Err(Error::Missing { name: name.clone(), folder, expected, how_to_get });
        }
        set.load(Wanted { root, split: config.split, fold: config.fold, streams })
    }

    /// Refuses a `data.split` and a `data.fold` that the dataset does not have.
    pub(crate) fn check_parts(&self, config: &DataConfig, (unlabelled, folds): (usize, usize)) -> Result<()> {
        let having = |part: &dyn Fn(&dyn DatasetSource) -> usize| -> String {
            let sets = self.entries().filter(|(_, set)| part(set.as_ref()) > 0);
            sets.map(|(name, _)| name).collect::<Vec<_>>().join(", ")
        };
        let name = &config.name;
        if unlabelled == 0 && !config.split.labelled() {
            let wanted = format!(
                "Train: `{name}` has no images without labels ({} has, in the files that it is published in)",
                having(&|set| set.about().unlabelled)
            );
            return Err(setting("data.split", config.split, &wanted));
        }
        match config.fold {
            Some(fold) if folds == 0 => {
                let wanted =
                    format!("None: `{name}` has no folds ({} has)", having(&|set| set.about().folds));
                Err(setting("data.fold", fold, &wanted))
            }
            Some(fold) if fold >= folds => {
                Err(setting("data.fold", fold, &format!("0 to {}, or None for all images", folds - 1)))
            }
            _ => Ok(()),
        }
    }

    /// The same for a set of files.
    pub(crate) fn check_parts_of_files(&self, config: &DataConfig) -> Result<()> {
        if config.split == TrainSplit::TrainUnlabelled {
            let wanted = "Train, or Unlabelled for all training images of a folder without their labels";
            return Err(setting("data.split", config.split, wanted));
        }
        self.check_parts(config, (1, 0))
    }

    fn unknown(&self, name: &str) -> Error {
        let known = self.names();
        let hint = did_you_mean(name, known.iter().map(String::as_str));
        Error::Unknown { name: name.into(), known: known.join(", "), hint }
    }
}

fn missing_imagenet(root: &Path) -> Error {
    Error::Missing {
        name: "imagenet".into(),
        folder: root.to_owned(),
        expected: "imagenet/train/<class>/*.JPEG and imagenet/val/<class>/*.JPEG".into(),
        how_to_get: "download ILSVRC2012 from https://image-net.org (it needs an account) and unpack the training and \
                     the validation images into one folder for each class"
            .into(),
    }
}
