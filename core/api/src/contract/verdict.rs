//! What came of a promise.

use serde::Serialize;

/// One promise and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The promise in a few words.
    pub promise: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of one promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It held in every case.
    Kept {
        /// How many cases were tried.
        cases: usize,
    },
    /// It did not hold.
    Broken {
        /// What was seen in the first case that broke it: one line.
        message: String,
        /// That case: settings, shape NxCxHxW, per, loud or quiet, seed and step.
        reproduce: String,
        /// How many cases broke it.
        broken: usize,
        /// How many cases were tried.
        cases: usize,
    },
    /// There was nothing to hold it against.
    NotApplicable {
        /// Why not.
        why: String,
    },
}

impl Verdict {
    /// Whether the promise was broken.
    pub fn is_broken(&self) -> bool {
        matches!(self.outcome, Outcome::Broken { .. })
    }
}
