//! Features of pictures as a file.

use std::collections::BTreeMap;
use std::path::Path;

use admix_torch::{Device, Tensor};
use anyhow::{Context, Result};

use crate::failure::bad_input;
use crate::output;

/// How a file of features is written; the end of its name says it.
#[derive(Clone, Copy, PartialEq)]
pub enum FeaturesFile {
    /// A tensor `features`.
    Safetensors,
    /// An array of NumPy.
    Npy,
}

impl FeaturesFile {
    /// How the file of this name is written.
    pub fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|end| end.to_str()) {
            Some("safetensors") => Ok(Self::Safetensors),
            Some("npy") => Ok(Self::Npy),
            _ => Err(bad_input(format!(
                "--features {}: expected a name that ends in .safetensors or .npy",
                path.display()
            ))),
        }
    }
}

/// Features, batch by batch, on the host.
#[derive(Default)]
pub struct Features(Vec<Tensor>);

impl Features {
    /// Adds those of a batch, `[N, D]`.
    pub fn add(&mut self, features: &Tensor) -> Result<()> {
        self.0.push(features.f_to_device(Device::Cpu)?);
        Ok(())
    }

    /// Writes all of them: whole or not at all.
    pub fn write(&self, path: &Path, file: FeaturesFile) -> Result<()> {
        if self.0.is_empty() {
            anyhow::bail!("{} is not written: no picture could be read", path.display());
        }
        let all = Tensor::f_cat(&self.0, 0)?;
        let bytes = match file {
            FeaturesFile::Safetensors => {
                let tensors = [("features".to_owned(), all)];
                admix_models::safetensors_bytes(&tensors, &BTreeMap::new()).map_err(anyhow::Error::msg)?
            }
            FeaturesFile::Npy => {
                let (rows, width) = all.size2()?;
                let mut bytes = npy_header(rows, width);
                let values = Vec::<f32>::try_from(all.f_flatten(0, 1)?)?;
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                bytes
            }
        };
        output::save(path, &bytes, true).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// What stands before the values of an array `[rows, width]` of float32, version 1.0 of the format. The libraries for it bring a
/// parser of Python for this line.
fn npy_header(rows: i64, width: i64) -> Vec<u8> {
    /// Magic, version and length.
    const BEFORE: usize = 10;
    let dictionary = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    // The values begin at a multiple of 64; a new line ends the header.
    let length = (BEFORE + dictionary.len() + 1).next_multiple_of(64) - BEFORE;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{dictionary:<width$}\n", width = length - 1).bytes());
    bytes
}
