//! Backbones, heads and weight files.
//!
//! A [`Backbone`] runs stage by stage, so that a mixer can read the map it needs and no layer runs twice; a
//! [`Head`] turns the last map into logits or an embedding; a [`Network`] is one backbone with named heads.
//!
//! | file | what is in it |
//! |---|---|
//! | `backbone.rs` | what a backbone and its settings are: the traits |
//! | `map.rs` | what flows from stage to stage: cells, or tokens with their grid |
//! | `pass.rs` | how a pass runs: its mode and its draws |
//! | `kind.rs` | backbones as a kind of the registry |
//! | `contract.rs` | the promises that every registered backbone is put to |
//! | `backbones/mod.rs` | the list of the entries |
//! | `backbones/<entry>.rs` | one entry: its settings beside the code that builds it |
//! | `backbones/residual.rs`, `stem.rs` | what ResNet and ResNeXt share |
//! | `backbones/preactivation.rs` | what WideResNet and PreActResNet share |
//! | `backbones/transformer.rs`, `patches.rs` | what transformers share: blocks, patches |
//! | `backbones/windows.rs` | attention within windows, for Swin |
//! | `backbones/drop_path.rs`, `size.rs` | stochastic depth, named sizes |
//! | `backbones/depth.rs` | how deep a parameter lies |
//! | `layers/` | convolution, linear layer, BatchNorm, LayerNorm |
//! | `heads/` | what reads a backbone's last map: the classifier, the neck |
//! | `naming.rs` | how other libraries name a network's tensors |
//! | `network.rs` | one backbone with its heads and neck |
//! | `weights.rs` | weight files |
//! | `error.rs` | what can go wrong |
#![forbid(unsafe_code)]

mod backbone;
mod backbones;
mod contract;
mod error;
mod heads;
mod kind;
mod layers;
mod map;
mod naming;
mod network;
mod pass;
mod weights;

pub use backbone::{Backbone, BackboneConfig};
pub use backbones::*;
pub use error::{Error, Result};
pub use heads::{Head, LinearHead, LinearNeck, LinearNeckConfig, MlpNeck, MlpNeckConfig, NeckConfig};
pub use kind::BackboneChoice;
pub use layers::{BatchNorm2d, Conv2d, Conv2dConfig, LayerNorm, Linear};
pub use map::{Grid, Map};
pub use naming::{Beside, Naming};
pub use network::Network;
pub use pass::Pass;
pub use weights::{load_safetensors, safetensors_bytes, safetensors_metadata, save_safetensors};
