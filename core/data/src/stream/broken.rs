//! Files that cannot be decoded, or only by readers that forgive.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// What happens at a file that cannot be decoded.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[serde(deny_unknown_fields)]
pub enum BrokenFiles {
    /// The run ends.
    #[default]
    Stop,
    /// The next sound image of its class stands in for it.
    Skip {
        /// More than this share of a split's files ends the run.
        #[serde(default = "limit")]
        limit: f64,
    },
}

fn limit() -> f64 {
    0.001
}

admix_api::plain!(BrokenFiles);

impl BrokenFiles {
    /// Says so where more of so many files are broken than may be passed over.
    pub(crate) fn excess(self, broken: usize, of: usize) -> Option<String> {
        match self {
            Self::Skip { limit } if broken as f64 > limit * of as f64 => {
                Some(format!("{broken} of {of} files are broken, more than `data.broken` allows ({limit})"))
            }
            _ => None,
        }
    }
}

/// Files of a split that were found broken or flawed, each told of once.
#[derive(Debug, Default)]
pub(crate) struct Found {
    broken: Mutex<BTreeSet<usize>>,
    flawed: Mutex<BTreeSet<usize>>,
}

impl Found {
    /// Positions of the broken files.
    pub(crate) fn broken(&self) -> BTreeSet<usize> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes on from files that were found broken before.
    pub(crate) fn go_on(&self, broken: &BTreeSet<usize>) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).extend(broken);
    }

    /// Notes that file `at` was decoded: it may have been mended since it was found broken.
    pub(crate) fn sound(&self, at: usize) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).remove(&at);
    }

    /// Notes that file `at` of `of` is passed over; an error where the limit does not allow it.
    pub(crate) fn skip(&self, fault: Fault, at: usize, of: usize, rule: BrokenFiles) -> Result<(), Fault> {
        let (Fault::Broken { path, why }, BrokenFiles::Skip { .. }) = (&fault, rule) else {
            return Err(fault);
        };
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        let new = broken.insert(at);
        let count = broken.len();
        if let Some(excess) = rule.excess(count, of) {
            let why = format!("{why}; with it {excess}");
            return Err(Fault::Broken { path: path.clone(), why });
        }
        if new {
            tracing::warn!(
                "{}: {why}; the next image of its class stands in for it ({count} so far)",
                path.display()
            );
        }
        Ok(())
    }

    /// Tells of a file that readers forgive.
    pub(crate) fn flawed(&self, path: &Path, at: usize, flaws: &[String]) {
        if flaws.is_empty() {
            return;
        }
        let mut flawed = self.flawed.lock().unwrap_or_else(PoisonError::into_inner);
        if flawed.insert(at) {
            tracing::warn!(
                "{}: {}; it was decoded ({} so far)",
                path.display(),
                flaws.join(", "),
                flawed.len()
            );
        }
    }
}
