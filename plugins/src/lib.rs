//! The bundled plugins: one file for each mixer and each loss.
//!
//! | file | what it holds |
//! |---|---|
//! | `lib.rs` | the list of all plugins |
//! | `mixers/` | one file or folder for each mixer; `block/` is the network of AMix and AutoMix |
//! | `losses/` | one file for each loss; `contrast.rs` and `targets.rs` are what several read |
//! | `presets.rs` | settings that start from a named preset |
//! | `contract.rs` | tests: every plugin keeps the contract |
//! | `edges.rs` | tests: every mixer at lambda 1, on images of one colour, without saliency |
//! | `gradients.rs` | tests: trained mixers against central differences |
//! | `pairings.rs` | tests: the host's settings with every mixer |
//! | `properties.rs` | tests: facts for every lambda, size and partner |
//! | `schemas.rs` | tests: a schema is enough to read the settings |

#![cfg_attr(test, allow(clippy::unwrap_used))]

#[macro_use]
mod presets;

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

use losses::{Bce, CrossEntropy, DecoupledMixup, InfoNce, Mask, MixupCrossEntropy, PBce};
use mixers::{
    AMix, AutoMix, Choice, CoMixup, CutMix, FMix, InterIntra, ManifoldMix, MixUp, Plain, PuzzleMix,
    ResizeMix, SaliencyMix,
};

admix_api::export_plugins! {
    MixUp, ManifoldMix, CutMix, ResizeMix, FMix, SaliencyMix, PuzzleMix, CoMixup, InterIntra, AutoMix, AMix, Choice, Plain,
    CrossEntropy, MixupCrossEntropy, DecoupledMixup, InfoNce, Bce, Mask, PBce
}
