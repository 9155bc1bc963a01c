//! The bundled plugins: one file for each mixer and each loss.

#![cfg_attr(test, allow(clippy::unwrap_used))]

#[macro_use]
mod presets;
mod ranges;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod edges;
#[cfg(test)]
mod gradients;
#[cfg(test)]
mod pairings;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod schemas;

pub mod losses;
pub mod mixers;

use losses::{Bce, CrossEntropy, InfoNce, Mask, MixupCrossEntropy, PBce};
use mixers::{
    AMix, AutoMix, Choice, CoMixup, CutMix, FMix, InterIntra, ManifoldMix, MixUp, PuzzleMix, ResizeMix,
    SaliencyMix,
};

admix_api::export_plugins! {
    MixUp, ManifoldMix, CutMix, ResizeMix, FMix, SaliencyMix, PuzzleMix, CoMixup, InterIntra, AutoMix, AMix, Choice,
    CrossEntropy, MixupCrossEntropy, InfoNce, Bce, Mask, PBce
}
