//! Datasets: reading, importing and packing them, and serving augmented batches from the device.
//!
//! A small set lives on the device as bytes. A training batch is two gathers, of rows and of pixels within them, that
//! select, crop and flip, then a normalisation in place; views for self-supervised methods are cropped, resized, recoloured and
//! blurred there too. Nothing in it waits for the device. All randomness is drawn on the host from [`admix_api::Draws`].
//!
//! | file | what it holds |
//! |---|---|
//! | `config.rs` | what a recipe says about its data |
//! | `groups.rs` | how many views a batch holds, in groups that are made alike |
//! | `datasets/` | the kind `dataset`: its trait and contract, and one file for each set |
//! | `augment/` | the kind `augmentation`: its trait and contract, one file for each, and what they are made of |
//! | `lookup.rs` | which dataset a name stands for |
//! | `catalogue.rs` | what datasets there are, and whether their files are sound |
//! | `fetch/` | downloads from where a set is published |
//! | `import/` | images of a folder or an archive become a packed file |
//! | `list.rs` | a list file: paths with labels |
//! | `named.rs` | the files that lists name: whether they are there |
//! | `packed.rs` | the packed file |
//! | `source.rs` | a whole set in host memory |
//! | `info.rs` | what is known of a set that was read, and the names of splits |
//! | `open.rs` | a set is opened: on the device, or behind threads |
//! | `laws.rs` | the augmentations of a dataset, one for each group of views |
//! | `dataset.rs` | the opened set and its batches |
//! | `stand_in.rs` | a set without images, for checks where its files are not there |
//! | `resident.rs` | one split on the device |
//! | `stream/` | threads that read, decode and crop images as they are needed |
//! | `loader.rs` | the batches of one pass, made ahead |
//! | `batch.rs` | images ready for a network |
//! | `drawn.rs` | where the draws of a batch come from |
//! | `tensors.rs` | host numbers on the device |
//! | `error.rs` | what can go wrong |

mod augment;
mod batch;
mod catalogue;
mod config;
mod dataset;
mod datasets;
mod drawn;
mod error;
mod fetch;
mod groups;
mod import;
mod info;
mod laws;
mod list;
mod loader;
mod lookup;
mod named;
mod open;
mod packed;
mod resident;
mod source;
mod stand_in;
mod stream;
mod tensors;

pub use augment::{
    AugMix, AugmentChoice, Augmentation, AugmentationConfig, Change, Crop, Cropped, Cutter, FirstCrop,
    Interpolation, Jitter, Moco, Offset, ResizedCrop, Setup, Shift, View, Views,
};
pub use batch::Batch;
pub use catalogue::{Entry, Status, Verified};
pub use config::DataConfig;
pub use dataset::Dataset;
pub use datasets::{
    About, Absent, Aircraft, CreditStrip, DatasetSource, Published, SetSettings, Then, Toy, Wanted,
};
pub use error::{Error, Malformed, Result};
pub use fetch::{Fetched, GetOptions, GetReport};
pub use groups::{ViewGroup, ViewsConfig};
pub use import::{Arranged, Channels, Decoded, Exif, ImportOptions, ImportReport, Layout, Numbering, Planar};
pub use info::{Info, Split, TrainSplit};
pub use loader::{AHEAD, Loader, Pass};
pub use lookup::Datasets;
pub use source::{Contents, ImageFiles, Images, Part, Source};
pub use stream::{Broken, BrokenFiles, Fit, Pictures, ReadPictures, Storage, Worked, pictures_at};

/// The parsers of foreign bytes, for fuzzing only.
#[doc(hidden)]
pub mod parse {
    pub use crate::datasets::cifar::{Cifar, parse as cifar};
    pub use crate::datasets::cifar10::CIFAR10;
    pub use crate::datasets::cifar100::CIFAR100;
    pub use crate::datasets::fashion_mnist::{
        IdxImages, parse_images as idx_images, parse_labels as idx_labels,
    };
    pub use crate::datasets::stl10::{
        parse_class_names as stl10_class_names, parse_folds as stl10_folds, parse_labels as stl10_labels,
    };
    pub use crate::list::{Line as ListLine, parse as list};
    pub use crate::packed::{Header, parse_header as packed_header, parse_labels as packed_labels};
    pub use crate::source::Images;
}
