//! What a trunk can do: run one stage at a time.

use std::ops::RangeInclusive;

use admix_torch::Tensor;

use crate::{BatchNorm2d, Result};

/// A convolutional trunk in stages. Stage 0 is the stem, the stages 1 to [`stages`](Backbone::stages) follow.
///
/// No pass reads anything back from the device.
pub trait Backbone: std::fmt::Debug {
    /// Number of stages after the stem.
    fn stages(&self) -> usize;

    /// Runs exactly stage `index` on the output of the one before, `[N, C, h, w]`; index 0 takes the images
    /// `[N, C, H, W]`. With `train`, BatchNorm uses the batch's statistics and moves its buffers.
    ///
    /// # Errors
    /// No such stage, or an input of other channels.
    fn stage(&self, index: usize, x: &Tensor, train: bool) -> Result<Tensor>;

    /// Channels of the map that `stage` gives; 0 for a stage that does not exist.
    fn channels(&self, stage: usize) -> i64;

    /// All BatchNorm layers, in the order they run.
    fn batch_norms(&self) -> Vec<&BatchNorm2d>;

    /// Runs the stages of `range` one after the other on the input of the first; an empty range gives `x` back.
    ///
    /// # Errors
    /// As [`stage`](Backbone::stage).
    fn stage_range(&self, range: RangeInclusive<usize>, x: &Tensor, train: bool) -> Result<Tensor> {
        let mut map = x.shallow_clone();
        for index in range {
            map = self.stage(index, &map, train)?;
        }
        Ok(map)
    }

    /// The whole trunk: images `[N, C, H, W]` to the last stage's map.
    ///
    /// # Errors
    /// As [`stage`](Backbone::stage).
    fn forward(&self, images: &Tensor, train: bool) -> Result<Tensor> {
        self.stage_range(0..=self.stages(), images, train)
    }
}
