//! Datasets that are read as they are needed: too large for the device, or folders of images.
//!
//! Threads read files, decode them, crop and resize every view of an image from one decoding, and write bytes into
//! host memory (page-locked where the device is a GPU). What is left, flip and colours, happens on the device as for
//! resident sets. Everything random is named by seed, purpose, epoch and batch: neither the number of threads nor
//! their timing changes a bit.

mod broken;
mod fault;
mod files;
mod fit;
mod folder;
mod found_broken;
mod images;
mod job;
mod left_out;
mod listed;
mod picture;
mod pictures;
mod pool;
mod storage;
mod threads;
mod ticket;

pub use broken::BrokenFiles;
pub(crate) use files::Reading;
pub use fit::Fit;
pub(crate) use folder::{Asked, Folder, names};
pub use found_broken::Broken;
pub(crate) use images::Images;
pub(crate) use job::Done;
pub use pictures::{Pictures, ReadPictures, pictures_at};
pub use pool::Worked;
pub use storage::Storage;
pub(crate) use threads::{Clean, Stream, Unread};
pub(crate) use ticket::Ticket;

/// Height and width of a view where nothing else says so: that of ImageNet's recipes.
pub(crate) const SIZE: i64 = 224;
