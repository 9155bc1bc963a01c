//! Where threads take the images of a split from.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use admix_torch::Tensor;
use image::imageops::{self, FilterType};

use super::broken::Found;
use super::fault::Fault;
use super::files::{Files, OneFile};
use super::picture::Picture;
use crate::Result;
use crate::import::Channels;
use crate::import::channels::grey;

/// An image before it is decoded.
pub(crate) enum Raw {
    /// Its position: another one's, where that stands in for it.
    File(usize, Vec<u8>),
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

    /// The images at these positions.
    pub(crate) fn select(&self, keep: &[i64]) -> Result<Self> {
        match self {
            Self::Files(files) => Ok(Self::Files(files.select(keep))),
            Self::Held { pixels, .. } => {
                let pixels = pixels.lock().unwrap_or_else(PoisonError::into_inner);
                Self::held(&pixels.f_index_select(0, &Tensor::f_from_slice(keep)?)?)
            }
        }
    }

    /// What was wrong with files so far.
    pub(crate) fn found(&self) -> Option<&Found> {
        match self {
            Self::Files(files) => Some(&files.found),
            Self::Held { .. } => None,
        }
    }

    /// Fails where more files are broken than may be passed over; names the last of these.
    pub(crate) fn allow(&self, broken: &BTreeSet<usize>) -> Result<(), Fault> {
        let (Self::Files(files), Some(last)) = (self, broken.last()) else { return Ok(()) };
        match files.reading.broken.excess(broken.len(), files.len()) {
            Some(excess) => {
                Err(Fault::Broken { path: files.path(*last), why: format!("it is broken; {excess}") })
            }
            None => Ok(()),
        }
    }

    /// Rows at the bottom of each picture that are left out.
    pub(crate) fn strip(&self) -> u32 {
        match self {
            Self::Files(files) => files.reading.strip,
            Self::Held { .. } => 0,
        }
    }

    /// Reads one image, and its height and width.
    pub(crate) fn read(&self, at: usize) -> Result<(Raw, (i64, i64)), Fault> {
        match self {
            Self::Files(files) => {
                let OneFile { at, bytes, size } = files.read(at)?;
                Ok((Raw::File(at, bytes), size))
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

    /// Decodes an image that was read and found to have this size. One that stands in for it is brought to that size, for which
    /// crops are drawn already.
    pub(crate) fn decode(&self, raw: Raw, (height, width): (i64, i64)) -> Result<Picture, Fault> {
        match (self, raw) {
            (Self::Held { channels, size, .. }, Raw::Planes(pixels)) => {
                Ok(Picture::planes(*channels, *size, pixels))
            }
            (Self::Files(files), Raw::File(at, bytes)) => {
                let image = files.decode(at, &bytes)?;
                let (height, width) = (height as u32, width as u32);
                let image = match image.dimensions() == (width, height) {
                    true => image,
                    false => imageops::resize(&image, width, height, FilterType::Triangle),
                };
                Ok(match files.reading.channels {
                    Channels::Rgb => Picture::rgb(image),
                    Channels::Grey => {
                        let size = (i64::from(height), i64::from(width));
                        Picture::planes(1, size, grey(&image))
                    }
                })
            }
            _ => Err(Fault::Internal("an image of another split".into())),
        }
    }
}
