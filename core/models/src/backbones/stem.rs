//! The first layers of a residual network.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a residual network begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Stem {
    /// 3x3 convolution of stride 1, no pool: for images of 32 to 64 pixels.
    #[default]
    Small,
    /// 7x7 convolution of stride 2, then 3x3 max-pool of stride 2: for images from 96 pixels on.
    Large,
}
