//! The picture files below a folder, by class.

use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::files::{Files, Reading};
use super::left_out::{LeftOut, Real};
use crate::error::At;
use crate::import::decode;
use crate::import::suffix::is_picture;
use crate::{Error, Result};

/// Folders below a class folder that are entered; links could lead round in a circle.
const DEPTH: usize = 8;

/// Class folders of a split with their files, sorted.
pub(super) struct Listed {
    pub root: PathBuf,
    pub classes: Vec<(String, Vec<Box<Path>>)>,
    pub left_out: LeftOut,
    /// Whether a link led to a file or to a folder of a class.
    pub linked: bool,
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
    pub fn read(root: PathBuf) -> Result<Self> {
        let (mut names, mut left_out) = (Vec::new(), LeftOut::default());
        let mut linked = fs::symlink_metadata(&root).at("read", &root)?.is_symlink();
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

    /// All pictures below a folder as those of one class without a name.
    pub fn pictures(root: PathBuf) -> Result<Self> {
        let mut found = Below::default();
        below(&root, Path::new(""), DEPTH, &mut found)?;
        found.files.sort();
        let Below { files, left_out, linked, .. } = found;
        Ok(Self { root, classes: vec![(String::new(), files)], left_out, linked })
    }

    pub fn files(&self) -> usize {
        self.classes.iter().map(|(_, files)| files.len()).sum()
    }

    /// Leaves out files that are the same real file as one before.
    pub fn each_once(&mut self, real: &mut Real) {
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
    pub fn warn_of_training(&self, real: &mut Real) {
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
    pub fn labelled(self, reading: Reading, label: impl Fn(&str) -> i64) -> Files {
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
        if !is_picture(&path) {
            found.left_out.add(unread(&path), entry.path());
        } else if !is_file(&entry) {
            found.left_out.add("no ordinary file", entry.path());
        } else {
            found.files.push(path.into_boxed_path());
        }
    }
    found.above.pop();
    Ok(())
}

/// Why a file of this name is not read.
fn unread(path: &Path) -> String {
    let suffix = path.extension().unwrap_or_default().to_string_lossy();
    match suffix.to_ascii_lowercase().as_str() {
        "avif" => return decode::AVIF.into(),
        "heic" | "heif" => return decode::HEIC.into(),
        _ => {}
    }
    format!("`.{}` is not the suffix of a picture that is read", suffix.escape_debug())
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

/// Also where a link leads to one.
pub(super) fn is_folder(entry: &DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
        Ok(kind) => kind.is_dir(),
        Err(_) => false,
    }
}

pub(super) fn hidden(name: &str) -> bool {
    name.starts_with('.') || name == "__MACOSX"
}

pub(super) fn refused(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::Layout { path: path.into(), problem: problem.into(), remedy: remedy.into() }
}
