//! How the weights of the Mix Block start.

use admix_api::prelude::*;
use admix_api::ranges::at_least;

/// The spread of the initial weights of a convolution; biases start at 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Initial {
    /// N(0, s^2) with this s, at least 0, at every width (the authors' code: 0.01).
    Normal(f64),
    /// N(0, g^2 / n) with this gain g, at least 0, where n channels are read.
    FanIn(f64),
}

impl Initial {
    /// The standard deviation where `channels` are read.
    pub(super) fn std(self, channels: i64) -> f64 {
        match self {
            Initial::Normal(std) => std,
            Initial::FanIn(gain) => gain / (channels as f64).sqrt(),
        }
    }

    pub(super) fn validate(self) -> Result<()> {
        let (Initial::Normal(value) | Initial::FanIn(value)) = self;
        at_least("init", value, 0.0)
    }
}
