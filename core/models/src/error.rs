//! What can go wrong while building, running or storing a network.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of backbones, heads and weight files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A libtorch operation failed.
    #[error(transparent)]
    Torch(#[from] admix_torch::Error),
    /// A parameter could not be made or filled.
    #[error(transparent)]
    Api(#[from] admix_api::Error),
    /// A setting outside its range.
    #[error("{model}: `{field}` is {got}, expected {wanted}")]
    Config {
        /// The backbone's name in the recipe.
        model: &'static str,
        /// Which field.
        field: &'static str,
        /// Its value.
        got: String,
        /// The range in words.
        wanted: String,
    },
    /// A tensor of the wrong shape.
    #[error("{what} has shape {got:?}, expected {wanted}")]
    Shape {
        /// Which tensor.
        what: String,
        /// Its shape.
        got: Vec<i64>,
        /// The shape in words.
        wanted: String,
    },
    /// A stage that the backbone does not have.
    #[error("no stage {stage}: this backbone has the stem, 0, and the stages 1 to {stages}")]
    UnknownStage {
        /// The stage asked for.
        stage: usize,
        /// The last one.
        stages: usize,
    },
    /// A head that the network does not have.
    #[error("no head named `{name}`; this network has {known}")]
    UnknownHead {
        /// The name asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// "read" or "write".
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A weight file that holds, or would hold, something unusable.
    #[error("weight file {}: {problem}", path.display())]
    WeightFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
}

impl From<admix_torch::TchError> for Error {
    fn from(error: admix_torch::TchError) -> Self {
        Self::Torch(error.into())
    }
}
