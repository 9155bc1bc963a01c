//! What went wrong with one image.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::Error;

/// What went wrong with one image, on a thread.
#[derive(Debug)]
pub(crate) enum Fault {
    Io {
        path: PathBuf,
        source: io::Error,
    },
    Broken {
        path: PathBuf,
        why: String,
    },
    /// A crop that was asked for is no part of the image; all `(top, left, height, width)`.
    Crop {
        wanted: [i64; 4],
        size: (i64, i64),
    },
    /// Of this program.
    Internal(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::Broken { path, why } => write!(f, "{}: {why}", path.display()),
            Self::Crop { wanted: [top, left, height, width], .. } => {
                write!(f, "a crop of {height}x{width} pixels from ({top}, {left})")
            }
            Self::Internal(why) => f.write_str(why),
        }
    }
}

const WHOLE: &str = "a whole picture";

/// A run may go on without the file only as the same data: removing it would change the order of all images.
const REMEDY: &str =
    "replace it by a whole picture, or let another one stand in for it with `data.broken: Skip()`";

impl Fault {
    /// The error, where so many more files are broken.
    pub(crate) fn among(self, more: usize) -> Error {
        match Error::from(self) {
            Error::Malformed { path, problem, expected, .. } => {
                let remedy = format!("{REMEDY} ({more} more files are broken: --log warn names them)");
                Error::Malformed { path, problem, expected, remedy }
            }
            other => other,
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Io { path, source } => Error::Io { path, action: "read", source },
            Fault::Broken { path, why } => {
                Error::Malformed { path, problem: why, expected: WHOLE.into(), remedy: REMEDY.into() }
            }
            Fault::Crop { wanted: [top, left, height, width], size } => Error::Shape {
                what: "a crop",
                got: format!("{height}x{width} pixels from ({top}, {left})"),
                wanted: format!("a part of an image of {}x{}", size.0, size.1),
            },
            Fault::Internal(why) => Error::Shape { what: "a batch", got: why, wanted: "images".into() },
        }
    }
}
