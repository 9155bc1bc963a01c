//! Files as `torch.save` writes them: a ZIP archive of a pickle and the bytes of each tensor.

use std::io::{Cursor, Write};

use admix_torch::{Kind, Tensor};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::bytes::bytes_of;
use crate::pickle::Pickle;
use crate::{Error, Result};

/// Bytes of a tensor begin at multiples of this, as there.
const ALIGNMENT: u16 = 64;

/// The content of a file that `torch.load` reads as an `OrderedDict` of tensors. Equal input gives equal bytes.
///
/// # Errors
/// A kind that is not written.
pub fn torch_save(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .with_alignment(ALIGNMENT)
        .large_file(true);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut add = |name: &str, content: &[u8]| -> std::io::Result<()> {
        zip.start_file(format!("archive/{name}"), options)?;
        zip.write_all(content)
    };
    let memory = |source| Error::Io { action: "write", path: "the archive of tensors".into(), source };
    add("data.pkl", &state(tensors)?).map_err(memory)?;
    add("byteorder", b"little").map_err(memory)?;
    for (number, (_, tensor)) in tensors.iter().enumerate() {
        add(&format!("data/{number}"), &bytes_of(tensor)?).map_err(memory)?;
    }
    add("version", b"3\n").map_err(memory)?;
    zip.finish().map(Cursor::into_inner).map_err(|error| memory(error.into()))
}

/// The pickle: names with where their tensors' bytes are.
fn state(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let mut pickle = Pickle::new(2);
    let ordered = |pickle: &mut Pickle| {
        pickle.global("collections", "OrderedDict");
        pickle.tuple(|_| {});
        pickle.call();
    };
    let storages = tensors.iter().map(|(name, tensor)| storage(name, tensor)).collect::<Result<Vec<_>>>()?;
    ordered(&mut pickle);
    pickle.items(|pickle| {
        for (number, ((name, tensor), storage)) in tensors.iter().zip(storages).enumerate() {
            let size = tensor.size();
            pickle.text(name);
            pickle.global("torch._utils", "_rebuild_tensor_v2");
            pickle.tuple(|pickle| {
                pickle.tuple(|pickle| {
                    pickle.text("storage");
                    pickle.global("torch", storage);
                    pickle.text(&number.to_string());
                    pickle.text("cpu");
                    pickle.int(tensor.numel() as i64);
                });
                pickle.persistent();
                pickle.int(0);
                pickle.ints(&size);
                pickle.ints(&strides(&size));
                pickle.bool(false);
                ordered(pickle);
            });
            pickle.call();
        }
    });
    Ok(pickle.end())
}

/// PyTorch's class of the values of a tensor.
fn storage(name: &str, tensor: &Tensor) -> Result<&'static str> {
    match tensor.kind() {
        Kind::Float => Ok("FloatStorage"),
        Kind::Double => Ok("DoubleStorage"),
        Kind::Int64 => Ok("LongStorage"),
        kind => Err(Error::Unwritten { name: name.into(), kind: format!("{kind:?}") }),
    }
}

/// Those of a tensor whose values lie in order.
fn strides(size: &[i64]) -> Vec<i64> {
    let mut strides = vec![1; size.len()];
    for at in (1..size.len()).rev() {
        strides[at - 1] = strides[at] * size[at].max(1);
    }
    strides
}

#[cfg(test)]
mod tests {
    use admix_torch::Device;

    use super::*;
    use crate::{Format, WeightFile};

    #[test]
    fn what_is_written_is_read_back_and_equal_tensors_give_equal_bytes() {
        let ramp = |n: i64, kind| Tensor::arange(n, (kind, Device::Cpu));
        let tensors = [
            ("conv1.weight".to_string(), ramp(54, Kind::Float).reshape([2, 3, 3, 3])),
            ("a.b".into(), ramp(70_000, Kind::Double).reshape([7, 10_000]).transpose(0, 1)),
            ("index".into(), ramp(5, Kind::Int64)),
            ("one".into(), Tensor::from(2.5f32)),
        ];
        let bytes = torch_save(&tensors).expect("bytes");
        assert_eq!(bytes, torch_save(&tensors).expect("bytes"));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("w.pth");
        std::fs::write(&path, bytes).expect("written");
        let file = WeightFile::open(&path).expect("a file");
        assert_eq!((file.format(), file.names().count()), (Format::PyTorch, 4));
        for (name, tensor) in &tensors {
            assert_eq!(file.tensor(name).expect("a tensor"), *tensor, "{name}");
        }
        let bad = [("x".to_string(), ramp(2, Kind::Int8))];
        assert!(torch_save(&bad).expect_err("a kind").to_string().contains("`x` is of the kind Int8"));
    }
}
