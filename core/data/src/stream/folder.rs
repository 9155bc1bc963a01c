//! A folder of images as a dataset: `<root>/<name>/train/<class>/<files>` and `val` or `test` beside `train`.
//!
//! Classes are numbered in the order of their names, files sorted by name within their class; files below a class folder
//! belong to it at any depth. Opening lists names and reads no image.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use admix_torch::Tensor;
use rayon::prelude::*;

use super::files::{Files, Reading};
use super::left_out::{LeftOut, Real};
use crate::error::{At, check_name, setting};
use crate::import::layout::{is_test, split_of};
use crate::info::IMAGENET;
use crate::source::{Part, Source};
use crate::{Error, Info, Result, Split, TrainSplit};

const WANTED: &str = "expected `train/CLASS/IMAGE` and `val/CLASS/IMAGE` (or `test/CLASS/IMAGE`), as JPEG, PNG, WebP, BMP, TIFF or GIF";
/// Names of files that are looked at; what they are, their content says.
const SUFFIXES: [&str; 10] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "tif", "tiff", "gif"];
/// Folders below a class folder that are entered; links could lead round in a circle.
const DEPTH: usize = 8;

/// A folder that was listed.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
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
            // Two split folders: what else lies about in a data folder is not meant.
            let splits = splits(&root.join(name)).unwrap_or_default();
            splits.contains_key("train") && splits.len() > 1
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

/// Also where a link leads to one.
fn is_folder(entry: &DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
        Ok(kind) => kind.is_dir(),
        Err(_) => false,
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn hidden(name: &str) -> bool {
    name.starts_with('.') || name == "__MACOSX"
}

fn refused(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::Layout { path: path.into(), problem: problem.into(), remedy: remedy.into() }
}

/// Class folders of a split with their files, sorted.
struct Listed {
    root: PathBuf,
    classes: Vec<(String, Vec<Box<Path>>)>,
    left_out: LeftOut,
    /// Whether a link led to a file or to a folder of a class.
    linked: bool,
}

/// The files of a class.
#[derive(Default)]
struct Below {
    files: Vec<Box<Path>>,
    left_out: LeftOut,
    linked: bool,
    /// Real folders on the way down: a link to one of them leads round in a circle.
    above: Vec<PathBuf>,
}

impl Listed {
    fn read(root: PathBuf) -> Result<Self> {
        let (mut names, mut left_out, mut linked) = (Vec::new(), LeftOut::default(), false);
        for entry in fs::read_dir(&root).at("read", &root)? {
            let entry = entry.at("read", &root)?;
            if !is_folder(&entry) {
                if !entry.file_name().to_str().is_some_and(hidden) {
                    left_out.add("not in a class folder", entry.path());
                }
                continue;
            }
            linked |= is_link(&entry);
            let name = entry.file_name().into_string().map_err(|name| {
                let problem = format!("the name of class folder {} is not UTF-8", name.display());
                refused(&root, problem, "rename it")
            })?;
            if !hidden(&name) {
                names.push(name);
            }
        }
        names.sort();
        let list = |name: String| {
            let mut found = Below::default();
            below(&root, Path::new(&name), DEPTH, &mut found)?;
            found.files.sort();
            Ok((name, found))
        };
        let mut classes = Vec::new();
        for (name, found) in names.into_par_iter().map(list).collect::<Result<Vec<_>>>()? {
            left_out.merge(found.left_out);
            linked |= found.linked;
            classes.push((name, found.files));
        }
        Ok(Self { root, classes, left_out, linked })
    }

    fn files(&self) -> usize {
        self.classes.iter().map(|(_, files)| files.len()).sum()
    }

    /// Leaves out files that are the same real file as one before.
    fn each_once(&mut self, real: &mut Real) {
        for (_, files) in &mut self.classes {
            files.retain(|file| {
                let path = self.root.join(file);
                let before = real.before(&path);
                if before.is_some() {
                    self.left_out.add("links to a file that is listed already", path);
                }
                before.is_none()
            });
        }
    }

    /// Warns of files that are in training too.
    fn warn_of_training(&self, real: &mut Real) {
        let files = self.classes.iter().flat_map(|(_, files)| files).map(|file| self.root.join(file));
        let shared: Vec<(PathBuf, PathBuf)> =
            files.filter_map(|path| real.before(&path).map(|before| (path, before))).collect();
        if let Some((path, before)) = shared.first() {
            let count = shared.len();
            let (path, before) = (path.display(), before.display());
            tracing::warn!("{count} test images are training images too: {path} is the file {before}");
        }
    }

    /// With the label of each class, by name.
    fn labelled(self, reading: Reading, label: impl Fn(&str) -> i64) -> Files {
        let mut all = Files {
            labels: Vec::with_capacity(self.files()),
            paths: Vec::with_capacity(self.files()),
            root: self.root,
            reading,
            found: Arc::default(),
        };
        for (name, files) in self.classes {
            let number = label(&name);
            all.labels.extend(files.iter().map(|_| number));
            all.paths.extend(files);
        }
        all
    }
}

fn is_link(entry: &DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_symlink())
}

