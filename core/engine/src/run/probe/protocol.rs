//! How features are evaluated.

use serde::{Deserialize, Serialize};

/// What is put on top of the features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// Weighted votes of the nearest training images ([`knn`](super::knn())).
    Knn,
    /// A linear classifier on augmented training images, the backbone frozen ([`linear`](super::linear())).
    Linear,
    /// An approximation of it: on the features of the training images as they are, computed once.
    LinearCached,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Knn, Self::Linear, Self::LinearCached];

    /// Its name on the command line: "linear-cached".
    pub fn name(self) -> &'static str {
        match self {
            Self::Knn => "knn",
            Self::Linear => "linear",
            Self::LinearCached => "linear-cached",
        }
    }
}
