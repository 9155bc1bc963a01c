//! Datasets as a kind of the registry, and what every one of them promises.
//!
//! Promises about images are held against the sets that need no files.

use std::path::Path;

use admix_api::contract::{BUILT, Check, Ledger, Promise, ensure};
use admix_api::{Choice, Kind, Streams};
use serde_json::Value as Json;

use super::kind::{About, DatasetSource, Then, Wanted};
use crate::packed::{self, Picture};
use crate::source::{Part, Source};
use crate::{Info, Result, TrainSplit};

const FACTS: &str = "its facts fit each other";
const WAY: &str = "it says how to get its files";
const ABSENT: &str = "files that are not there are named";
const SIZES: &str = "splits have the sizes that are documented";
const LABELS: &str = "labels are those of its classes";
const SAME: &str = "the same images come in the same order again";
const PACKED: &str = "a packed file holds the same images";

const FILES: &str = "its files are not here";
const PROMISES: &[Promise] = &[
    (FACTS, "its settings were not read"),
    (WAY, "it needs no files"),
    (ABSENT, "its settings were not read"),
    (SIZES, FILES),
    (LABELS, FILES),
    (SAME, FILES),
    (PACKED, FILES),
];

impl Kind for dyn DatasetSource {
    const WORD: &'static str = "dataset";
    const EXAMPLE: &'static str = "Toy(classes: 4)";
    type Config = dyn DatasetSource;
    type Served = ();

    fn promises() -> Vec<Promise> {
        PROMISES.to_vec()
    }

    fn validate(config: &dyn DatasetSource) -> admix_api::Result<()> {
        config.validate()
    }

    fn resolved(config: &dyn DatasetSource) -> Json {
        config.resolved()
    }

    fn check(choice: &Choice<Self>, at: &str, ledger: &mut Ledger) {
        check(choice.config.as_ref(), &choice.plugin, at, ledger);
    }

    fn facts(config: Option<&dyn DatasetSource>) -> admix_api::Result<Vec<(&'static str, Vec<String>)>> {
        let Some(config) = config else { return Ok(Vec::new()) };
        let About { classes, shape: [channels, height, width], train, test, unlabelled, folds, .. } =
            config.about();
        let mut images = vec![format!("{train} for training, {test} for testing")];
        images.extend((unlabelled > 0).then(|| format!("{unlabelled} without labels (data.split)")));
        images.extend((folds > 0).then(|| format!("{folds} folds of the training images (data.fold)")));
        let size = match config.is_streamed() {
            true => format!("{classes} classes, {channels} channels, of many sizes: read as they are needed"),
            false => format!("{classes} classes, {channels} channels, {height}x{width} pixels"),
        };
        Ok(vec![("images", images), ("size", vec![size]), ("to get it", vec![config.how_to_get().into()])])
    }

    fn in_recipe(name: &str, written: &str) -> String {
        // The settings of a set stand at its name, beside the others of `data`.
        match written.split_once('(') {
            Some((_, settings)) if settings != ")" => {
                format!("data: (name: \"{name}\", {name}: ({settings}),")
            }
            _ => format!("data: (name: \"{name}\"),"),
        }
    }
}

/// Every promise of a dataset of this name with these settings.
fn check(set: &dyn DatasetSource, name: &str, at: &str, ledger: &mut Ledger) {
    let mut about = None;
    ledger.holds(BUILT, &at, || {
        about = Some(set.about());
        Ok(())
    });
    let Some(about) = about else { return };
    ledger.holds(FACTS, &at, || facts(&about));
    if set.needs_files() {
        ledger.holds(WAY, &at, || way(set));
    }
    let nowhere = Path::new("no such folder");
    ledger.holds(ABSENT, &at, || {
        let named = set.absent(nowhere).is_some_and(|absent| !absent.expected.is_empty());
        ensure(named == set.needs_files(), || {
            format!("it needs files: {}, it names absent ones: {named}", set.needs_files())
        })
    });
    if set.needs_files() {
        return;
    }
    let load = || -> Result<Source> {
        let streams = Streams::new(5);
        set.load(Wanted { root: nowhere, split: TrainSplit::Train, fold: None, streams })?.whole(name)
    };
    let mut loaded = None;
    ledger.holds(SIZES, &at, || {
        let source = load().map_err(|error| error.to_string())?;
        sizes(&source, &about, name)?;
        loaded = Some(source);
        Ok(())
    });
    let Some(source) = loaded else { return };
    ledger.holds(LABELS, &at, || labels(&source));
    ledger.holds(SAME, &at, || {
        let again = load().map_err(|error| error.to_string())?;
        same("a second reading", &source, &again)
    });
    ledger.holds(PACKED, &at, || {
        let again = through_a_file(&source, name).map_err(|error| error.to_string())?;
        same("its packed file", &source, &again)
    });
}

