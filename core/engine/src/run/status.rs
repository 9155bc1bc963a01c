//! How a run ended.

use serde::{Deserialize, Serialize};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All epochs are done.
    Done,
    /// It was stopped, by a number of steps or a signal; it can go on.
    Stopped,
    /// It failed.
    Failed,
}
