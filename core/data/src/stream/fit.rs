//! How a picture becomes an image that is measured.

use serde::{Deserialize, Serialize};

use crate::augment::Interpolation;

/// How a picture is brought to the size of the images that are measured.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The whole picture, brought to this size whatever its proportions are, as an import with `--size` does.
    Whole {
        /// Height in pixels.
        height: i64,
        /// Width in pixels.
        width: i64,
    },
    /// The centre, after the shorter side was scaled.
    Centre {
        /// Pixels of the shorter side.
        shorter: i64,
        /// Pixels a side of what is cut out.
        size: i64,
        /// How the picture is scaled.
        filter: Interpolation,
        /// Rows at the bottom of the picture that are left out before.
        #[serde(default)]
        strip: u32,
    },
}

impl Fit {
    /// Height and width of an image.
    pub fn size(self) -> (i64, i64) {
        match self {
            Self::Whole { height, width } => (height, width),
            Self::Centre { size, .. } => (size, size),
        }
    }
}
