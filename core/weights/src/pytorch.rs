//! Files of `torch.save`: the pickle in them is parsed, nothing of it is executed.

use std::collections::BTreeMap;
use std::path::Path;

use admix_torch::Kind;
use pytorch_reader::{DType, PytorchError, PytorchReader};

use crate::entry::Entry;
use crate::error::bad;
use crate::{Error, Result};

/// The tensors of a file.
pub(crate) fn open(path: &Path) -> Result<BTreeMap<String, Entry>> {
    let reader = PytorchReader::new(path).map_err(|error| refused(path, error))?;
    let mut entries = BTreeMap::new();
    for (name, tensor) in reader.into_tensors() {
        let (_, dtype, shape, read) = tensor.into_parts();
        let kind = kind(dtype).ok_or_else(|| {
            bad(
                path,
                format!(
                    "the tensor `{name}` is of the kind {dtype:?}, which is not read: save it as float32"
                ),
            )
        })?;
        let shape = shape.iter().map(|&length| length as i64).collect();
        entries.insert(name, Entry { shape, kind, read: Box::new(read) });
    }
    Ok(entries)
}

fn refused(path: &Path, error: PytorchError) -> Error {
    match error {
        PytorchError::Io(source) if source.kind() != std::io::ErrorKind::InvalidData => match source.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                bad(path, "ends early: it is damaged, fetch it again".to_string())
            }
            _ => Error::Io { action: "read", path: path.into(), source },
        },
        other => bad(
            path,
            format!(
                "is no file of weights that can be read without executing it ({other}): fetch it again, or save the \
                 network's `state_dict()` alone"
            ),
        ),
    }
}

fn kind(dtype: DType) -> Option<Kind> {
    Some(match dtype {
        DType::F32 => Kind::Float,
        DType::F64 => Kind::Double,
        DType::F16 => Kind::Half,
        DType::BF16 => Kind::BFloat16,
        DType::I64 => Kind::Int64,
        DType::I32 => Kind::Int,
        DType::I16 => Kind::Int16,
        DType::I8 => Kind::Int8,
        DType::U8 => Kind::Uint8,
        DType::Bool => Kind::Bool,
        DType::U16 | DType::U32 | DType::U64 => return None,
    })
}
