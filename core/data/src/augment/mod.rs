//! What training images go through: one file for each augmentation, and what they are made of.

mod augmix;
mod blur;
mod bytes;
mod colour;
mod contract;
mod kind;
mod moco;
mod operations;
mod pipeline;
mod resample;
mod resized_crop;
mod shift;
mod view;
mod views;

pub use augmix::{AugMix, FirstCrop};
pub use kind::{AugmentChoice, Augmentation, AugmentationConfig, Crop, Cropped, Cutter, Setup};
pub use moco::Moco;
pub use resample::Interpolation;
pub use resized_crop::ResizedCrop;
pub use shift::{Offset, Shift};
pub use view::{Change, Jitter, View};
pub use views::Views;

admix_api::register! { augmix::AugMix, moco::Moco, resized_crop::ResizedCrop, shift::Shift }
