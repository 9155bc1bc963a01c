//! Images that have no class.

use std::collections::BTreeSet;
use std::path::Path;

use super::archive::EMPTY;
use super::decoded::Decoded;
use super::layout::{Arranged, split_of};
use super::place::{Folders, Placed, decoded_only, layout_error};
use super::suffix::is_picture;
use crate::error::setting;
use crate::packed::NO_LABEL;
use crate::{Result, Split};

/// Whether no folder can be one of a class: all images lie side by side, or in the folders of splits.
pub(super) fn has_no_class(files: &[Decoded], layout: Folders) -> bool {
    let real = || files.iter().map(|file| file.parts.as_slice()).filter(|parts| !is_empty(parts));
    let above = real().filter(|parts| parts.len() == 1 && is_picture(Path::new(&parts[0]))).count();
    let folders: BTreeSet<&[String]> =
        real().filter(|parts| parts.len() > 1).map(|parts| &parts[..parts.len() - 1]).collect();
    match folders.len() {
        0 => above > 0,
        _ if layout.splits || above > 0 => false,
        1 => true,
        _ => {
            let split = |folder: &&[String]| folder.last().and_then(|name| split_of(name));
            let depths: BTreeSet<usize> = folders.iter().map(|folder| folder.len()).collect();
            let all = depths.len() == 1 && folders.iter().all(|folder| split(folder).is_some());
            all && folders.iter().any(|folder| split(folder) == Some(Split::Train))
        }
    }
}

fn is_empty(parts: &[String]) -> bool {
    parts.last().is_some_and(|name| name == EMPTY)
}

/// Where the folder of the training split stands in the paths, if there is one.
fn split_at(files: &[Decoded]) -> Option<usize> {
    let names = |at: usize| -> BTreeSet<&String> {
        files.iter().filter(|file| file.parts.len() >= at + 2).map(|file| &file.parts[at]).collect()
    };
    (0..=usize::from(names(0).len() == 1)).find(|at| {
        let names = names(*at);
        let splits: Vec<Split> = names.iter().filter_map(|name| split_of(name)).collect();
        // A folder `train` among others may be one of a class.
        splits.contains(&Split::Train) && (splits.len() == names.len() || splits.contains(&Split::Test))
    })
}

/// All images, or those of the training split, sorted by name; none has a label.
pub(super) fn without_labels(
    source: &Path,
    files: Vec<Decoded>,
    mut skipped: Vec<(String, String)>,
    test_per_class: usize,
) -> Result<Arranged> {
    if test_per_class > 0 {
        return Err(setting("--test-per-class", test_per_class, "0: the images have no classes"));
    }
    let at = split_at(&files);
    let mut placed = Vec::with_capacity(files.len());
    for file in files.into_iter().filter(|file| !is_empty(&file.parts)) {
        let split = at.filter(|at| file.parts.len() >= at + 2).map(|at| split_of(&file.parts[at]));
        match (at, split) {
            (Some(_), Some(Some(Split::Train))) | (None, _) => {
                placed.push(Placed { split: Split::Train, class: String::new(), file });
            }
            _ => skipped.push((file.name(), "not in the training folder, and the set has no labels".into())),
        }
    }
    let images = decoded_only(source, placed, &mut skipped)?;
    let Some((_, first)) = images.first() else {
        let problem = format!("it holds no image, and {} other files", skipped.len());
        return Err(layout_error(source, problem, "name a folder or an archive of images"));
    };
    skipped.sort();
    let (height, width) = first.size;
    let train = images.into_iter().map(|(_, image)| (NO_LABEL, image)).collect();
    Ok(Arranged { class_names: Vec::new(), height, width, train, test: Vec::new(), skipped })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<Decoded> {
        let parts = |name: &&str| name.split('/').map(str::to_owned).collect::<Vec<String>>();
        let file =
            |parts| Decoded { parts, image: Err(String::new()), flaws: Vec::new(), class: None, text: None };
        names.iter().map(parts).map(file).collect()
    }

    #[test]
    fn class_folders_stay_classes_and_anything_else_has_none() {
        for (names, wanted) in [
            (&["1.png", "2.png"][..], true),
            (&["1.png", "old/(no file)"], true),
            (&["photos/1.png", "photos/2.png", "README"], true),
            (&["train/1.png", "val/2.png"], true),
            (&["set/train/1.png", "set/test/2.png"], true),
            (&["a/1.png", "b/2.png"], false),
            (&["apple/1.png", "train/2.png"], false),
            (&["train/a/1.png", "val/a/2.png"], false),
            (&["train/a/1.png"], false),
            (&["1.png", "a/2.png"], false),
            (&["README"], false),
            (&[], false),
        ] {
            let files = files(names);
            let layout = Folders::of(files.iter().map(|file| file.parts.as_slice()));
            assert_eq!(has_no_class(&files, layout), wanted, "{names:?}");
        }
    }

    #[test]
    fn the_training_split_is_found_and_a_class_of_its_name_is_none() {
        for (names, wanted) in [
            (&["train/a/1.png", "val/a/2.png", "devkit/x.txt"][..], Some(0)),
            (&["set/train/1.png", "set/test/2.png"], Some(1)),
            (&["train/1.png"], Some(0)),
            (&["apple/1.png", "train/2.png"], None),
            (&["1.png", "2019/05/2.png"], None),
        ] {
            assert_eq!(split_at(&files(names)), wanted, "{names:?}");
        }
    }
}
