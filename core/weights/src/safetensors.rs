//! safetensors files: the header is read at once, tensors when they are asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use admix_torch::Kind;
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::entry::Entry;
use crate::error::bad;
use crate::{Error, Result};

/// Bytes before the header: its length.
const LENGTH: usize = 8;
/// The longest header that the format's own library takes.
const LONGEST: usize = 100_000_000;

pub(crate) type Opened = (BTreeMap<String, String>, BTreeMap<String, Entry>);

/// The text and the tensors of a file.
pub(crate) fn open(path: &Path) -> Result<Opened> {
    let io = |source| Error::Io { action: "read", path: path.into(), source };
    let mut file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let mut length = [0; LENGTH];
    file.read_exact(&mut length).map_err(io)?;
    let header = u64::from_le_bytes(length);
    if header > LONGEST as u64 || header.saturating_add(LENGTH as u64) > size {
        return Err(damaged(path, format!("its header shall have {header} bytes, the file has {size}")));
    }
    let mut bytes = vec![0; header as usize];
    file.read_exact(&mut bytes).map_err(io)?;
    let start = LENGTH as u64 + header;
    // By its own reader, which checks that shapes, kinds and places agree.
    let found: Metadata = serde_json::from_slice(&bytes).map_err(|error| damaged(path, error))?;
    if let Some(twice) = repeated(&bytes) {
        return Err(damaged(path, format!("it names `{twice}` twice")));
    }
    let file = Rc::new(file);
    let mut entries = BTreeMap::new();
    for (name, info) in found.tensors() {
        let (from, to) = info.data_offsets;
        let end = start.checked_add(to as u64).filter(|end| *end <= size);
        if end.is_none() {
            return Err(damaged(path, format!("the tensor `{name}` ends beyond its {size} bytes")));
        }
        let kind = kind(info.dtype).ok_or_else(|| {
            bad(
                path,
                format!(
                    "the tensor `{name}` is of the kind {}, which is not read: store it as F32",
                    info.dtype
                ),
            )
        })?;
        let file = Rc::clone(&file);
        let read = move || {
            let mut bytes = vec![0; to - from];
            file.read_exact_at(&mut bytes, start + from as u64)?;
            Ok(bytes)
        };
        let shape = info.shape.iter().map(|&length| length as i64).collect();
        entries.insert(name, Entry { shape, kind, read: Box::new(read) });
    }
    let text = found.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    Ok((text, entries))
}

fn damaged(path: &Path, why: impl fmt::Display) -> Error {
    bad(path, format!("is no whole safetensors file ({why}): fetch or write it again"))
}

fn kind(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::I16 => Kind::Int16,
        Dtype::I8 => Kind::Int8,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        _ => return None,
    })
}

/// A name that the header has twice: JSON lets it, and readers differ in which they take.
fn repeated(header: &[u8]) -> Option<String> {
    struct Names(Option<String>);
    impl<'de> Deserialize<'de> for Names {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
            struct Each;
            impl<'de> Visitor<'de> for Each {
                type Value = Names;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a map")
                }
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Names, A::Error> {
                    let (mut seen, mut twice) = (BTreeSet::new(), None);
                    while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                        if !seen.insert(name.clone()) {
                            twice.get_or_insert(name);
                        }
                    }
                    Ok(Names(twice))
                }
            }
            deserializer.deserialize_map(Each)
        }
    }
    serde_json::from_slice::<Names>(header).ok()?.0
}
