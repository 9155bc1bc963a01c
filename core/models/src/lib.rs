//! Backbones, heads and weight files.
//!
//! A [`Backbone`] runs stage by stage, so that a mixer can read the map it needs and no layer runs twice; a
//! [`Head`] turns the last map into logits or an embedding; a [`Network`] is one backbone with named heads.
//! [`BackboneConfig`] is what a recipe writes. All maps are `[N, C, h, w]`.
#![forbid(unsafe_code)]

mod backbone;
mod config;
mod convnet;
mod error;
mod heads;
mod layers;
mod network;
mod resnet;
mod weights;

pub use backbone::Backbone;
pub use config::{BackboneConfig, BackboneInfo, ConvNetConfig, ResNeXtConfig, ResNetConfig, Stem, catalogue};
pub use convnet::ConvNet;
pub use error::{Error, Result};
pub use heads::{Head, LinearHead, MlpNeck, MlpNeckConfig, NeckConfig};
pub use layers::{BatchNorm2d, Conv2d, Conv2dConfig, Linear};
pub use network::Network;
pub use resnet::ResNet;
pub use weights::{load_safetensors, safetensors_metadata, save_safetensors};
