//! Mixers.

mod amix;
mod automix;
pub mod block;
mod choice;
mod cutmix;
mod fmix;
mod manifoldmix;
mod mixup;
pub mod puzzle;
mod puzzlemix;
mod resizemix;
mod saliencymix;

pub use amix::{AMix, Preset};
pub use automix::AutoMix;
pub use choice::Choice;
pub use cutmix::{BoxRule, CutBox, CutMix};
pub use fmix::{FMix, Spectrum, cut, cut_at};
pub use manifoldmix::ManifoldMix;
pub use mixup::MixUp;
pub use puzzlemix::{PuzzleMix, Solver};
pub use resizemix::{ResizeMix, Resizing, SideShare};
pub use saliencymix::{SaliencyMix, Scope, fine_grained, peaks};
