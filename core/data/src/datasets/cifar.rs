//! What CIFAR-10 and CIFAR-100 share: their binary versions are records of labels and 3072 bytes of planar RGB.

use std::path::{Path, PathBuf};

use super::kind::{About, Absent};
use crate::Result;
use crate::error::Malformed;
use crate::info::Normalisation;
use crate::source::{Images, Part, Source, read_file};

const PIXELS: usize = 3 * 32 * 32;

/// Of both sets, as the AMix authors' code has them.
const NORMALISATION: Normalisation =
    Normalisation { mean: &[0.4914, 0.4822, 0.4465], std: &[0.2023, 0.1994, 0.2010] };

/// The files of one of the two sets.
#[derive(Debug)]
pub struct Cifar {
    pub(super) name: &'static str,
    pub(super) folder: &'static str,
    pub(super) train: &'static [&'static str],
    pub(super) test: &'static str,
    /// Label bytes before the pixels; the last one is the class (CIFAR-100's first is the superclass).
    pub(super) label_bytes: usize,
    pub(super) classes: &'static [&'static str],
}

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

impl Cifar {
    pub(super) fn about(&self) -> About {
        About {
            classes: self.classes.len(),
            class_names: self.classes.iter().map(ToString::to_string).collect(),
            shape: [3, 32, 32],
            mean: NORMALISATION.mean.to_vec(),
            std: NORMALISATION.std.to_vec(),
            train: 50_000,
            test: 10_000,
            unlabelled: 0,
            folds: 0,
        }
    }

    pub(super) fn absent(&self, root: &Path) -> Option<Absent> {
        let folder = root.join(self.folder);
        let files = self.train.iter().chain([&self.test]);
        let absent: Vec<&str> = files.copied().filter(|name| !folder.join(name).is_file()).collect();
        let expected =
            format!("{}, or the packed file {}.admix in {}", absent.join(", "), self.name, root.display());
        (!absent.is_empty()).then_some(Absent { folder, expected })
    }

    pub(super) fn load(&self, root: &Path) -> Result<Source> {
        let folder = root.join(self.folder);
        let read = |files: &[&str]| -> Result<Images> {
            let mut images = Images { labels: Vec::new(), pixels: Vec::new() };
            for path in files.iter().map(|name| -> PathBuf { folder.join(name) }) {
                let bytes = read_file(&path)?;
                append(&bytes, self, &mut images).map_err(|error| {
                    error.within(
                        &path,
                        "unpack the archive again, or import the images with `admix data import`",
                    )
                })?;
            }
            Ok(images)
        };
        let (train, test) = (read(self.train)?, read(&[self.test])?);
        let found = (train.labels.len(), test.labels.len());
        let info = self.about().info(self.name, found, format!("binary files in {}", folder.display()));
        Ok(Source {
            train: Part::new(&train, 3, 32, 32)?,
            test: Part::new(&test, 3, 32, 32)?,
            unlabelled: None,
            info,
        })
    }
}
