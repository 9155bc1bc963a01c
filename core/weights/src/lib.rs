//! Weights of other programs, and of this one, for networks to start from; and weights for other programs.
//!
//! | file | what it holds |
//! |---|---|
//! | `file.rs` | a weight file: its tensors by name, read one by one |
//! | `entry.rs` | a tensor that was not read yet |
//! | `safetensors.rs` | safetensors files |
//! | `pytorch.rs` | files of `torch.save`, of which nothing is executed |
//! | `matching.rs` | which tensor of a file belongs to which of a network: prefix and naming |
//! | `values.rs` | what values a network can take |
//! | `torch_save.rs` | files for `torch.load`, written |
//! | `detectron2.rs` | files for Detectron2, written |
//! | `bytes.rs` | the bytes of a tensor that is written |
//! | `pickle.rs` | the pickles in them |
//! | `address.rs` | files by address: `torchvision:`, `hf:`, or a path |
//! | `located.rs` | a file on this machine, and what its publisher says of it |
//! | `cache.rs` | where downloads are kept |
//! | `hub.rs` | files of the Hugging Face hub |
//! | `zoo.rs` | torchvision's files and their checksums |
//! | `error.rs` | what can go wrong |
#![forbid(unsafe_code)]

mod address;
mod bytes;
mod cache;
mod detectron2;
mod entry;
mod error;
mod file;
mod hub;
mod located;
mod matching;
mod pickle;
mod pytorch;
mod safetensors;
mod torch_save;
mod values;
mod zoo;

#[cfg(test)]
mod tests;

pub use address::locate;
pub use admix_fetch::sha256;
pub use detectron2::{detectron2, detectron2_name};
pub use error::{Error, Result};
pub use file::{Format, WeightFile};
pub use located::{Located, NORMALISATION, Normalisation};
pub use matching::{Match, Matching, Misfit, Own};
pub use torch_save::torch_save;
pub use values::check_value;
