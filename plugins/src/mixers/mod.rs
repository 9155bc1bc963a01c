//! Mixers.

mod amix;
mod automix;
pub mod block;
mod choice;
pub mod co_mixup;
mod cutmix;
mod flow;
mod fmix;
mod inter_intra;
mod manifoldmix;
mod mixup;
mod plain;
pub mod puzzlemix;
mod resizemix;
mod saliencymix;

pub use amix::{AMix, Preset};
pub use automix::AutoMix;
pub use choice::Choice;
pub use co_mixup::CoMixup;
pub use cutmix::{BoxRule, CutBox, CutMix};
pub use fmix::{FMix, Spectrum, cut, cut_at};
pub use inter_intra::InterIntra;
pub use manifoldmix::ManifoldMix;
pub use mixup::MixUp;
pub use plain::Plain;
pub use puzzlemix::{PuzzleMix, Solver};
pub use resizemix::{ResizeMix, Resizing, SideShare};
pub use saliencymix::{Map, SaliencyMix, Scope, fine_grained, float_bytes, peaks};

/// A setting, or what is known of the data; `None` where nothing is.
fn or_data(setting: &Option<Vec<f64>>, data: &[f64]) -> Option<Vec<f64>> {
    setting.clone().or_else(|| (!data.is_empty()).then(|| data.to_vec()))
}
