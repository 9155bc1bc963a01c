//! Tests of the crate through its public API.

#![allow(clippy::unwrap_used)]

mod augmentations;
mod batches;
mod contract;
mod fine_grained;
mod groups;
mod hostile;
mod importing;
mod jpegs;
mod packed;
mod parsers;
mod sources;
mod stl10;
mod streaming;
mod support;
mod tiny_imagenet;
mod views;
