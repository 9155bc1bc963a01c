//! One pass of a network over a batch: its mode and its draws.

use admix_torch::Tensor;

/// How a pass runs.
#[derive(Debug)]
pub struct Pass {
    /// Train mode: BatchNorm uses the batch's statistics and moves its buffers.
    pub train: bool,
    /// The draws of a train-mode pass, `[drops, N]` float32 uniform in [0, 1), as many rows as
    /// [`Backbone::drops`](crate::Backbone::drops) says. Drawn outside of the network, so that a captured step stays right
    /// when they are written anew. `None`: nothing is dropped, as in evaluation mode.
    pub drops: Option<Tensor>,
}

impl Pass {
    /// Train mode, nothing dropped.
    pub const TRAIN: Self = Self { train: true, drops: None };
    /// Evaluation mode.
    pub const EVALUATE: Self = Self { train: false, drops: None };
}
