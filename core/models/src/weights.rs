//! Weight files: safetensors, written and read through the `safetensors` crate alone.
//!
//! A file of torchvision's or our own loads by name; what it holds beyond the network is for the caller to ignore.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use admix_torch::{Device, Kind, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, View, serialize};

use crate::{Error, Result};

/// The bytes of a file of named tensors and text. With at most one entry of metadata, equal input gives equal bytes.
///
/// # Errors
/// In words: two tensors of one name, or a kind that safetensors lacks.
pub fn safetensors_bytes(
    tensors: &[(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> std::result::Result<Vec<u8>, String> {
    let mut seen = HashSet::new();
    let mut stored = Vec::new();
    for (name, tensor) in tensors {
        // The header keeps its own text under this key.
        if !seen.insert(name.as_str()) || name == "__metadata__" {
            return Err(format!("the name `{name}` is taken: rename one of the tensors"));
        }
        let bytes = Bytes::of(tensor).map_err(|e| format!("cannot store the tensor `{name}`: {e}"))?;
        stored.push((name.as_str(), bytes));
    }
    let metadata = metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    serialize(stored, Some(metadata)).map_err(|e| e.to_string())
}

/// Writes named tensors and text. The file appears whole or not at all: it is written beside its place under a
/// temporary name, flushed and renamed.
///
/// # Errors
/// Those of [`safetensors_bytes`], or the file cannot be written.
pub fn save_safetensors(
    path: impl AsRef<Path>,
    tensors: &[(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let path = path.as_ref();
    let content = safetensors_bytes(tensors, metadata)
        .map_err(|problem| Error::WeightFile { path: path.into(), problem })?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&partial)?;
        file.write_all(&content)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(|source| {
        // Best effort: the error that matters is the first.
        let _ = fs::remove_file(&partial);
        Error::Io { action: "write", path: path.into(), source }
    })
}

/// Reads all tensors of a file onto `device`, sorted by name.
///
/// # Errors
/// The file cannot be read, is damaged, or holds a kind that libtorch lacks.
pub fn load_safetensors(path: impl AsRef<Path>, device: Device) -> Result<Vec<(String, Tensor)>> {
    let path = path.as_ref();
    let content = read(path)?;
    let file = SafeTensors::deserialize(&content).map_err(|e| damaged(path, &e))?;
    let mut tensors = Vec::new();
    for (name, view) in file.iter() {
        let kind = kind(view.dtype()).ok_or_else(|| Error::WeightFile {
            path: path.into(),
            problem: format!("tensor `{name}` is of the unknown kind {}: store it as F32", view.dtype()),
        })?;
        // Sizes were checked against the bytes that are there, so they fit.
        let shape: Vec<i64> = view.shape().iter().map(|&length| length as i64).collect();
        let tensor = Tensor::f_from_data_size(view.data(), &shape, kind)?.f_to_device(device)?;
        tensors.push((name.to_string(), tensor));
    }
    tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(tensors)
}

/// Reads the text entries of a file's header.
///
/// # Errors
/// The file cannot be read or is damaged.
pub fn safetensors_metadata(path: impl AsRef<Path>) -> Result<BTreeMap<String, String>> {
    let path = path.as_ref();
    let content = read(path)?;
    let (_, header) = SafeTensors::read_metadata(&content).map_err(|e| damaged(path, &e))?;
    Ok(header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|source| Error::Io { action: "read", path: path.into(), source })
}

fn damaged(path: &Path, error: &safetensors::SafeTensorError) -> Error {
    let problem = format!("not a safetensors file, or damaged ({error}): fetch or write it again");
    Error::WeightFile { path: path.into(), problem }
}

/// A tensor's values on the host.
struct Bytes {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl Bytes {
    fn of(tensor: &Tensor) -> Result<Self> {
        let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
        let kind = tensor.f_kind()?;
        let size = tensor.size();
        let dtype = dtype(kind).ok_or_else(|| Error::Shape {
            what: format!("a tensor of kind {kind:?}"),
            got: size.clone(),
            wanted: "a kind that safetensors has".into(),
        })?;
        let count = tensor.numel();
        let mut data = vec![0; count * kind.elt_size_in_bytes()];
        tensor.f_copy_data_u8(&mut data, count)?;
        Ok(Self { dtype, shape: size.iter().map(|&length| length as usize).collect(), data })
    }
}

impl View for Bytes {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}

const KINDS: [(Kind, Dtype); 9] = [
    (Kind::Float, Dtype::F32),
    (Kind::Double, Dtype::F64),
    (Kind::Half, Dtype::F16),
    (Kind::BFloat16, Dtype::BF16),
    (Kind::Int64, Dtype::I64),
    (Kind::Int, Dtype::I32),
    (Kind::Int16, Dtype::I16),
    (Kind::Int8, Dtype::I8),
    (Kind::Uint8, Dtype::U8),
];

fn dtype(kind: Kind) -> Option<Dtype> {
    match kind {
        Kind::Bool => Some(Dtype::BOOL),
        _ => KINDS.iter().find(|(own, _)| *own == kind).map(|(_, dtype)| *dtype),
    }
}

fn kind(dtype: Dtype) -> Option<Kind> {
    match dtype {
        Dtype::BOOL => Some(Kind::Bool),
        _ => KINDS.iter().find(|(_, own)| *own == dtype).map(|(kind, _)| *kind),
    }
}

#[cfg(test)]
mod tests {
    use admix_api::{Store, Streams};

    use super::*;
    use crate::{BackboneConfig, ConvNetConfig};

    fn metadata() -> BTreeMap<String, String> {
        BTreeMap::from([("format".to_string(), "1".to_string())])
    }

    #[test]
    fn every_kind_and_shape_survives_a_round_trip() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("w.safetensors");
        let base = Tensor::f_arange(6, (Kind::Double, Device::Cpu))?.f_reshape([2, 3])?;
        let mut tensors: Vec<(String, Tensor)> = Vec::new();
        for (i, kind) in KINDS.iter().map(|(kind, _)| *kind).chain([Kind::Bool]).enumerate() {
            tensors.push((format!("t{i}"), base.f_to_kind(kind)?));
        }
        tensors.push(("transposed".into(), base.f_transpose(0, 1)?));
        tensors.push(("u_scalar".into(), Tensor::f_from_slice(&[2.5_f32])?.f_reshape([] as [i64; 0])?));
        tensors.push(("v_empty".into(), Tensor::f_zeros([0, 3], (Kind::Float, Device::Cpu))?));
        tensors.push(("w_leaf".into(), base.f_detach_copy()?.set_requires_grad(true)));
        save_safetensors(&path, &tensors, &metadata())?;
        let loaded = load_safetensors(&path, Device::Cpu)?;
        assert_eq!(loaded.len(), tensors.len());
        for ((name, value), (wanted_name, wanted)) in loaded.iter().zip(&tensors) {
            assert_eq!(name, wanted_name);
            assert_eq!((value.f_kind()?, value.size()), (wanted.f_kind()?, wanted.size()));
            assert!(value.f_equal(wanted)?, "{name}");
        }
        assert_eq!(safetensors_metadata(&path)?, metadata());
        // Writing again gives the same bytes and leaves no temporary file.
        let first = fs::read(&path).expect("there");
        save_safetensors(&path, &tensors, &metadata())?;
        assert_eq!(fs::read(&path).expect("there"), first);
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 1);
        Ok(())
    }

    #[test]
    fn a_network_loads_what_another_saved() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("net.safetensors");
        let build = |seed| -> Result<Store> {
            let store = Store::new(Device::Cpu, Streams::new(seed));
            ConvNetConfig::default().build(&store.root(), 3)?;
            Ok(store)
        };
        let (one, other) = (build(1)?, build(2)?);
        save_safetensors(&path, &one.tensors(), &BTreeMap::new())?;
        let loaded = load_safetensors(&path, Device::Cpu)?;
        other.load(|name| loaded.iter().find(|(n, _)| n == name).map(|(_, t)| t.shallow_clone()))?;
        for ((_, a), (_, b)) in one.tensors().iter().zip(other.tensors()) {
            assert_eq!(*a, b);
        }
        Ok(())
    }

    #[test]
    fn damaged_files_are_errors_that_name_the_file() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("w.safetensors");
        let ones = Tensor::f_ones([4, 4], (Kind::Float, Device::Cpu))?;
        save_safetensors(&path, &[("a".into(), ones)], &metadata())?;
        let whole = fs::read(&path).expect("there");
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("written");
            let error = load_safetensors(&path, Device::Cpu).expect_err("cut").to_string();
            assert!(error.contains("w.safetensors"), "{error}");
        }
        // Any byte of the header may be wrong: the values may then differ, the reader must not fall over.
        for place in 0..whole.len() - 64 {
            for value in [0, b'9', b'}', 0xff] {
                let mut content = whole.clone();
                content[place] = value;
                fs::write(&path, &content).expect("written");
                let _ = load_safetensors(&path, Device::Cpu);
                let _ = safetensors_metadata(&path);
            }
        }
        fs::remove_file(&path).expect("removed");
        let error = load_safetensors(&path, Device::Cpu).expect_err("gone").to_string();
        assert!(error.starts_with("cannot read") && error.contains("w.safetensors"), "{error}");
        Ok(())
    }

    #[test]
    fn two_tensors_of_one_name_and_unwritable_places_are_refused() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let ones = Tensor::f_ones([2], (Kind::Float, Device::Cpu))?;
        let path = folder.path().join("w.safetensors");
        let twice = [("a".to_string(), ones.shallow_clone()), ("a".to_string(), ones.shallow_clone())];
        let error = save_safetensors(&path, &twice, &metadata()).expect_err("twice").to_string();
        assert!(error.contains("`a`") && error.contains("w.safetensors"), "{error}");
        let nowhere = folder.path().join("missing").join("w.safetensors");
        let error = save_safetensors(&nowhere, &twice[..1], &metadata()).expect_err("nowhere").to_string();
        assert!(error.starts_with("cannot write"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 0);
        Ok(())
    }
}
