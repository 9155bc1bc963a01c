//! Losses.

mod cross_entropy;
mod mask;
mod mixup_cross_entropy;
mod pbce;
mod targets;

pub use cross_entropy::CrossEntropy;
pub use mask::{Mask, MaskMode, MaskPreset, Mean};
pub use mixup_cross_entropy::{Form, MixupCrossEntropy};
pub use pbce::{PBce, PBceForm};
pub use targets::ClassWeight;
