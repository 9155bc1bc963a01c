//! What can go wrong between a recipe and its results.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of recipes, scripts, runs and checkpoints.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A recipe that cannot be read, at a place.
    #[error("{file}:{line}:{column}: {message}")]
    Recipe {
        /// The recipe's path.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong and what was expected.
        message: String,
    },
    /// A recipe whose values do not fit together.
    #[error("{file}: `{field}` {message}")]
    Field {
        /// The recipe's path, with the line if known.
        file: String,
        /// Dotted path of the field.
        field: String,
        /// What is wrong and what was expected; goes on after the field: "is 0, expected ...".
        message: String,
    },
    /// A script that cannot be run, at a place.
    #[error("{file}{}: {message}", if *line > 0 { format!(":{line}:{column}") } else { String::new() })]
    Script {
        /// The script's path.
        file: String,
        /// Line, from 1; 0 if unknown.
        line: usize,
        /// Column, from 1; 0 if unknown.
        column: usize,
        /// What is wrong and what was expected.
        message: String,
    },
    /// Bad input of another kind: a flag, a missing file.
    #[error("{0}")]
    Input(String),
    /// A file that cannot be read or written.
    #[error("cannot {action} {}: {source}{remedy}", path.display())]
    File {
        /// "read", "write", ...
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
        /// What to do, or empty.
        remedy: &'static str,
    },
    /// A checkpoint that cannot be used.
    #[error("checkpoint {}: {message}", path.display())]
    Checkpoint {
        /// Which.
        path: PathBuf,
        /// Why, and what to do.
        message: String,
    },
    /// The values of a run have grown out of all bounds.
    #[error(
        "the run diverged: {how}. Lower the learning rate or let it rise from 0 (`warmup` in the recipe), \
         lower the weight of the term that failed first, or try --precision fp32 if it ran in bf16; {checkpoint}"
    )]
    Diverged {
        /// What was not finite, and when.
        how: String,
        /// Where the last good state is, in a sentence without its end.
        checkpoint: String,
    },
    /// A state that is not to be written.
    #[error("`{tensor}` holds a value that is not finite: the state was not written")]
    NotFinite {
        /// The first such tensor.
        tensor: String,
    },
    /// A step failed in the middle of a run.
    #[error("{source}; this ended the run at step {step}. {saved}")]
    Step {
        /// What failed.
        source: Box<Error>,
        /// The step, from 1.
        step: u64,
        /// Where the state is, in a sentence.
        saved: String,
    },
    /// The evaluation after an epoch failed.
    #[error("{source}; this ended the evaluation after epoch {epoch}. {saved}")]
    Evaluation {
        /// What failed.
        source: Box<Error>,
        /// The epoch, from 1.
        epoch: u64,
        /// Where the state is, in a sentence.
        saved: String,
    },
    /// A signal asked to stop; the state was saved.
    #[error("stopped by signal {signal}; the state is saved in {}: resume with --resume", checkpoint.display())]
    Interrupted {
        /// SIGINT 2, SIGTERM 15 or SIGHUP 1.
        signal: i32,
        /// The checkpoint written.
        checkpoint: PathBuf,
    },
    /// From a plugin or its settings.
    #[error(transparent)]
    Api(#[from] admix_api::Error),
    /// From a data set.
    #[error(transparent)]
    Data(#[from] admix_data::Error),
    /// A file could not be downloaded.
    #[error(transparent)]
    Fetch(#[from] admix_fetch::Error),
    /// From a network.
    #[error(transparent)]
    Models(#[from] admix_models::Error),
    /// From libtorch.
    #[error(transparent)]
    Torch(#[from] admix_torch::Error),
}

impl From<admix_torch::TchError> for Error {
    fn from(error: admix_torch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

impl From<Error> for admix_api::contract::Seen {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(error) => error.into(),
            other => other.to_string().into(),
        }
    }
}

impl Error {
    /// The exit code of the program: 2 for bad input, 128 + signal when interrupted, 1 for a failed run.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Recipe { .. } | Self::Field { .. } | Self::Script { .. } | Self::Input(_) => 2,
            Self::Api(admix_api::Error::Torch(_)) => 1,
            Self::Api(_) | Self::Data(_) | Self::Checkpoint { .. } => 2,
            Self::Interrupted { signal, .. } => 128 + signal,
            _ => 1,
        }
    }

    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        let remedy = match source.kind() {
            std::io::ErrorKind::StorageFull => ". Free some space; what was written before is intact",
            std::io::ErrorKind::FileTooLarge => {
                ". Raise the limit (ulimit -f); what was written before is intact"
            }
            std::io::ErrorKind::PermissionDenied => {
                ". Choose another folder with --out, or change its rights"
            }
            std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::NotADirectory => {
                ". Choose another folder with --out"
            }
            _ => "",
        };
        Self::File { action, path: path.into(), source, remedy }
    }
}
