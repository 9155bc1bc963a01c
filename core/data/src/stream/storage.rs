//! Where the pixels of a dataset are.

use serde::{Deserialize, Serialize};

/// Where the pixels of a dataset are while a run goes on.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Storage {
    /// `Stream` for a folder of images, `Device` for every other set.
    #[default]
    Auto,
    /// All of them on the device as bytes; images of one size.
    Device,
    /// In files (or in host memory, for a set that is no folder), read and cropped batch by batch.
    Stream,
}

admix_api::plain!(Storage);
