//! Which class and split each file belongs to.

use std::collections::BTreeSet;
use std::path::Path;

use super::decode::Planar;
use super::decoded::Decoded;
use super::layout::{Arranged, Layout, Numbering, is_test, split_of};
use super::place::{Folders, Placed, decoded_only, layout_error};
use super::unlabelled::{has_no_class, without_labels};
use crate::error::setting;
use crate::{Error, Result, Split};

/// Sorts decoded files into classes and splits.
pub(super) fn arrange(
    source: &Path,
    files: Vec<Decoded>,
    layouts: &[&'static dyn Layout],
    unlabelled: bool,
    test_per_class: usize,
) -> Result<Arranged> {
    let mut skipped = Vec::new();
    let (mut files, hidden): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| !file.hidden());
    skipped.extend(hidden.iter().map(|file| (file.name(), "a hidden file".to_owned())));

    let mut listed: Option<Box<dyn Numbering>> = None;
    for layout in layouts.iter().filter(|_| !unlabelled) {
        listed = listed.or(layout.understand(source, &mut files, &mut skipped)?);
    }
    let layout = Folders::of(files.iter().map(|file| file.parts.as_slice()));
    if unlabelled || listed.is_none() && has_no_class(&files, layout) {
        return without_labels(source, files, skipped, test_per_class);
    }
    let mut placed = Vec::with_capacity(files.len());
    for file in files {
        match place(file, layout) {
            Ok(file) => placed.push(file),
            Err((name, why)) => skipped.push((name, why.into())),
        }
    }
    drop_second_test_split(&mut placed, layout, &mut skipped);
    let classes: BTreeSet<(bool, String)> = match listed {
        Some(_) => BTreeSet::new(),
        None => placed.iter().map(|file| (file.split == Split::Test, file.class.clone())).collect(),
    };
    let placed = decoded_only(source, placed, &mut skipped)?;
    for (test, class) in classes {
        let is_its =
            |(file, _): &(Placed, Planar)| file.class == class && (file.split == Split::Test) == test;
        if !placed.is_empty() && !placed.iter().any(is_its) {
            return Err(empty_class(source, &class, &skipped));
        }
    }
    let mut arranged = label(source, placed, &mut skipped)?;
    if let Some(classes) = listed {
        classes.number(source, &mut arranged)?;
    }
    let problem = match layout.splits {
        true => "it has a training split and no test split",
        false => "it has class folders and no `train` and `test` folders above them",
    };
    hold_out(source, &mut arranged, problem, test_per_class)?;
    skipped.sort();
    Ok(Arranged { skipped, ..arranged })
}

/// A file's place, or its name and why it has none.
fn place(file: Decoded, layout: Folders) -> Result<Placed, (String, &'static str)> {
    let at = layout.class_at();
    if file.parts.len() < at + 2 {
        return Err((file.name(), "not in a class folder"));
    }
    let split = match layout.splits {
        true => split_of(&file.parts[layout.above]),
        false => Some(Split::Train),
    };
    match split {
        Some(split) => {
            let class = file.class.clone().unwrap_or_else(|| file.parts[at].clone());
            Ok(Placed { split, class, file })
        }
        None => Err((file.name(), "neither in a training nor in a test folder")),
    }
}

/// With both `test` and `val`, `test` is the test split.
fn drop_second_test_split(placed: &mut Vec<Placed>, layout: Folders, skipped: &mut Vec<(String, String)>) {
    if !layout.splits {
        return;
    }
    let named_test = |file: &Placed| is_test(&file.file.parts[layout.above]);
    if placed.iter().any(named_test) {
        placed.retain(|file| {
            let kept = file.split == Split::Train || named_test(file);
            if !kept {
                skipped
                    .push((file.file.name(), "a validation image, and the set has a `test` folder".into()));
            }
            kept
        });
    }
}

