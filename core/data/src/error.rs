//! What can go wrong with data. Every message names the file or field, what was found, what was expected and a way out.

use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of datasets and of their import.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A libtorch operation failed.
    #[error(transparent)]
    Torch(#[from] admix_torch::Error),
    /// A draw was refused.
    #[error(transparent)]
    Api(#[from] admix_api::Error),
    /// The file system said no.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What was tried, such as "read".
        action: &'static str,
        /// The system's own words.
        source: std::io::Error,
    },
    /// No dataset of this name.
    #[error(
        "no dataset named `{name}`; known: {known}; bring your own with `admix data import PATH --name {name}`{hint}"
    )]
    Unknown {
        /// The name asked for.
        name: String,
        /// All names.
        known: String,
        /// ". Did you mean ...?" or empty.
        hint: String,
    },
    /// A known dataset whose files are not there.
    #[error("dataset `{name}` is not in {}: expected {expected}; to get it: {how_to_get}", folder.display())]
    Missing {
        /// The dataset.
        name: String,
        /// The folder looked in.
        folder: PathBuf,
        /// The files that were not found.
        expected: String,
        /// What to do.
        how_to_get: String,
    },
    /// A file whose contents are not what its format demands.
    #[error("{}: {problem}; expected {expected}; {remedy}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What was found.
        problem: String,
        /// What should be there.
        expected: String,
        /// What to do.
        remedy: String,
    },
    /// A setting out of its range.
    #[error("`{field}` is {got}, expected {wanted}")]
    Setting {
        /// The field, as written in a recipe.
        field: String,
        /// Its value.
        got: String,
        /// The range in words.
        wanted: String,
    },
    /// A tensor or a list of the wrong size.
    #[error("{what} has {got}, expected {wanted}")]
    Shape {
        /// Which one.
        what: &'static str,
        /// Its size.
        got: String,
        /// The size in words.
        wanted: String,
    },
    /// The target of an import is already there.
    #[error("{} exists already; give another name, or replace it with `--force`", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be downloaded.
    #[error(transparent)]
    Fetch(#[from] admix_fetch::Error),
    /// An entry that no honest image archive holds.
    #[error("{}: entry `{entry}` {why}; nothing was written. {remedy}", path.display())]
    Refused {
        /// The archive or folder.
        path: PathBuf,
        /// The entry.
        entry: String,
        /// What is wrong with it.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A folder that is not laid out as an image dataset.
    #[error("{}: {problem}; {remedy}", path.display())]
    Layout {
        /// The archive or folder.
        path: PathBuf,
        /// What was found.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// Images of several sizes and no size to bring them to.
    #[error(
        "the images differ in size: `{first}` is {}x{}, `{second}` is {}x{} (height x width); \
         resize all of them with `--size HxW`, such as `--size {}x{}`",
        first_size.0, first_size.1, second_size.0, second_size.1, first_size.0, first_size.1
    )]
    Sizes {
        /// One file.
        first: String,
        /// Its height and width.
        first_size: (i64, i64),
        /// Another file.
        second: String,
        /// Its height and width.
        second_size: (i64, i64),
    },
    /// Too many files that are no images.
    #[error("{}: {failed} of {of} files could not be decoded, more than half (the first: `{first}`: {why}); nothing was written. \
             Is it a folder of JPEG or PNG images?", path.display())]
    TooManyFailures {
        /// The archive or folder.
        path: PathBuf,
        /// How many failed.
        failed: usize,
        /// Of how many.
        of: usize,
        /// The first of them.
        first: String,
        /// What was wrong with it.
        why: String,
    },
}

impl From<admix_torch::TchError> for Error {
    fn from(error: admix_torch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

/// A setting out of its range.
pub(crate) fn setting(field: impl Into<String>, got: impl ToString, wanted: &str) -> Error {
    Error::Setting { field: field.into(), got: got.to_string(), wanted: wanted.into() }
}

/// An error of an entry's own settings, which stand at `owner` in a recipe.
pub(crate) fn of_entry(owner: &str, error: admix_api::Error) -> Error {
    match error {
        admix_api::Error::Range { what, got, wanted } => setting(format!("{owner}.{what}"), got, &wanted),
        other => other.into(),
    }
}

/// A dataset's name becomes a file name: no separators, nothing hidden.
pub(crate) fn check_name(field: &str, name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || name.starts_with(['.', '-']) || !name.chars().all(plain) {
        let wanted = "1 to 64 letters, digits, `-`, `_` or `.`, beginning with a letter or digit";
        return Err(setting(field, format!("`{}`", name.escape_debug()), wanted));
    }
    Ok(())
}

/// Names the file and the deed in an error of the file system.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { path: path.to_owned(), action, source })
    }
}

/// What a parser found wrong, before anyone said in which file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// What was found.
    pub problem: String,
    /// What should be there.
    pub expected: String,
}

impl Malformed {
    pub(crate) fn new(problem: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { problem: problem.into(), expected: expected.into() }
    }

    pub(crate) fn within(self, path: &Path, remedy: impl Into<String>) -> Error {
        let Self { problem, expected } = self;
        Error::Malformed { path: path.to_owned(), problem, expected, remedy: remedy.into() }
    }
}
