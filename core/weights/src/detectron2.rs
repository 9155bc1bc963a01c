//! The backbone of a detector, as Detectron2 reads it: a pickle of names and arrays.

use admix_torch::{Kind, Tensor};

use crate::bytes::bytes_of;
use crate::pickle::Pickle;
use crate::{Error, Result};

/// The name in Detectron2 of a tensor of a residual network, given that in torchvision; `None` if it has none.
///
/// ```
/// use admix_weights::detectron2_name;
///
/// assert_eq!(detectron2_name("layer1.0.bn2.bias").as_deref(), Some("res2.0.conv2.norm.bias"));
/// assert_eq!(detectron2_name("fc.weight"), None);
/// ```
pub fn detectron2_name(name: &str) -> Option<String> {
    if let Some(leaf) = name.strip_prefix("bn1.") {
        return Some(format!("stem.conv1.norm.{leaf}"));
    }
    if name == "conv1.weight" {
        return Some(format!("stem.{name}"));
    }
    let (stage, rest) = name.strip_prefix("layer")?.split_once('.')?;
    let (block, rest) = rest.split_once('.')?;
    let (stage, block): (usize, usize) = (stage.parse().ok()?, block.parse().ok()?);
    let rest = match rest.split_once('.')? {
        ("downsample", leaf) => match leaf.split_once('.')? {
            ("0", leaf) => format!("shortcut.{leaf}"),
            ("1", leaf) => format!("shortcut.norm.{leaf}"),
            _ => return None,
        },
        (layer, leaf) => match layer.strip_prefix("bn") {
            Some(number) => format!("conv{number}.norm.{leaf}"),
            None => format!("{layer}.{leaf}"),
        },
    };
    Some(format!("res{}.{block}.{rest}", stage + 1))
}

/// The content of a file for `MODEL.WEIGHTS` of Detectron2: float32 tensors by the names that they have there.
///
/// Of NumPy the pickle names `frombuffer` and `reshape` alone, since the modules of what NumPy itself writes have moved.
///
/// # Errors
/// A tensor of another kind.
pub fn detectron2(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let mut arrays = Vec::new();
    for (name, tensor) in tensors {
        let kind = tensor.kind();
        if kind != Kind::Float {
            return Err(Error::Unwritten { name: name.clone(), kind: format!("{kind:?}") });
        }
        arrays.push((name, tensor.size(), bytes_of(tensor)?));
    }
    let mut pickle = Pickle::new(3);
    pickle.dictionary(|pickle| {
        pickle.text("model");
        pickle.dictionary(|pickle| {
            for (name, size, bytes) in arrays {
                pickle.text(name);
                pickle.global("numpy", "reshape");
                pickle.tuple(|pickle| {
                    pickle.global("numpy", "frombuffer");
                    pickle.tuple(|pickle| {
                        pickle.bytes(&bytes);
                        pickle.text("<f4");
                    });
                    pickle.call();
                    pickle.ints(&size);
                });
                pickle.call();
            }
        });
        // Without an author the file is taken for one of Caffe2, whose names are others.
        pickle.text("__author__");
        pickle.text("Admix");
        // Names are looked for as ends of the detector's.
        pickle.text("matching_heuristics");
        pickle.bool(true);
    });
    Ok(pickle.end())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use admix_api::{Store, Streams};
    use admix_models::{BackboneConfig, ResNetConfig};
    use admix_torch::Device;

    use super::*;

    #[test]
    fn a_resnet_50_has_265_arrays_under_names_that_differ() {
        let store = Store::new(Device::Cpu, Streams::new(1));
        let config = ResNetConfig { depth: 50, width: 0.0625, ..ResNetConfig::default() };
        config.build(&store.root(), 3).expect("a network");
        let names: BTreeSet<String> =
            store.tensors().iter().map(|(name, _)| detectron2_name(name).expect("a name")).collect();
        assert_eq!((names.len(), store.tensors().len()), (265, 265));
        for name in [
            "stem.conv1.weight",
            "stem.conv1.norm.running_var",
            "res2.0.shortcut.weight",
            "res3.0.shortcut.norm.bias",
            "res4.5.conv3.weight",
            "res5.2.conv3.norm.running_mean",
        ] {
            assert!(names.contains(name), "{name}");
        }
        for name in ["fc.weight", "layer1.0.downsample.2.weight", "layer1", "block1.layer.0.conv1.weight"] {
            assert_eq!(detectron2_name(name), None);
        }
    }
}