/// Nothing of a class can be read.
fn empty_class(source: &Path, class: &str, skipped: &[(String, String)]) -> Error {
    let of_class = |(file, _): &&(String, String)| file.split('/').any(|part| part == class);
    let why = skipped.iter().filter(of_class).map(|(file, why)| format!(" ({file}: {why})")).next_back();
    let problem =
        format!("class folder `{class}` holds no image that can be read{}", why.unwrap_or_default());
    layout_error(source, problem, "fill the folder or remove it")
}

const WANTED: &str = "expected `train/CLASS/IMAGE` and `test/CLASS/IMAGE`, or `CLASS/IMAGE` with `--test-per-class N`, or any images with \
     `--unlabelled`";

/// Numbers the classes and forms the splits.
fn label(source: &Path, images: Vec<(Placed, Planar)>, skipped: &mut [(String, String)]) -> Result<Arranged> {
    let Some((_, image)) = images.first() else {
        let files = skipped.len();
        return Err(layout_error(
            source,
            format!("no image in a class folder, and {files} other files"),
            WANTED,
        ));
    };
    let (height, width) = image.size;
    let classes = |split| -> BTreeSet<&String> {
        images.iter().filter(|(file, _)| file.split == split).map(|(file, _)| &file.class).collect()
    };
    let (train, test) = (classes(Split::Train), classes(Split::Test));
    if train.is_empty() {
        return Err(layout_error(source, "it has test images but no training images".into(), WANTED));
    }
    if let Some(class) = test.difference(&train).next() {
        let problem = format!("class `{class}` has test images but no training images");
        return Err(layout_error(source, problem, "give both splits the same class folders"));
    }
    if !(2..=65_536).contains(&train.len()) {
        let problem = format!("it has {} class folders, 2 to 65536 are needed", train.len());
        return Err(layout_error(source, problem, WANTED));
    }
    for class in train.difference(&test).filter(|_| !test.is_empty()) {
        tracing::warn!(class = class.as_str(), "the class has no test image");
    }
    let class_names: Vec<String> = train.into_iter().cloned().collect();
    let mut arranged =
        Arranged { class_names, height, width, train: Vec::new(), test: Vec::new(), skipped: Vec::new() };
    for (Placed { split, class, .. }, image) in images {
        // Found: every class of either split is one of training.
        let label = arranged.class_names.binary_search(&class).unwrap_or_default() as u16;
        match split {
            Split::Train | Split::Labelled => arranged.train.push((label, image)),
            Split::Test => arranged.test.push((label, image)),
        }
    }
    // Sorted by path; by class also where two folders (`train`, `training`) share one.
    arranged.train.sort_by_key(|(label, _)| *label);
    arranged.test.sort_by_key(|(label, _)| *label);
    Ok(arranged)
}

/// Moves the last images of each class to the test split, where the source has none, which is a problem otherwise.
pub(super) fn hold_out(source: &Path, set: &mut Arranged, problem: &str, per_class: usize) -> Result<()> {
    match (set.test.is_empty(), per_class) {
        (false, 0) => return Ok(()),
        (false, n) => {
            return Err(setting("--test-per-class", n, "0, as the source has test images of its own"));
        }
        (true, 0) => {
            let remedy = "hold out the last N images of each class, by name, with `--test-per-class N`, or import all of them \
                          without labels with `--unlabelled`";
            return Err(layout_error(source, problem.into(), remedy));
        }
        (true, _) => {}
    }
    let all = std::mem::take(&mut set.train);
    let mut counts = vec![0_usize; set.class_names.len()];
    all.iter().for_each(|(label, _)| counts[usize::from(*label)] += 1);
    if let Some(class) = counts.iter().position(|&count| count <= per_class) {
        let problem = format!("class `{}` has only {} images", set.class_names[class], counts[class]);
        return Err(layout_error(source, problem, "choose a smaller `--test-per-class`"));
    }
    // Each count now becomes the number of training images still to come.
    counts.iter_mut().for_each(|count| *count -= per_class);
    for (label, image) in all {
        match counts[usize::from(label)].checked_sub(1) {
            Some(left) => {
                counts[usize::from(label)] = left;
                set.train.push((label, image));
            }
            None => set.test.push((label, image)),
        }
    }
    Ok(())
}