fn facts(about: &About) -> Check {
    let About { classes, class_names, shape, mean, std, train, test, .. } = about;
    ensure(*classes >= 2, || format!("{classes} classes"))?;
    let named = class_names.is_empty() || class_names.len() == *classes;
    ensure(named, || format!("{} names for {classes} classes", class_names.len()))?;
    ensure(shape.iter().all(|side| *side >= 1), || format!("images of shape {shape:?}"))?;
    let channels = shape[0] as usize;
    let normal = mean.len() == channels && std.len() == channels && std.iter().all(|std| *std > 0.0);
    ensure(normal, || format!("{channels} channels with mean {mean:?} and deviation {std:?}"))?;
    ensure(*train >= 1 && *test >= 1, || format!("{train} training and {test} test images"))
}

fn way(set: &dyn DatasetSource) -> Check {
    ensure(set.how_to_get() != "nothing to do", || "it needs files and says there is nothing to do".into())?;
    let Some(published) = set.published() else { return Ok(()) };
    let address = published.base.starts_with("http") && published.base.ends_with('/');
    ensure(address, || format!("`{}` is not the address of a folder", published.base))?;
    ensure(!published.files.is_empty(), || "it is published without a file".into())?;
    for (file, md5) in published.files {
        let hex = md5.len() == 32 && md5.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
        ensure(hex, || format!("`{md5}` of {file} is no MD5 in lower-case hexadecimal"))?;
    }
    let (Then::Unpack(folder) | Then::Keep(folder)) = published.then else { return Ok(()) };
    let inside = Path::new(folder).components().count() == 1 && !folder.starts_with('.');
    ensure(inside, || format!("`{folder}` is not one folder inside of the data folder"))
}

fn sizes(source: &Source, about: &About, name: &str) -> Check {
    let Info { classes, channels, height, width, train, test, .. } = source.info;
    let found = (classes, [channels, height, width], train, test);
    let told = (about.classes, about.shape, about.train, about.test);
    ensure(found == told, || format!("read {found:?}, documented {told:?}"))?;
    ensure(source.info.name == name, || format!("it calls itself `{}`", source.info.name))?;
    for (split, n) in [(&source.train, train), (&source.test, test)] {
        let wanted = [n as i64, channels, height, width];
        let size = split.pixels.size();
        ensure(size == wanted && split.labels.len() == n, || {
            format!("a split has pixels {size:?} and {} labels, wanted {wanted:?}", split.labels.len())
        })?;
    }
    Ok(())
}

fn labels(source: &Source) -> Check {
    let classes = source.info.classes as i64;
    for split in [&source.train, &source.test] {
        let wrong = split.labels.iter().find(|label| !(0..classes).contains(*label));
        ensure(wrong.is_none(), || format!("label {wrong:?} of {classes} classes"))?;
    }
    let without = source.unlabelled.as_ref().is_none_or(|part| part.labels.iter().all(|label| *label == -1));
    ensure(without, || "an image without a label has one that is not -1".into())
}

fn same(what: &str, one: &Source, other: &Source) -> Check {
    for (split, one, other) in [("training", &one.train, &other.train), ("test", &one.test, &other.test)] {
        let equal = one.labels == other.labels && one.pixels == other.pixels;
        ensure(equal, || format!("{what} gives other {split} images or another order"))?;
    }
    Ok(())
}

/// The set after it was packed.
fn through_a_file(source: &Source, name: &str) -> Result<Source> {
    let bytes = |part: &Part| -> Result<Vec<u8>> { Ok(Vec::try_from(part.pixels.f_reshape([-1])?)?) };
    let (train, test) = (bytes(&source.train)?, bytes(&source.test)?);
    let each = source.info.image_bytes();
    let pictures = |part: &Part, pixels| -> Vec<Picture<'_>> {
        let images = <[u8]>::chunks_exact(pixels, each).zip(&part.labels);
        images.map(|(pixels, label)| Picture { label: *label as u16, pixels }).collect()
    };
    let folder = std::env::temp_dir().join(format!("admix-contract-{}-{name}", std::process::id()));
    let path = packed::path(&folder, name);
    let (train, test) = (pictures(&source.train, &train), pictures(&source.test, &test));
    let read =
        packed::write(&path, &source.info, &train, &test, true).and_then(|_| packed::load(&path, name));
    std::fs::remove_dir_all(&folder).ok();
    read
}
