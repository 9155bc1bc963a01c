//! One split of a dataset on the device.

use admix_torch::{Device, Kind, Tensor};

use crate::source::Part;
use crate::{Info, Result};

/// One split on the device.
#[derive(Debug)]
pub(crate) struct Resident {
    /// `[n, C, H, W]` bytes; of a streamed set `[0, C, H, W]`.
    pub(crate) pixels: Tensor,
    /// `[n]` i64.
    pub(crate) labels: Tensor,
    pub(crate) n: usize,
}

impl Resident {
    pub(crate) fn new(part: &Part, device: Device) -> Result<Self> {
        Self::of(&[part], device)
    }

    /// A split whose images are elsewhere.
    pub(crate) fn without_pixels(labels: &[i64], info: &Info, device: Device) -> Result<Self> {
        let size = [0, info.channels, info.height, info.width];
        let pixels = Tensor::f_empty(size, (Kind::Uint8, device))?;
        Ok(Self { pixels, labels: Tensor::f_from_slice(labels)?.f_to_device(device)?, n: labels.len() })
    }

    pub(crate) fn shallow_clone(&self) -> Self {
        Self { pixels: self.pixels.shallow_clone(), labels: self.labels.shallow_clone(), n: self.n }
    }

    /// Several parts of one shape of image, one behind the other.
    pub(crate) fn of(parts: &[&Part], device: Device) -> Result<Self> {
        let labels: Vec<i64> = parts.iter().flat_map(|part| part.labels.iter().copied()).collect();
        let pixels = match parts {
            [part] if part.pixels.is_contiguous() => part.pixels.f_to_device(device)?,
            _ => joined(parts, device)?,
        };
        Ok(Self { pixels, n: labels.len(), labels: Tensor::f_from_slice(&labels)?.f_to_device(device)? })
    }

    /// The first `n` images, in the same memory.
    pub(crate) fn first(&self, n: usize) -> Result<Self> {
        let len = n as i64;
        Ok(Self { pixels: self.pixels.f_narrow(0, 0, len)?, labels: self.labels.f_narrow(0, 0, len)?, n })
    }
}

/// Pixels of all parts, row after row, in one piece of memory on the device.
fn joined(parts: &[&Part], device: Device) -> Result<Tensor> {
    /// Images that go over at once: neither host nor device ever holds a second copy of a large set.
    const PIECE: usize = 4096;
    let images = parts.iter().map(|part| part.labels.len()).sum::<usize>() as i64;
    let shape: Vec<i64> = parts.first().map(|part| part.pixels.size()).unwrap_or_default();
    let shape: Vec<i64> = [images].into_iter().chain(shape.into_iter().skip(1)).collect();
    let whole = Tensor::f_empty(shape.as_slice(), (Kind::Uint8, device))?;
    let mut done = 0;
    for part in parts {
        let n = part.labels.len();
        for start in (0..n).step_by(PIECE) {
            let len = PIECE.min(n - start) as i64;
            // In the order of the file; the copy on the device sorts it.
            let piece = part.pixels.f_narrow(0, start as i64, len)?.f_to_device(device)?;
            whole.f_narrow(0, done, len)?.f_copy_(&piece)?;
            done += len;
        }
    }
    Ok(whole)
}
