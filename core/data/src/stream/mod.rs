//! Datasets that are read as they are needed: too large for the device, or folders of images.
//!
//! Threads read files, decode them, crop and resize every view of an image from one decoding, and write bytes into
//! host memory (page-locked where the device is a GPU). What is left, flip and colours, happens on the device as for
//! resident sets. Everything random is named by seed, purpose, epoch and batch: neither the number of threads nor
//! their timing changes a bit.

mod dataset;
mod folder;
mod images;
mod job;
mod picture;
mod pool;
mod settings;

pub(crate) use dataset::Stream;
pub(crate) use folder::names;
pub(crate) use job::{Drawn, Ticket};
pub use pool::Worked;
pub use settings::Storage;
pub(crate) use settings::{SIZE, folder, is_folder, source, streamed, validate};