/// Adds the image files below a folder, as paths from `root`.
fn below(root: &Path, folder: &Path, depth: usize, found: &mut Below) -> Result<()> {
    let whole = root.join(folder);
    found.above.push(fs::canonicalize(&whole).at("read", &whole)?);
    for entry in fs::read_dir(&whole).at("read", &whole)? {
        let entry = entry.at("read", &whole)?;
        let (name, path) = (entry.file_name(), folder.join(entry.file_name()));
        if name.to_str().is_some_and(hidden) {
            continue;
        }
        found.linked |= is_link(&entry);
        if is_folder(&entry) {
            let circle = is_link(&entry)
                && fs::canonicalize(entry.path()).is_ok_and(|real| found.above.contains(&real));
            match circle || depth == 0 {
                true => found
                    .left_out
                    .add("a folder that a link leads back to, or one that lies too deep", entry.path()),
                false => below(root, &path, depth - 1, found)?,
            }
            continue;
        }
        let suffix = path.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
        if !SUFFIXES.iter().any(|known| suffix.eq_ignore_ascii_case(known)) {
            found
                .left_out
                .add(format!("`.{suffix}` is not the suffix of a picture that is read"), entry.path());
        } else if !is_file(&entry) {
            found.left_out.add("no ordinary file", entry.path());
        } else {
            found.files.push(path.into_boxed_path());
        }
    }
    found.above.pop();
    Ok(())
}

/// Also where a link leads to one. Pipes and devices are none: reading them may never end.
fn is_file(entry: &DirEntry) -> bool {
    match entry.file_type() {
        // A link that leads nowhere is a missing file, which reading names.
        Ok(kind) if kind.is_symlink() => fs::metadata(entry.path()).map_or(true, |meta| meta.is_file()),
        Ok(kind) => kind.is_file(),
        Err(_) => true,
    }
}

impl Folder {
    /// Lists a folder.
    ///
    /// # Errors
    /// There is no training or no test split, a split has no class or no image, a class has no training image, or the
    /// folder cannot be read.
    pub(crate) fn open(path: &Path, reading: Reading) -> Result<Self> {
        let mut splits = splits(path)?;
        let Some(train) = splits.remove("train") else {
            return Err(refused(path, "it has no `train` folder", WANTED));
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
            return Err(refused(path, "it has no `val` and no `test` folder", WANTED));
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

    /// What is known of it, with images of this size.
    pub(crate) fn info(&self, name: &str, (height, width): (i64, i64)) -> Info {
        Info {
            name: name.into(),
            classes: self.class_names.len(),
            class_names: self.class_names.clone(),
            channels: 3,
            height,
            width,
            mean: IMAGENET.mean.to_vec(),
            std: IMAGENET.std.to_vec(),
            train: self.train.len(),
            test: self.test.len(),
            unlabelled: 0,
            split: TrainSplit::Train,
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
            let pixels = Tensor::f_from_slice(&pixels)?.f_view([files.len() as i64, 3, *height, *width])?;
            parts.push(Part { labels: files.labels.clone(), pixels });
        }
        let size = first.map_or((0, 0), |(_, size)| size);
        let [train, test] =
            <[Part; 2]>::try_from(parts).map_err(|_| refused(&self.path, "it has no two splits", WANTED))?;
        Ok(Source { info: self.info(name, size), train, test, unlabelled: None })
    }
}
