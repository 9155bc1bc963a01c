//! Where threads take the images of a split from.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use admix_torch::Tensor;

use crate::import::decode;
use crate::{Error, Result};

use super::folder::Files;
use super::picture::Picture;

/// What went wrong with one image, on a thread.
#[derive(Debug)]
pub(crate) enum Fault {
    Io {
        path: PathBuf,
        source: io::Error,
    },
    Broken {
        path: PathBuf,
        why: String,
    },
    /// A crop that was asked for is no part of the image; all `(top, left, height, width)`.
    Crop {
        wanted: [i64; 4],
        size: (i64, i64),
    },
    /// Of this program.
    Internal(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::Broken { path, why } => write!(f, "{}: {why}", path.display()),
            Self::Crop { wanted: [top, left, height, width], .. } => {
                write!(f, "a crop of {height}x{width} pixels from ({top}, {left})")
            }
            Self::Internal(why) => f.write_str(why),
        }
    }
}

const WHOLE: &str = "a whole JPEG or PNG image";

impl Fault {
    /// The error, where so many more files are broken.
    pub(crate) fn among(self, more: usize) -> Error {
        match Error::from(self) {
            Error::Malformed { path, problem, expected, .. } => {
                let remedy =
                    format!("replace it, or remove it ({more} more files are broken: --log warn names them)");
                Error::Malformed { path, problem, expected, remedy }
            }
            other => other,
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Io { path, source } => Error::Io { path, action: "read", source },
            Fault::Broken { path, why } => Error::Malformed {
                path,
                problem: why,
                expected: WHOLE.into(),
                remedy: "replace the file, or remove it".into(),
            },
            Fault::Crop { wanted: [top, left, height, width], size } => Error::Shape {
                what: "a crop",
                got: format!("{height}x{width} pixels from ({top}, {left})"),
                wanted: format!("a part of an image of {}x{}", size.0, size.1),
            },
            Fault::Internal(why) => Error::Shape { what: "a batch", got: why, wanted: "images".into() },
        }
    }
}

/// An image before it is decoded.
pub(crate) enum Raw {
    File(Vec<u8>),
    Planes(Vec<u8>),
}

/// The images of one split.
pub(crate) enum Images {
    /// In files, of any size.
    Files(Files),
    /// In host memory, `[n, C, H, W]`.
    Held { pixels: Mutex<Tensor>, channels: usize, size: (i64, i64) },
}

impl Images {
    pub(crate) fn held(pixels: &Tensor) -> Result<Self> {
        let (_, channels, height, width) = pixels.size4()?;
        let pixels = Mutex::new(pixels.shallow_clone());
        Ok(Self::Held { pixels, channels: channels as usize, size: (height, width) })
    }

    /// Reads one image, and its height and width.
    pub(crate) fn read(&self, at: usize) -> Result<(Raw, (i64, i64)), Fault> {
        match self {
            Self::Files(files) => {
                let path = files.path(at);
                let bytes = match fs::read(&path) {
                    Ok(bytes) => bytes,
                    Err(source) => return Err(Fault::Io { path, source }),
                };
                match decode::size(&bytes) {
                    Ok(size) => Ok((Raw::File(bytes), size)),
                    Err(why) => Err(Fault::Broken { path, why }),
                }
            }
            Self::Held { pixels, channels, size } => {
                let image = {
                    // One tensor may not be used by two threads at once, two tensors of the same memory may.
                    let pixels = pixels.lock().unwrap_or_else(PoisonError::into_inner);
                    pixels.f_get(at as i64)
                };
                let mut bytes = vec![0; channels * (size.0 * size.1) as usize];
                image
                    .and_then(|image| image.f_copy_data_u8(&mut bytes, image.numel()))
                    .map_err(|error| Fault::Internal(error.to_string()))?;
                Ok((Raw::Planes(bytes), *size))
            }
        }
    }

    /// Decodes an image that was read.
    pub(crate) fn decode(&self, at: usize, raw: Raw) -> Result<Picture, Fault> {
        match (self, raw) {
            (Self::Held { channels, size, .. }, Raw::Planes(pixels)) => {
                Ok(Picture::planes(*channels, *size, pixels))
            }
            (Self::Files(files), Raw::File(bytes)) => match decode::rgb(&bytes) {
                Ok(image) => Ok(Picture::rgb(image)),
                Err(why) => Err(Fault::Broken { path: files.path(at), why }),
            },
            _ => Err(Fault::Internal("an image of another split".into())),
        }
    }
}
