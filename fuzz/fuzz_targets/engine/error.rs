//! The errors of `admix-engine` that the files under test make.

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Input(String),
    #[error("{file}:{line}:{column}: {message}")]
    Script { file: String, line: usize, column: usize, message: String },
}
