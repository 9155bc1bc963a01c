//! A folder of images as a dataset: `<root>/<name>/train/<class>/<files>` and `val` or `test` beside `train`.
//!
//! Classes are numbered in the order of their names, files sorted by name within their class; files below a class folder
//! belong to it at any depth. Pictures without class folders, in `train` or where there is no split folder, are a set
//! without labels; so are all pictures of any layout where the recipe wants it. Lists may say which files there are
//! instead. Opening lists names and reads no image.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use admix_torch::Tensor;

use super::files::{Files, Reading};
use super::left_out::Real;
use super::listed::{Listed, hidden, is_folder, refused};
use crate::error::{At, check_name, setting};
use crate::import::layout::{is_test, split_of};
use crate::import::suffix::is_picture;
use crate::info::photographs;
use crate::list::{Lists, Member};
use crate::named;
use crate::source::{ImageFiles, Part, Source};
use crate::{Info, Result, Split, TrainSplit};

const WANTED: &str = "expected `train/CLASS/IMAGE` and `val/CLASS/IMAGE` (or `test/CLASS/IMAGE`), as JPEG, PNG, WebP, BMP, TIFF or GIF";
const NO_LABELS: &str = "train on the images without labels, `data: (split: Unlabelled)`";

/// What is wanted of a folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub reading: Reading,
    /// Take the training images without labels, whatever folders they lie in.
    pub unlabelled: bool,
    /// Lists of the training and of the test images, relative to the folder.
    pub lists: Option<(PathBuf, Option<PathBuf>)>,
}

/// A folder that was listed.
#[derive(Debug)]
pub(crate) struct Folder {
    pub path: PathBuf,
    /// Empty where the images have no labels.
    pub class_names: Vec<String>,
    pub train: Files,
    pub test: Files,
}

/// Names of all folders of images in `root`, sorted.
pub(crate) fn names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().to_str().map(str::to_owned))
        .filter(|name| check_name("NAME", name).is_ok())
        .filter(|name| {
            // Two split folders, or pictures on their own: what else lies about in a data folder is not meant.
            let path = root.join(name);
            let splits = splits(&path).unwrap_or_default();
            splits.contains_key("train") && splits.len() > 1 || is_flat(splits.get("train").unwrap_or(&path))
        })
        .collect();
    names.sort();
    names
}

/// The folders of the splits, as "train", "test" and "val".
fn splits(path: &Path) -> Result<BTreeMap<&'static str, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).at("read", path)? {
        let entry = entry.at("read", path)?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|_| is_folder(&entry)) else { continue };
        let kind = match split_of(name) {
            Some(Split::Train | Split::Labelled) => "train",
            Some(Split::Test) if is_test(name) => "test",
            Some(Split::Test) => "val",
            None => continue,
        };
        if let Some(other) = found.insert(kind, entry.path()) {
            let problem = format!("both `{}` and `{name}` are there", name_of(&other));
            return Err(refused(path, problem, "keep one of the two folders"));
        }
    }
    Ok(found)
}

