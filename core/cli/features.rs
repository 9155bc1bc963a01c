//! Features of pictures as a file.

use std::collections::BTreeMap;
use std::path::Path;

use admix_torch::{Device, Tensor};
use anyhow::{Context, Result};
use npyz::WriterBuilder;

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
        match file {
            FeaturesFile::Safetensors => {
                let tensors = [("features".to_owned(), all)];
                Ok(admix_models::save_safetensors(path, &tensors, &BTreeMap::new())?)
            }
            FeaturesFile::Npy => {
                let write = || -> std::io::Result<Vec<u8>> {
                    let (rows, width) = all.size2().map_err(std::io::Error::other)?;
                    let values = Vec::<f32>::try_from(all.f_flatten(0, 1).map_err(std::io::Error::other)?)
                        .map_err(std::io::Error::other)?;
                    let mut bytes = Vec::new();
                    let mut npy = npyz::WriteOptions::new()
                        .default_dtype()
                        .shape(&[rows as u64, width as u64])
                        .writer(&mut bytes)
                        .begin_nd()?;
                    npy.extend(values)?;
                    npy.finish()?;
                    Ok(bytes)
                };
                let saved = write().and_then(|bytes| output::save(path, &bytes, true));
                saved.with_context(|| format!("cannot write {}", path.display()))
            }
        }
    }
}
