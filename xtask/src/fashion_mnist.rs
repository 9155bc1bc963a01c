//! `fixtures fashion-mnist`: makes the embedded demo dataset from Debian's package `dataset-fashion-mnist`.
//!
//! The layout of the output is documented in `core/data/assets/README.md`; the decoder is in `core/data`.
//! Same package in, same bytes out: the subset is fixed, and `xz` runs with fixed settings on one thread.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::process::Cmd;
use crate::repo::Repo;
use crate::scratch::Scratch;

/// First bytes of the uncompressed file.
pub const MAGIC: &[u8; 8] = b"ADMIXFM1";
/// Debian's name of the package.
const PACKAGE: &str = "dataset-fashion-mnist";
/// Where the package puts its files.
const FOLDER: &str = "usr/share/datasets/fashion-mnist";
/// Images kept of each class: train, test.
const PER_CLASS: [usize; 2] = [600, 100];
/// Number of classes of the dataset.
const CLASSES: usize = 10;
/// The repository carries the file, so it has a limit.
const MAX_BYTES: u64 = 3_000_000;

/// One split: `labels[i]` belongs to the `i`-th image of `pixels`, each `h * w` bytes, row-major.
#[derive(Debug, PartialEq)]
pub struct Split {
    h: usize,
    w: usize,
    labels: Vec<u8>,
    pixels: Vec<u8>,
}

/// Flags of `fixtures fashion-mnist`.
#[derive(Debug, Args)]
pub struct FashionMnistArgs {
    /// Debian's package; fetched unless given.
    #[arg(long, value_name = "FILE")]
    deb: Option<PathBuf>,
}

/// Makes the dataset.
///
/// # Errors
/// The package cannot be fetched or read.
pub fn run(repo: &Repo, args: &FashionMnistArgs) -> Result<()> {
    let assets = repo.root().join("core/data/assets");
    fs::create_dir_all(&assets).with_context(|| format!("cannot make {}", assets.display()))?;
    let scratch = Scratch::new(&std::env::temp_dir(), "fashion-mnist")?;
    let deb = match &args.deb {
        Some(deb) => deb.clone(),
        None => fetch(scratch.path())?,
    };
    Cmd::new("dpkg-deb").arg("-x").arg(&deb).arg(scratch.path()).run()?;
    let folder = scratch.path().join(FOLDER);
    let train = subset(&read_split(&folder, "train")?, PER_CLASS[0])?;
    let test = subset(&read_split(&folder, "t10k")?, PER_CLASS[1])?;

    let raw = scratch.path().join("fashion-mnist-mini.bin");
    fs::write(&raw, encode(&train, &test)?).with_context(|| format!("cannot write {}", raw.display()))?;
    let xz = [
        "--format=xz",
        "--check=crc64",
        "--threads=1",
        "--lzma2=preset=9e,dict=8MiB,lc=4,lp=0,pb=2",
        "--stdout",
    ];
    let packed = Cmd::new("xz").args(xz).arg(&raw).output()?;
    let size = packed.len() as u64;
    ensure!(size <= MAX_BYTES, "the packed file has {size} bytes, more than the limit of {MAX_BYTES}");
    let out = assets.join("fashion-mnist-mini.bin.xz");
    fs::write(&out, packed).with_context(|| format!("cannot write {}", out.display()))?;
    println!(
        "{}: {} train and {} test images, {size} bytes",
        out.display(),
        train.labels.len(),
        test.labels.len()
    );
    Ok(())
}

/// Downloads the package into `folder` with the system's own package manager.
fn fetch(folder: &Path) -> Result<PathBuf> {
    Cmd::new("apt-get").args(["download", PACKAGE]).dir(folder).run().with_context(|| {
        format!("`apt-get download {PACKAGE}` failed; fetch the package yourself and name it with --deb FILE")
    })?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "deb") {
            return Ok(path);
        }
    }
    bail!("apt-get downloaded no .deb file into {}", folder.display())
}

/// Reads images and labels of the split whose files begin with `name`.
fn read_split(folder: &Path, name: &str) -> Result<Split> {
    let unzip = |file: String| Cmd::new("gzip").args(["-dc", "--"]).arg(folder.join(file)).output();
    let images = unzip(format!("{name}-images-idx3-ubyte.gz"))?;
    let labels = unzip(format!("{name}-labels-idx1-ubyte.gz"))?;
    let (shape, pixels) = parse_idx(&images).with_context(|| format!("images of {name}"))?;
    let (counts, labels) = parse_idx(&labels).with_context(|| format!("labels of {name}"))?;
    ensure!(
        shape.len() == 3 && counts.len() == 1 && shape[0] == counts[0],
        "{name}: shapes {shape:?}, {counts:?}"
    );
    Ok(Split { h: shape[1], w: shape[2], labels: labels.to_vec(), pixels: pixels.to_vec() })
}

