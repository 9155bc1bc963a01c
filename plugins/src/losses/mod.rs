//! Losses.

mod bce;
mod contrast;
mod cross_entropy;
mod decoupled_mixup;
mod info_nce;
mod mask;
mod mixup_cross_entropy;
mod pbce;
mod targets;

pub use bce::{Bce, BceForm};
pub use cross_entropy::CrossEntropy;
pub use decoupled_mixup::DecoupledMixup;
pub use info_nce::{Candidates, InfoNce, SameLabel};
pub use mask::{Mask, MaskMode, MaskPreset, Mean};
pub use mixup_cross_entropy::{Form, MixupCrossEntropy};
pub use pbce::{PBce, PBceForm};
pub use targets::ClassWeight;
