//! CIFAR-10 and CIFAR-100 from their binary versions: records of labels and 3072 bytes of planar RGB.

use std::path::{Path, PathBuf};

use super::{Absent, Images, Part, Source, class_names, read_file};
use crate::error::Malformed;
use crate::info::CIFAR;
use crate::{Info, Result, TrainSplit};

const PIXELS: usize = 3 * 32 * 32;

/// One of the two sets.
#[derive(Debug)]
pub struct Cifar {
    name: &'static str,
    folder: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    /// Label bytes before the pixels; the last one is the class (CIFAR-100's first is the superclass).
    label_bytes: usize,
    classes: &'static [&'static str],
    pub(crate) how_to_get: &'static str,
}

/// CIFAR-10.
pub static CIFAR10: Cifar = Cifar {
    name: "cifar10",
    folder: "cifar-10-batches-bin",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: "test_batch.bin",
    label_bytes: 1,
    classes: &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    how_to_get: "`admix data get cifar10`; or download `cifar-10-binary.tar.gz` from the data set's home page and unpack it into the data folder; \
                 or import a folder or archive of its images: `admix data import PATH --name cifar10`",
};

/// CIFAR-100, with its 100 fine labels.
pub static CIFAR100: Cifar = Cifar {
    name: "cifar100",
    folder: "cifar-100-binary",
    train: &["train.bin"],
    test: "test.bin",
    label_bytes: 2,
    classes: &FINE,
    how_to_get: "`admix data get cifar100`; or download `cifar-100-binary.tar.gz` from the data set's home page and unpack it into the data folder; \
                 or import a folder or archive of its images: `admix data import PATH --name cifar100`",
};

#[rustfmt::skip]
const FINE: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
    "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket",
    "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
];

/// Parses one binary file.
///
/// # Errors
/// No whole number of records, or a label out of range.
pub fn parse(bytes: &[u8], set: &Cifar) -> Result<Images, Malformed> {
    let mut images = Images { labels: Vec::new(), pixels: Vec::new() };
    append(bytes, set, &mut images)?;
    Ok(images)
}

fn append(bytes: &[u8], set: &Cifar, images: &mut Images) -> Result<(), Malformed> {
    let record = set.label_bytes + PIXELS;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        let problem = format!("the file has {} bytes", bytes.len());
        return Err(Malformed::new(problem, format!("a multiple of {record} bytes, one record per image")));
    }
    let n = bytes.len() / record;
    images.labels.reserve(n);
    images.pixels.reserve(n * PIXELS);
    for (i, bytes) in bytes.chunks_exact(record).enumerate() {
        let (labels, pixels) = bytes.split_at(set.label_bytes);
        let label = u16::from(labels[set.label_bytes - 1]);
        if usize::from(label) >= set.classes.len() {
            let problem = format!("record {i} has label {label}");
            return Err(Malformed::new(problem, format!("labels below {}", set.classes.len())));
        }
        images.labels.push(label);
        images.pixels.extend_from_slice(pixels);
    }
    Ok(())
}

pub(crate) fn missing(root: &Path, set: &Cifar) -> Option<Absent> {
    let folder = root.join(set.folder);
    let files = set.train.iter().chain([&set.test]);
    let absent: Vec<&str> = files.copied().filter(|name| !folder.join(name).is_file()).collect();
    let expected =
        format!("{}, or the packed file {}.admix in {}", absent.join(", "), set.name, root.display());
    (!absent.is_empty()).then_some(Absent { folder, expected })
}

pub(crate) fn load(root: &Path, set: &Cifar) -> Result<Source> {
    let folder = root.join(set.folder);
    let read = |files: &[&str]| -> Result<Images> {
        let mut images = Images { labels: Vec::new(), pixels: Vec::new() };
        for path in files.iter().map(|name| -> PathBuf { folder.join(name) }) {
            let bytes = read_file(&path)?;
            append(&bytes, set, &mut images).map_err(|error| {
                error.within(&path, "unpack the archive again, or import the images with `admix data import`")
            })?;
        }
        Ok(images)
    };
    let (train, test) = (read(set.train)?, read(&[set.test])?);
    let info = Info {
        name: set.name.into(),
        classes: set.classes.len(),
        class_names: class_names(set.classes),
        channels: 3,
        height: 32,
        width: 32,
        mean: CIFAR.mean.to_vec(),
        std: CIFAR.std.to_vec(),
        train: train.labels.len(),
        test: test.labels.len(),
        unlabelled: 0,
        split: TrainSplit::Train,
        source: format!("binary files in {}", folder.display()),
    };
    Ok(Source {
        train: Part::new(&train, 3, 32, 32)?,
        test: Part::new(&test, 3, 32, 32)?,
        unlabelled: None,
        info,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fine_classes_are_sorted_by_name_as_in_the_original() {
        assert!(FINE.is_sorted());
    }

    #[test]
    fn cifar_100_keeps_the_fine_label() {
        let mut record = vec![7; 2 + PIXELS];
        (record[0], record[1]) = (3, 99);
        assert_eq!(parse(&record, &CIFAR100).expect("one record").labels, [99]);
        record[1] = 100;
        assert!(parse(&record, &CIFAR100).is_err());
    }
}
