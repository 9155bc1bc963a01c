//! Datasets: reading, importing and packing them, and serving augmented batches from the device.
//!
//! A small set lives on the device as bytes. A training batch is two gathers, of rows and of pixels within them, that
//! select, crop and flip, then a normalisation in place; views for self-supervised methods are cropped, resized, recoloured and
//! blurred there too. Nothing in it waits for the device. All randomness is drawn on the host from [`admix_api::Draws`].

mod augment;
mod catalogue;
mod config;
mod dataset;
mod error;
mod fetch;
mod import;
mod info;
mod loader;
mod sources;
mod stream;

pub use augment::{Augment, Augmentation, Change, Interpolation, Jitter, Moco, ResizedCrop, Shift, View};
pub use catalogue::{Entry, Status, Verified, catalogue, info, verify};
pub use config::{DataConfig, ToyConfig};
pub use dataset::{Batch, Dataset};
pub use error::{Error, Malformed, Result};
pub use fetch::{Fetched, GetOptions, GetReport, get};
pub use import::{ImportOptions, ImportReport, import};
pub use info::{Info, Split, TrainSplit};
pub use loader::{AHEAD, Loader, Pass};
pub use stream::{Storage, Worked};

/// The parsers of foreign bytes, for fuzzing only.
#[doc(hidden)]
pub mod parse {
    pub use crate::sources::Images;
    pub use crate::sources::cifar::{CIFAR10, CIFAR100, Cifar, parse as cifar};
    pub use crate::sources::idx::{IdxImages, parse_images as idx_images, parse_labels as idx_labels};
    pub use crate::sources::packed::{Header, parse_header as packed_header, parse_labels as packed_labels};
    pub use crate::sources::stl10::{
        parse_class_names as stl10_class_names, parse_folds as stl10_folds, parse_labels as stl10_labels,
    };
}
