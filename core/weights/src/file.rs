//! A weight file: its tensors by name, read one by one.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use admix_torch::{Kind, Tensor};

use crate::entry::Entry;
use crate::error::bad;
use crate::values::check_value;
use crate::{Error, Result, pytorch, safetensors};

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// safetensors.
    Safetensors,
    /// `torch.save`: a ZIP archive, or the older formats.
    PyTorch,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::PyTorch => "PyTorch",
        })
    }
}

/// A weight file. Opening it reads the names and shapes alone.
pub struct WeightFile {
    path: PathBuf,
    format: Format,
    metadata: BTreeMap<String, String>,
    entries: BTreeMap<String, Entry>,
}

impl fmt::Debug for WeightFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeightFile").field("path", &self.path).field("tensors", &self.entries.len()).finish()
    }
}

impl WeightFile {
    /// Opens a file; its content tells how it is written, whatever its name.
    ///
    /// # Errors
    /// No file of either format, a damaged one, or one without tensors.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (format, metadata, entries) = match begin(path)? {
            Some(Format::Safetensors) => {
                let (metadata, entries) = safetensors::open(path)?;
                (Format::Safetensors, metadata, entries)
            }
            Some(Format::PyTorch) => (Format::PyTorch, BTreeMap::new(), pytorch::open(path)?),
            None => {
                return Err(bad(
                    path,
                    "neither safetensors nor a file of `torch.save` (.pth, .pt, .bin): give one of these",
                ));
            }
        };
        if entries.is_empty() {
            return Err(bad(path, "holds no tensors: save the network's `state_dict()`"));
        }
        Ok(Self { path: path.into(), format, metadata, entries })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The text in its header, which safetensors alone has.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The full names of all tensors, nested dictionaries joined by dots: "state_dict.module.conv1.weight".
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[i64]> {
        self.entries.get(name).map(|entry| entry.shape.as_slice())
    }

    /// A tensor's values on the host, in the kind that the file has them in.
    ///
    /// # Errors
    /// There is none of this name, the file is damaged or cannot be read.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let entry =
            self.entries.get(name).ok_or_else(|| bad(&self.path, format!("has no tensor `{name}`")))?;
        let bytes = (entry.read)().map_err(|error| {
            bad(&self.path, format!("the tensor `{name}` cannot be read ({error}): fetch the file again"))
        })?;
        Ok(Tensor::f_from_data_size(&bytes, &entry.shape, entry.kind)?)
    }

    /// A tensor's values as a weight of a network: finite, float32, and of this shape, which has as many values.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor), or the values are none of a network.
    pub fn weight(&self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let value = self.tensor(name)?;
        check_value(name, &value).map_err(|problem| bad(&self.path, problem))?;
        Ok(value.f_to_kind(Kind::Float)?.f_reshape(shape)?)
    }
}

/// What a file is, by its first bytes. `None`: neither.
fn begin(path: &Path) -> Result<Option<Format>> {
    let io = |source| Error::Io { action: "read", path: path.into(), source };
    // Before it is opened: that of a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(bad(path, "is a folder or device; name a file in it"));
    }
    let file = File::open(path).map_err(io)?;
    let mut first = Vec::new();
    file.take(512).read_to_end(&mut first).map_err(io)?;
    let is_tar = first.get(257..262) == Some(b"ustar");
    Ok(match first.as_slice() {
        // The length of a header may begin like a pickle.
        [_, _, _, _, 0, 0, 0, 0, b'{', ..] => Some(Format::Safetensors),
        [b'P', b'K', 3, 4, ..] | [0x80, 1..=5, ..] => Some(Format::PyTorch),
        [_, _, _, _, _, _, _, _, b'{', ..] => Some(Format::Safetensors),
        _ if is_tar => Some(Format::PyTorch),
        _ => None,
    })
}
