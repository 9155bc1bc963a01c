//! Images cut into patches that do not overlap, each a vector.

use admix_api::{Init, Path};
use admix_torch::Tensor;

use crate::{Conv2d, Conv2dConfig, Result};

/// A convolution whose stride is its kernel.
#[derive(Debug)]
pub(super) struct Patches {
    conv: Conv2d,
    patch: i64,
}

impl Patches {
    /// Makes the convolution at `path`, with a bias.
    pub(super) fn new(path: &Path, inputs: i64, outputs: i64, patch: i64, init: Init) -> Result<Self> {
        let shape = Conv2dConfig {
            stride: patch,
            padding: 0,
            bias: true,
            init,
            ..Conv2dConfig::new(inputs, outputs, patch)
        };
        Ok(Self { conv: Conv2d::new(path, shape)?, patch })
    }

    /// PyTorch's own initial weights of such a convolution, which timm keeps: uniform within 1 / sqrt(fan-in).
    pub(super) fn uniform(inputs: i64, patch: i64) -> Init {
        Init::Uniform(1.0 / ((inputs * patch * patch) as f64).sqrt())
    }

    /// `[N, C, H, W]` to `[N, D, h, w]`, with zeros on the right and below where a patch is not full.
    pub(super) fn forward_padded(&self, x: &Tensor) -> Result<Tensor> {
        self.conv.forward(&padded(x, |side| (side + self.patch - 1) / self.patch * self.patch)?)
    }

    /// The same, but what fills no patch is left out, unless there would be no patch at all.
    pub(super) fn forward_cropped(&self, x: &Tensor) -> Result<Tensor> {
        self.conv.forward(&padded(x, |side| side.max(self.patch))?)
    }
}

/// `[N, C, H, W]` with zeros on the right and below, up to the sides that `wanted` names.
fn padded(x: &Tensor, wanted: impl Fn(i64) -> i64) -> Result<Tensor> {
    let (_, _, height, width) = x.size4()?;
    match (wanted(height) - height, wanted(width) - width) {
        (0, 0) => Ok(x.shallow_clone()),
        (below, right) => Ok(x.f_constant_pad_nd([0, right, 0, below])?),
    }
}