/// Shape and contents of an IDX file of bytes: `0 0 8 rank`, then big-endian sizes, then the data.
fn parse_idx(bytes: &[u8]) -> Result<(Vec<usize>, &[u8])> {
    ensure!(bytes.len() >= 4 && bytes[..3] == [0, 0, 8], "not an IDX file of bytes");
    let data = 4 + 4 * usize::from(bytes[3]);
    ensure!(bytes.len() >= data, "the IDX header is cut short");
    let shape: Vec<usize> = bytes[4..data]
        .chunks_exact(4)
        .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize)
        .collect();
    let wanted: usize = shape.iter().product();
    ensure!(
        bytes.len() - data == wanted,
        "IDX shape {shape:?} does not fit {} bytes of data",
        bytes.len() - data
    );
    Ok((shape, &bytes[data..]))
}

/// The first `per_class` images of every class, in their original order.
fn subset(all: &Split, per_class: usize) -> Result<Split> {
    let size = all.h * all.w;
    let mut seen = [0usize; CLASSES];
    let mut kept = Split { h: all.h, w: all.w, labels: Vec::new(), pixels: Vec::new() };
    for (label, image) in all.labels.iter().zip(all.pixels.chunks_exact(size)) {
        let count =
            seen.get_mut(usize::from(*label)).with_context(|| format!("label {label} is out of range"))?;
        if *count < per_class {
            *count += 1;
            kept.labels.push(*label);
            kept.pixels.extend_from_slice(image);
        }
    }
    ensure!(seen.iter().all(|n| *n == per_class), "a class has fewer than {per_class} images: {seen:?}");
    Ok(kept)
}

/// The uncompressed file: header, labels of both splits, pixels of both splits.
fn encode(train: &Split, test: &Split) -> Result<Vec<u8>> {
    ensure!((train.h, train.w) == (test.h, test.w), "train and test images differ in size");
    let mut out = MAGIC.to_vec();
    for n in [train.labels.len(), test.labels.len(), train.h, train.w, CLASSES] {
        out.extend_from_slice(&u32::try_from(n)?.to_le_bytes());
    }
    for part in [&train.labels, &test.labels, &train.pixels, &test.pixels] {
        out.extend_from_slice(part);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images of 1x2 pixels whose first pixel is the index.
    fn split(labels: &[u8]) -> Split {
        let pixels = (0..labels.len() as u8).flat_map(|i| [i, 255]).collect();
        Split { h: 1, w: 2, labels: labels.to_vec(), pixels }
    }

    #[test]
    fn subset_keeps_the_first_of_each_class_in_order() {
        let labels: Vec<u8> = [0, 0, 0].into_iter().chain(1..10).chain([5, 9, 9]).chain(0..10).collect();
        let kept = subset(&split(&labels), 2).unwrap();
        assert_eq!(kept.labels, [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 5, 9, 1, 2, 3, 4, 6, 7, 8]);
        let indices: Vec<u8> = kept.pixels.iter().copied().step_by(2).collect();
        assert_eq!(indices, [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 17, 18, 19, 21, 22, 23]);
    }

    #[test]
    fn subset_refuses_small_classes_and_strange_labels() {
        assert!(subset(&split(&[0, 1, 2]), 1).is_err());
        assert!(subset(&split(&[10]), 1).is_err());
    }

    #[test]
    fn header_is_magic_then_five_little_endian_numbers() {
        let bytes = encode(&split(&[7, 8, 9]), &split(&[1])).unwrap();
        assert_eq!(&bytes[..8], b"ADMIXFM1");
        let numbers: Vec<u32> =
            bytes[8..28].chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        assert_eq!(numbers, [3, 1, 1, 2, 10]);
        assert_eq!(&bytes[28..], [7, 8, 9, 1, 0, 255, 1, 255, 2, 255, 0, 255]);
    }

    #[test]
    fn idx_files_are_checked() {
        let good = [0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 2, 5, 6];
        assert_eq!(parse_idx(&good).unwrap(), (vec![1, 2], &[5u8, 6][..]));
        assert!(parse_idx(&good[..13]).is_err());
        assert!(parse_idx(&good[..6]).is_err());
        assert!(parse_idx(&[0, 0, 9, 1, 0, 0, 0, 0]).is_err());
    }
}
