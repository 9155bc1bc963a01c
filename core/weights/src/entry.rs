//! A tensor of a file that was not read yet.

use admix_torch::Kind;

/// Reads the bytes of a tensor, row by row.
pub(crate) type ReadBytes = Box<dyn Fn() -> std::io::Result<Vec<u8>>>;

/// A tensor of a file that was not read yet.
pub(crate) struct Entry {
    pub shape: Vec<i64>,
    pub kind: Kind,
    pub read: ReadBytes,
}
