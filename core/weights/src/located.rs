//! A weight file on this machine, and what its publisher says of it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The entry of a safetensors file's text that holds the [`Normalisation`] of its network, as JSON.
pub const NORMALISATION: &str = "normalisation";

/// What the images of a network were normalised by: `(pixel - mean) / std`, pixels in [0, 1].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Normalisation {
    /// Mean of each channel.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel.
    pub std: Vec<f64>,
}

/// A weight file on this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Located {
    /// Its path.
    pub path: PathBuf,
    /// What its network takes, where its publisher says it.
    pub normalisation: Option<Normalisation>,
}
