//! Weights of other programs, and of this one, for networks to start from.
//!
//! | file | what it holds |
//! |---|---|
//! | `file.rs` | a weight file: its tensors by name, read one by one |
//! | `entry.rs` | a tensor that was not read yet |
//! | `safetensors.rs` | safetensors files |
//! | `pytorch.rs` | files of `torch.save`, of which nothing is executed |
//! | `matching.rs` | which tensor of a file belongs to which of a network: prefix and naming |
//! | `values.rs` | what values a network can take |
//! | `address.rs` | files by address: `torchvision:`, `hf:`, or a path |
//! | `located.rs` | a file on this machine, and what its publisher says of it |
//! | `cache.rs` | where downloads are kept |
//! | `hub.rs` | files of the Hugging Face hub |
//! | `zoo.rs` | torchvision's files and their checksums |
//! | `error.rs` | what can go wrong |
#![forbid(unsafe_code)]

mod address;
mod cache;
mod entry;
mod error;
mod file;
mod hub;
mod located;
mod matching;
mod pytorch;
mod safetensors;
mod values;
mod zoo;

#[cfg(test)]
mod tests;

pub use address::locate;
pub use admix_fetch::sha256;
pub use error::{Error, Result};
pub use file::{Format, WeightFile};
pub use located::{Located, NORMALISATION, Normalisation};
pub use matching::{Match, Matching, Misfit, Own};
pub use values::check_value;
