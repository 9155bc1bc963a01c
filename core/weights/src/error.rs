//! What can go wrong with weights.

use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of weight files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that cannot be used.
    #[error("weight file {}: {problem}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A file could not be read.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// "read", "make the folder".
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The tensors of a file are not those of the network.
    #[error("{problem}")]
    Misfit {
        /// The setting of the backbone to change, if one would do.
        setting: Option<&'static str>,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A tensor that cannot be written.
    #[error("the tensor `{name}` is of the kind {kind}, which is not written")]
    Unwritten {
        /// Which tensor.
        name: String,
        /// Its kind.
        kind: String,
    },
    /// An address that names nothing.
    #[error("{0}")]
    Address(String),
    /// A download failed.
    #[error(transparent)]
    Fetch(#[from] admix_fetch::Error),
    /// libtorch refused.
    #[error(transparent)]
    Torch(#[from] admix_torch::Error),
}

impl From<admix_torch::TchError> for Error {
    fn from(error: admix_torch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

/// A file that cannot be used.
pub(crate) fn bad(path: &Path, problem: impl Into<String>) -> Error {
    Error::File { path: path.into(), problem: problem.into() }
}
