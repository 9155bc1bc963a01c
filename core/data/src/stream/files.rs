//! The files of one split.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::{RgbImage, imageops};
use rayon::prelude::*;

use super::broken::{BrokenFiles, Found};
use super::fault::Fault;
use crate::import::archive::MOST_FILE;
use crate::import::decode::{self, Read};
use crate::import::{Channels, Exif, Planar};

/// How the files of a folder are read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reading {
    pub exif: Exif,
    pub broken: BrokenFiles,
    pub channels: Channels,
    /// Rows at the bottom of each picture that are left out.
    pub strip: u32,
}

impl Reading {
    /// The rows of a picture that are left of so many.
    fn rows(&self, path: &Path, height: i64) -> Result<i64, Fault> {
        rows_above(height, self.strip).map_err(|why| Fault::Broken { path: path.into(), why })
    }
}

/// The rows of a picture that are left above a strip of so many.
///
/// # Errors
/// In words: none is left.
pub(super) fn rows_above(height: i64, strip: u32) -> Result<i64, String> {
    let left = height - i64::from(strip);
    if left > 0 { Ok(left) } else { Err(format!("it has {height} rows, and the last {strip} are left out")) }
}

/// The uppermost rows of a picture.
pub(super) fn top(image: RgbImage, rows: u32) -> RgbImage {
    match rows < image.height() {
        true => imageops::crop_imm(&image, 0, 0, image.width(), rows).to_image(),
        false => image,
    }
}

/// A file before it is decoded.
pub(crate) struct OneFile {
    /// Its position.
    pub at: usize,
    pub bytes: Vec<u8>,
    /// Height and width of its picture.
    pub size: (i64, i64),
}

/// The files of one split, by class, then by name.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// The folder of the split.
    pub root: PathBuf,
    /// One per file, ascending.
    pub labels: Vec<i64>,
    /// Below `root`.
    pub paths: Vec<Box<Path>>,
    pub reading: Reading,
    /// What was wrong with them so far.
    pub found: Arc<Found>,
}

impl Files {
    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    pub(crate) fn path(&self, at: usize) -> PathBuf {
        self.root.join(&self.paths[at])
    }

    /// The files at these positions.
    pub(crate) fn select(&self, keep: &[i64]) -> Self {
        let labels = keep.iter().map(|&at| self.labels[at as usize]).collect();
        let paths = keep.iter().map(|&at| self.paths[at as usize].clone()).collect();
        Self { root: self.root.clone(), labels, paths, reading: self.reading, found: Arc::default() }
    }

    /// Every file, decoded: pixels `[C, H, W]`, and what is wrong with the others.
    pub(crate) fn decoded(&self) -> Vec<Result<Planar, Fault>> {
        let read = |at: usize| {
            let path = self.path(at);
            let read = decode::decode(&contents(&path)?, None, self.reading.channels, self.reading.exif);
            let Read { mut image, flaws } = read.map_err(|why| Fault::Broken { path: path.clone(), why })?;
            self.found.flawed(&path, at, &flaws);
            let (height, width) = image.size;
            let rows = self.reading.rows(&path, height)?;
            if rows < height {
                let planes = image.pixels.chunks((height * width) as usize);
                image.pixels = planes.flat_map(|plane| &plane[..(rows * width) as usize]).copied().collect();
                image.size = (rows, width);
            }
            Ok(image)
        };
        (0..self.len()).into_par_iter().map(read).collect()
    }

    /// Bytes of file `at` and the size of its picture, or of the first one after it that stands in for it.
    pub(crate) fn read(&self, at: usize) -> Result<OneFile, Fault> {
        self.first_sound(at, |_, path| {
            let bytes = contents(path)?;
            let (height, width) = decode::size(&bytes, self.reading.exif)
                .map_err(|why| Fault::Broken { path: path.into(), why })?;
            Ok((bytes, (self.reading.rows(path, height)?, width)))
        })
        .map(|(at, (bytes, size))| OneFile { at, bytes, size })
    }

    /// The picture of file `at`, whose bytes are read, or the first one after it that stands in for it.
    pub(crate) fn decode(&self, at: usize, bytes: &[u8]) -> Result<RgbImage, Fault> {
        let decode = |at: usize, path: &Path, bytes: &[u8]| {
            let read = decode::rgb(bytes, self.reading.exif);
            let Read { image, flaws } = read.map_err(|why| Fault::Broken { path: path.into(), why })?;
            let rows = self.reading.rows(path, i64::from(image.height()))? as u32;
            self.found.sound(at);
            self.found.flawed(path, at, &flaws);
            Ok(top(image, rows))
        };
        let fault = match decode(at, &self.path(at), bytes) {
            Ok(image) => return Ok(image),
            Err(fault) => fault,
        };
        self.found.skip(fault, at, self.len(), self.reading.broken)?;
        let next = self.next(at, at)?;
        let (_, image) = self.first_sound(next, |at, path| decode(at, path, &contents(path)?))?;
        Ok(image)
    }

    /// What `work` makes of file `at`, or of the first one after it, in its class and round to its beginning, that is sound.
    fn first_sound<T>(
        &self,
        at: usize,
        work: impl Fn(usize, &Path) -> Result<T, Fault>,
    ) -> Result<(usize, T), Fault> {
        let mut now = at;
        loop {
            match work(now, &self.path(now)) {
                Ok(made) => return Ok((now, made)),
                Err(fault) => self.found.skip(fault, now, self.len(), self.reading.broken)?,
            }
            now = self.next(now, at)?;
        }
    }

    /// The file after `now` in its class, round to the beginning, unless that is where the search began.
    fn next(&self, now: usize, begin: usize) -> Result<usize, Fault> {
        let label = self.labels[now];
        let next = match self.labels.get(now + 1) {
            Some(other) if *other == label => now + 1,
            _ => self.labels.partition_point(|other| *other < label),
        };
        if next == begin {
            return Err(Fault::Broken {
                path: self.path(begin),
                why: "no image of its class can be decoded".into(),
            });
        }
        Ok(next)
    }
}

/// The bytes of an ordinary file that is not too large.
pub(super) fn contents(path: &Path) -> Result<Vec<u8>, Fault> {
    let io = |source| Fault::Io { path: path.into(), source };
    let broken = |why| Fault::Broken { path: path.into(), why };
    // Before it is opened: opening a pipe waits for whoever writes to it.
    let meta = fs::metadata(path).map_err(io)?;
    if !meta.is_file() {
        return Err(broken("it is no ordinary file".into()));
    }
    let mut bytes = Vec::with_capacity(meta.len().min(MOST_FILE) as usize);
    File::open(path).map_err(io)?.take(MOST_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MOST_FILE {
        return Err(broken(format!("it has more than {MOST_FILE} bytes, too many for an image")));
    }
    Ok(bytes)
}
