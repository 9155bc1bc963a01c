//! Where files lie, and which of them are images.

use std::collections::BTreeSet;
use std::path::Path;

use super::archive::EMPTY;
use super::decode::Planar;
use super::decoded::Decoded;
use super::layout::split_of;
use super::suffix::is_picture;
use crate::{Error, Result, Split};

/// Where classes begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Folders {
    /// Folders above the splits, or above the classes: 0 or 1.
    pub above: usize,
    /// Whether there are split folders.
    pub splits: bool,
}

impl Folders {
    /// Finds the layout from the folders of all files.
    pub fn of<'a>(files: impl Iterator<Item = &'a [String]> + Clone) -> Self {
        let folders = files.filter(|parts| parts.len() >= 2);
        let is_split = |name: &String| split_of(name).is_some();
        let tops: BTreeSet<&String> = folders.clone().map(|parts| &parts[0]).collect();
        let inside = tops.len() == 1;
        // A split folder holds class folders; one that holds images is a class (CIFAR-100 has a class `train`).
        let splits_at =
            |above: usize| folders.clone().any(|parts| parts.len() >= above + 3 && is_split(&parts[above]));
        for above in [0, 1] {
            if (above == 0 || inside) && splits_at(above) {
                return Self { above, splits: true };
            }
        }
        let deep = inside
            && folders.clone().any(|parts| parts.len() >= 3)
            && folders.clone().all(|parts| parts.len() >= 3);
        Self { above: usize::from(deep), splits: false }
    }

    /// Index of the class folder.
    pub fn class_at(self) -> usize {
        self.above + usize::from(self.splits)
    }
}

/// A file in its place.
pub(super) struct Placed {
    pub split: Split,
    pub class: String,
    pub file: Decoded,
}

/// Images that decoded, sorted by split, class and name; the others are named in `skipped`.
pub(super) fn decoded_only(
    source: &Path,
    mut placed: Vec<Placed>,
    skipped: &mut Vec<(String, String)>,
) -> Result<Vec<(Placed, Planar)>> {
    let of = placed.len();
    // Stable: of two entries of one name the later one stays, as when an archive is unpacked.
    placed.sort_by(|a, b| a.file.parts.cmp(&b.file.parts));
    let mut images: Vec<(Placed, Planar)> = Vec::with_capacity(of);
    let mut failures = Vec::new();
    for mut file in placed {
        match std::mem::replace(&mut file.file.image, Err(String::new())) {
            Ok(image) => {
                if let Some(double) = images.pop_if(|(before, _)| before.file.parts == file.file.parts) {
                    skipped
                        .push((double.0.file.name(), "twice in the archive; the later one is used".into()));
                }
                images.push((file, image));
            }
            Err(why) => failures.push((file.file.name(), why)),
        }
    }
    // Files beside the pictures, such as annotations, are left out as they are from a streamed folder.
    let counts = |(name, _): &&(String, String)| {
        let path = Path::new(name);
        path.extension().is_none_or(|_| is_picture(path))
            && path.file_name().is_some_and(|name| name != EMPTY)
    };
    let counted: Vec<_> = failures.iter().filter(counts).cloned().collect();
    match images.is_empty() {
        true => few_failures(source, &failures, of)?,
        false => few_failures(source, &counted, images.len() + counted.len())?,
    }
    skipped.append(&mut failures);
    Ok(images)
}

/// Refuses a source of whose files more than half cannot be decoded.
pub(super) fn few_failures(source: &Path, failures: &[(String, String)], of: usize) -> Result<()> {
    match failures.first().cloned() {
        Some((first, why)) if failures.len() * 2 > of => {
            Err(Error::TooManyFailures { path: source.into(), failed: failures.len(), of, first, why })
        }
        _ => Ok(()),
    }
}

pub(super) fn layout_error(source: &Path, problem: String, remedy: &str) -> Error {
    Error::Layout { path: source.into(), problem, remedy: remedy.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(files: &[&str]) -> Folders {
        let files: Vec<Vec<String>> =
            files.iter().map(|f| f.split('/').map(str::to_owned).collect()).collect();
        Folders::of(files.iter().map(Vec::as_slice))
    }

    #[test]
    fn the_layout_is_told_from_folder_names() {
        let table = [
            (&["train/a/1", "test/b/1"][..], Folders { above: 0, splits: true }),
            (&["README", "Training/a/1", "val/b/1"], Folders { above: 0, splits: true }),
            (&["set/train/a/1", "set/test/b/1", "set/README"], Folders { above: 1, splits: true }),
            (&["a/1", "b/1"], Folders { above: 0, splits: false }),
            (&["a/x/1", "b/x/1"], Folders { above: 0, splits: false }),
            (&["set/a/1", "set/b/1"], Folders { above: 1, splits: false }),
            (&["apple/1", "train/1"], Folders { above: 0, splits: false }),
            (&["set/apple/1", "set/train/1"], Folders { above: 1, splits: false }),
            (&["train/train/1", "test/train/1"], Folders { above: 0, splits: true }),
        ];
        for (files, wanted) in table {
            assert_eq!(layout(files), wanted, "{files:?}");
        }
    }
}
