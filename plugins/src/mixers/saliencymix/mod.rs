//! SaliencyMix in parts: the mixer, and the maps that place its box.

mod maps;
#[allow(clippy::module_inception, reason = "the file of the mixer of this name")]
mod saliencymix;

pub use maps::{fine_grained, float_bytes, peaks};
pub use saliencymix::{Map, SaliencyMix, Scope};
