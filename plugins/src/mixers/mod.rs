//! Mixers.

mod amix;
mod automix;
pub mod block;
mod cutmix;
mod mixup;

pub use amix::{AMix, Preset};
pub use automix::AutoMix;
pub use cutmix::{BoxRule, CutBox, CutMix};
pub use mixup::MixUp;
