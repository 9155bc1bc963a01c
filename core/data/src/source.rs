//! A whole dataset in host memory, and reading the files that it comes from.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use admix_torch::{Device, Kind, Tensor};

use crate::error::{At, setting};
use crate::{Error, Info, Result};

/// A whole dataset in host memory.
#[derive(Debug)]
pub struct Source {
    /// What is known of it.
    pub info: Info,
    /// The training images that have labels.
    pub train: Part,
    /// The test images.
    pub test: Part,
    /// Images without labels, if they were asked for.
    pub unlabelled: Option<Part>,
}

/// What a dataset is read as.
#[derive(Debug)]
pub enum Contents {
    /// All images.
    Whole(Source),
    /// The files of its images.
    Files(ImageFiles),
}

impl Contents {
    /// All images.
    ///
    /// # Errors
    /// There are files, which the dataset did not say.
    pub(crate) fn whole(self, name: &str) -> Result<Source> {
        match self {
            Self::Whole(source) => Ok(source),
            Self::Files(_) => Err(not_as_told(name)),
        }
    }

    /// The files.
    ///
    /// # Errors
    /// There are none, where the dataset said that there are.
    pub(crate) fn files(self, name: &str) -> Result<ImageFiles> {
        match self {
            Self::Whole(_) => Err(not_as_told(name)),
            Self::Files(pictures) => Ok(pictures),
        }
    }
}

/// A fault in the code of a dataset.
fn not_as_told(name: &str) -> Error {
    setting("data.name", format!("`{name}`"), "a dataset that loads what its `is_streamed` tells")
}

impl From<Source> for Contents {
    fn from(source: Source) -> Self {
        Self::Whole(source)
    }
}

impl From<ImageFiles> for Contents {
    fn from(pictures: ImageFiles) -> Self {
        Self::Files(pictures)
    }
}

/// The files of pictures that may differ in size.
#[derive(Debug, Clone, Default)]
pub struct ImageFiles {
    /// The folder that their paths are relative to.
    pub folder: PathBuf,
    /// The classes by label.
    pub class_names: Vec<String>,
    /// Path and label of each training image.
    pub train: Vec<(String, u16)>,
    /// The same of the test images.
    pub test: Vec<(String, u16)>,
    /// Rows at the bottom of each picture that are no part of it.
    pub strip: u32,
}

/// One split: labels `[n]`, -1 for an image without one, and pixels `[n, C, H, W]`, one byte each, in any order in memory.
#[derive(Debug)]
pub struct Part {
    /// One per image.
    pub labels: Vec<i64>,
    /// In host memory.
    pub pixels: Tensor,
}

impl Part {
    /// A split of images of one size.
    ///
    /// # Errors
    /// There are not as many pixels as the labels and the size say.
    pub fn new(images: &Images, channels: i64, height: i64, width: i64) -> Result<Self> {
        let n = images.labels.len() as i64;
        let pixels = Tensor::f_from_slice(&images.pixels)?.f_view([n, channels, height, width])?;
        Ok(Self { labels: images.labels.iter().map(|&label| i64::from(label)).collect(), pixels })
    }

    /// The images at these positions.
    pub(crate) fn select(&self, keep: &[i64]) -> Result<Self> {
        let pixels = self.pixels.f_index_select(0, &Tensor::f_from_slice(keep)?)?;
        debug_assert_eq!((pixels.kind(), pixels.device()), (Kind::Uint8, Device::Cpu));
        Ok(Self { labels: keep.iter().map(|&i| self.labels[i as usize]).collect(), pixels })
    }
}

/// What a parser of a raw format hands back: a label per image, pixels `[n, C, H, W]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// One per image.
    pub labels: Vec<u16>,
    /// Row-major.
    pub pixels: Vec<u8>,
}

/// The next `len` bytes of a file in host memory; `each` sees every piece. Mapped, a file that is cut under a run would kill it.
pub(crate) fn read_bytes(
    file: &mut File,
    path: &Path,
    len: usize,
    mut each: impl FnMut(&[u8]),
) -> Result<Tensor> {
    const PIECE: usize = 8 << 20;
    let whole = Tensor::f_empty([len as i64], (Kind::Uint8, Device::Cpu))?;
    let mut piece = vec![0; PIECE.min(len)];
    for start in (0..len).step_by(PIECE) {
        let piece = &mut piece[..PIECE.min(len - start)];
        file.read_exact(piece).at("read", path)?;
        each(piece);
        whole.f_narrow(0, start as i64, piece.len() as i64)?.f_copy_(&Tensor::f_from_slice(piece)?)?;
    }
    Ok(whole)
}

/// A raw file, read whole after its size was found sane.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    /// The largest raw file of the formats read here has 180 MB.
    const MOST: u64 = 2 << 30;
    // Before it is opened: opening a pipe waits for whoever writes to it.
    let meta = fs::metadata(path).at("open", path)?;
    if !meta.is_file() {
        return Err(Error::Malformed {
            path: path.to_owned(),
            problem: "it is no ordinary file".into(),
            expected: "a file".into(),
            remedy: "check that it is the file it should be".into(),
        });
    }
    let len = meta.len();
    let file = File::open(path).at("open", path)?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).at("read", path)?;
    if bytes.len() as u64 == MOST {
        return Err(Error::Malformed {
            path: path.to_owned(),
            problem: format!("the file has {len} bytes"),
            expected: "less than 2 GiB".into(),
            remedy: "check that it is the file it should be".into(),
        });
    }
    Ok(bytes)
}
