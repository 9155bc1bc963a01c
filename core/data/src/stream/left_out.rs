//! Files of a folder that are left out, counted by reason.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// What is left out, and real files that links led to.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// For each reason how many files, and the first of them.
    reasons: BTreeMap<String, (usize, PathBuf)>,
}

impl LeftOut {
    pub(super) fn add(&mut self, reason: impl Into<String>, path: PathBuf) {
        self.reasons.entry(reason.into()).and_modify(|(count, _)| *count += 1).or_insert((1, path));
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (reason, (count, path)) in other.reasons {
            let entry = self.reasons.entry(reason).or_insert((0, path));
            entry.0 += count;
        }
    }

    /// Tells each reason once.
    pub(super) fn tell(&self, root: &Path) {
        for (reason, (count, path)) in &self.reasons {
            tracing::warn!(
                "{}: {count} files are left out: {reason}, such as {}",
                root.display(),
                path.display()
            );
        }
    }
}

/// Which real file each listed one is: links may name one twice.
#[derive(Debug, Default)]
pub(super) struct Real {
    seen: HashMap<PathBuf, PathBuf>,
}

impl Real {
    /// The listed file that is the same real file as this one, if there is one.
    pub(super) fn before(&mut self, path: &Path) -> Option<PathBuf> {
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.into());
        match self.seen.get(&real) {
            Some(before) => Some(before.clone()),
            None => {
                self.seen.insert(real, path.into());
                None
            }
        }
    }
}
