//! Convolutions of one pixel, as all of the Mix Block's are.

use admix_api::prelude::*;

use super::initial::Initial;

/// A 1x1 convolution.
#[derive(Debug)]
pub(super) struct Conv {
    /// `[out, in, 1, 1]`.
    pub(super) weight: Tensor,
    /// `[out]`.
    pub(super) bias: Option<Tensor>,
}

impl Conv {
    /// `path.weight` as `initial` says, and `path.bias` of zeros if `biased` says so.
    pub(super) fn new(
        path: &Path,
        out: i64,
        channels: i64,
        biased: Biased,
        initial: Initial,
    ) -> Result<Self> {
        let init = Init::Normal(initial.std(channels));
        let weight = path.parameter("weight", &[out, channels, 1, 1], init, Hints::default())?;
        let bias = match biased {
            Biased::Yes => Some(path.parameter("bias", &[out], Init::Constant(0.0), Hints::default())?),
            Biased::No => None,
        };
        Ok(Self { weight, bias })
    }

    /// The bias over images, `[1, out, 1, 1]`.
    pub(super) fn bias_over_images(&self) -> Result<Option<Tensor>> {
        Ok(self.bias.as_ref().map(|bias| bias.f_reshape([1, -1, 1, 1])).transpose()?)
    }
}

/// Whether a convolution adds a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Biased {
    Yes,
    No,
}

/// `[N, in, h, w]` through kernels `[out, in, 1, 1]`.
pub(super) fn conv(maps: &Tensor, kernels: &Tensor) -> Result<Tensor> {
    Ok(maps.f_conv2d(kernels, None::<Tensor>, 1, 0, 1, 1)?)
}
