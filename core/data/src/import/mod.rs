//! Import of an image folder, or of an archive of one, into a packed file.
//!
//! Layouts: `<split>/<class>/<files>` with splits named `train` or `training` and `test`, `testing`, `val`, `valid`, `validation` or `eval`, or
//! `<class>/<files>` alone, when `test_per_class` says how many images of each class to hold out; each of them
//! possibly inside one top folder. Images without class folders are a set without labels; so are those of any layout where that
//! is asked for. Lists may name the files of a folder with their labels instead. Files below a class folder belong to it at any depth. Classes are numbered in the
//! order of their names, images sorted by name within their class. A dataset's entry may know the
//! layout of its own archive. An
//! archive is read as a stream, nothing is unpacked to the disk; images are decoded in parallel.

pub(crate) mod archive;
mod arrange;
mod budget;
pub(crate) mod channels;
pub(crate) mod decode;
pub(crate) mod decoded;
mod jpeg;
pub(crate) mod layout;
mod limits;
mod listed;
mod pack;
mod place;
pub(crate) mod suffix;
mod unlabelled;

pub use channels::Channels;
pub use decode::{Exif, Planar};
pub use decoded::Decoded;
pub use layout::{Arranged, Layout, Numbering};
pub use pack::{ImportOptions, ImportReport};
