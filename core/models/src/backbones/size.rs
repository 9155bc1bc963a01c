//! Sizes of a network that have names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The size of a network, by the name that its authors give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Size {
    /// The smallest.
    Tiny,
    /// The one in between.
    #[default]
    Small,
    /// The largest.
    Base,
}