/// Whether there are pictures and no folder: no class folder, then.
fn is_flat(folder: &Path) -> bool {
    let mut pictures = false;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        match name.to_str().is_some_and(hidden) {
            true => {}
            false if is_folder(&entry) => return false,
            false => pictures |= is_picture(Path::new(&name)),
        }
    }
    pictures
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Folder {
    /// Lists a folder.
    ///
    /// # Errors
    /// There is no training or no test split, a split has no class or no image, a class has no training image, or the
    /// folder cannot be read.
    pub(crate) fn open(path: &Path, asked: &Asked) -> Result<Self> {
        let reading = asked.reading;
        if let Some((train, test)) = &asked.lists {
            let test = test.as_ref().map(|test| path.join(test));
            let train = path.join(train);
            let lists = Lists::read(&train, test.as_deref())?;
            named::all_there(&lists, &train, test.as_deref())?;
            named::warn_of_training(&lists);
            return Ok(Self::listed(path, lists, asked));
        }
        let mut splits = splits(path)?;
        let train = splits.remove("train");
        let pictures = train.as_deref().unwrap_or(path);
        let flat = is_flat(pictures);
        if asked.unlabelled || flat {
            if !asked.unlabelled
                && let Some(other) = splits.values().next()
            {
                let (other, pictures) = (other.display(), pictures.display());
                tracing::warn!("{other} is not read: the images in {pictures} have no labels");
            }
            return Self::unlabelled(path, pictures, reading);
        }
        let Some(train) = train else {
            let remedy = format!("{WANTED}; or {NO_LABELS}");
            return Err(refused(path, "it has no `train` folder", remedy));
        };
        let mut train = Listed::read(train)?;
        let mut real = Real::default();
        if train.linked {
            train.each_once(&mut real);
        }
        train.left_out.tell(&train.root);
        if train.classes.is_empty() {
            return Err(refused(&train.root, "it has no class folder", WANTED));
        }
        if let Some((name, _)) = train.classes.iter().find(|(_, files)| files.is_empty()) {
            let problem = format!("class folder `{name}` holds no file with the name of a picture");
            return Err(refused(&train.root, problem, "fill it or remove it"));
        }
        if !(2..=65_536).contains(&train.classes.len()) {
            let problem = format!("it has {} class folders, 2 to 65536 are needed", train.classes.len());
            return Err(refused(&train.root, problem, WANTED));
        }
        // ImageNet's `test` has no labels, and so no class folders: then `val` is meant.
        let given = [splits.remove("test"), splits.remove("val")];
        let listed = given.into_iter().flatten().map(Listed::read).collect::<Result<Vec<_>>>()?;
        let Some(any) = listed.first().map(|test| test.root.clone()) else {
            let remedy = format!("{WANTED}; or {NO_LABELS}");
            return Err(refused(path, "it has no `val` and no `test` folder", remedy));
        };
        let Some(test) = listed.into_iter().find(|test| test.files() > 0) else {
            return Err(refused(&any, "it has no image in a class folder", WANTED));
        };
        test.left_out.tell(&test.root);
        if train.linked || test.linked {
            if !train.linked {
                train.each_once(&mut real);
            }
            test.warn_of_training(&mut real);
        }
        let class_names: Vec<String> = train.classes.iter().map(|(name, _)| name.clone()).collect();
        if let Some((name, _)) =
            test.classes.iter().find(|(name, _)| class_names.binary_search(name).is_err())
        {
            let problem = format!("class folder `{name}` is not in {}", train.root.display());
            return Err(refused(&test.root, problem, "give both splits the same class folders"));
        }
        for name in &class_names {
            let has = |(other, files): &(String, Vec<_>)| other == name && !files.is_empty();
            if !test.classes.iter().any(has) {
                tracing::warn!(class = name.as_str(), "the class has no test image");
            }
        }
        // Found: every class of either split is one of training.
        let label =
            |name: &str| class_names.binary_search_by(|own| own.as_str().cmp(name)).unwrap_or(0) as i64;
        let (train, test) = (train.labelled(reading, label), test.labelled(reading, label));
        Ok(Self { path: path.into(), class_names, train, test })
    }

    /// The files of a dataset that is known by its name.
    pub(crate) fn of(pictures: ImageFiles, asked: &Asked) -> Self {
        let ImageFiles { folder, class_names, train, test, strip } = pictures;
        let members = |mut files: Vec<(String, u16)>| -> Vec<Member> {
            files.sort_by_key(|(_, label)| *label);
            files.into_iter().map(|(path, label)| (path, Some(label))).collect()
        };
        let (train, test) = (members(train), members(test));
        let lists = Lists { class_names, roots: [folder.clone(), folder.clone()], train, test };
        let asked = Asked { reading: Reading { strip, ..asked.reading }, ..asked.clone() };
        Self::listed(&folder, lists, &asked)
    }

    /// All pictures below a folder, without labels.
    fn unlabelled(path: &Path, pictures: &Path, reading: Reading) -> Result<Self> {
        let mut train = Listed::pictures(pictures.into())?;
        if train.linked {
            train.each_once(&mut Real::default());
        }
        train.left_out.tell(&train.root);
        if train.files() == 0 {
            return Err(refused(pictures, "it holds no file with the name of a picture", WANTED));
        }
        let train = train.labelled(reading, |_| -1);
        let test = train.select(&[]);
        Ok(Self { path: path.into(), class_names: Vec::new(), train, test })
    }

    /// The files that lists name.
    fn listed(path: &Path, lists: Lists, asked: &Asked) -> Self {
        let Lists { class_names, roots: [train_root, test_root], train, test } = lists;
        let files = |root: PathBuf, members: Vec<Member>| {
            let label = |label: Option<u16>| label.filter(|_| !asked.unlabelled).map_or(-1, i64::from);
            let (labels, paths) = members
                .into_iter()
                .map(|(path, number)| (label(number), PathBuf::from(path).into_boxed_path()))
                .unzip();
            Files { root, labels, paths, reading: asked.reading, found: Arc::default() }
        };
        let (class_names, test) = match asked.unlabelled {
            true => (Vec::new(), Vec::new()),
            false => (class_names, test),
        };
        Self { path: path.into(), class_names, train: files(train_root, train), test: files(test_root, test) }
    }

    /// What is known of it, with images of this size.
    pub(crate) fn info(&self, name: &str, (height, width): (i64, i64)) -> Info {
        let channels = self.train.reading.channels;
        let normalisation = photographs(channels);
        Info {
            name: name.into(),
            classes: self.class_names.len(),
            class_names: self.class_names.clone(),
            channels: channels.count(),
            height,
            width,
            mean: normalisation.mean.to_vec(),
            std: normalisation.std.to_vec(),
            train: self.train.len(),
            test: self.test.len(),
            unlabelled: 0,
            split: TrainSplit::of_classes(self.class_names.len()),
            source: format!("the images in {}", self.path.display()),
        }
    }

    /// Decodes every file and counts the bytes of all pixels.
    ///
    /// # Errors
    /// A file is broken: the first of them, and how many there are.
    pub(crate) fn verify(&self) -> Result<u64> {
        let (mut bytes, mut faults) = (0, Vec::new());
        for files in [&self.train, &self.test] {
            // In parts: the images of a large set do not fit into memory.
            for start in (0..files.len()).step_by(4096) {
                let keep: Vec<i64> = (start..files.len().min(start + 4096)).map(|at| at as i64).collect();
                for image in files.select(&keep).decoded() {
                    match image {
                        Ok(image) => bytes += image.pixels.len() as u64,
                        Err(fault) => faults.push(fault),
                    }
                }
            }
        }
        for fault in faults.iter().skip(1) {
            tracing::warn!("{fault}");
        }
        let more = faults.len().saturating_sub(1);
        match faults.into_iter().next() {
            None => Ok(bytes),
            Some(fault) if more == 0 => Err(fault.into()),
            Some(fault) => Err(fault.among(more)),
        }
    }

    /// All images in memory.
    ///
    /// # Errors
    /// A file is broken, images differ in size, or they are too many.
    pub(crate) fn load(&self, name: &str) -> Result<Source> {
        /// As many as an import takes.
        const MOST: u64 = 64 << 30;
        let mut first: Option<(PathBuf, (i64, i64))> = None;
        let mut parts = Vec::new();
        for files in [&self.train, &self.test] {
            let mut pixels = Vec::new();
            for (at, image) in files.decoded().into_iter().enumerate() {
                let image = image?;
                let (path, size) = first.get_or_insert_with(|| (files.path(at), image.size));
                if *size != image.size {
                    let shown = |path: &Path, size: (i64, i64)| {
                        format!("{} is {}x{}", path.display(), size.0, size.1)
                    };
                    let (one, other) = (shown(path, *size), shown(&files.path(at), image.size));
                    let wanted =
                        format!("Stream, as the images differ in size: {one}, {other} (height x width)");
                    return Err(setting("data.storage", "Device", &wanted));
                }
                pixels.extend_from_slice(&image.pixels);
                if pixels.len() as u64 > MOST {
                    return Err(setting("data.storage", "Device", "Stream: the pixels are more than 64 GiB"));
                }
            }
            let (_, (height, width)) =
                first.as_ref().ok_or_else(|| refused(&self.path, "it has no image", WANTED))?;
            let pixels = Tensor::f_from_slice(&pixels)?.f_view([
                files.len() as i64,
                files.reading.channels.count(),
                *height,
                *width,
            ])?;
            parts.push(Part { labels: files.labels.clone(), pixels });
        }
        let size = first.map_or((0, 0), |(_, size)| size);
        let [train, test] =
            <[Part; 2]>::try_from(parts).map_err(|_| refused(&self.path, "it has no two splits", WANTED))?;
        Ok(Source { info: self.info(name, size), train, test, unlabelled: None })
    }
}
