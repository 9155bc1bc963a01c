//! The classifier head: global average pool, then one linear layer.

use admix_api::{Init, Path};
use admix_torch::Tensor;

use super::{Head, global_average_pool};
use crate::{Linear, Result};

/// Global average pool, then `fc`: weight from N(0, 0.01^2), bias 0.
#[derive(Debug)]
pub struct LinearHead {
    fc: Linear,
}

impl LinearHead {
    /// Makes `fc.weight` `[classes, channels]` and `fc.bias` `[classes]` at `path`.
    ///
    /// # Errors
    /// A name is taken.
    pub fn new(path: &Path, channels: i64, classes: i64) -> Result<Self> {
        Ok(Self { fc: Linear::new(&path.sub("fc"), channels, classes, Init::Normal(0.01))? })
    }
}

impl Head for LinearHead {
    /// The map `[N, C, h, w]` to logits `[N, K]`.
    fn forward(&self, map: &Tensor, _train: bool) -> Result<Tensor> {
        self.fc.forward(&global_average_pool(map)?)
    }
}
