//! Which files a run has found broken.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Positions of the files that were found broken so far: a part of a run's state, or its limit would begin anew whenever it is
/// resumed.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Broken {
    /// Of the training images.
    pub train: BTreeSet<usize>,
    /// Of the test images.
    pub test: BTreeSet<usize>,
}

impl Broken {
    /// Takes in what another process found.
    pub fn extend(&mut self, other: Self) {
        self.train.extend(other.train);
        self.test.extend(other.test);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.train.is_empty() && self.test.is_empty()
    }
}
