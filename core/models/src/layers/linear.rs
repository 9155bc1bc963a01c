//! Fully connected layer.

use admix_api::{Hints, Init, Path};
use admix_torch::Tensor;

use crate::Result;

/// `x W^T + b`: parameters `weight` `[out, in]` and `bias` `[out]`.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// Makes the parameters at `path`, the weight as `init` says, the bias 0.
    ///
    /// # Errors
    /// A name is taken.
    pub fn new(path: &Path, inputs: i64, outputs: i64, init: Init) -> Result<Self> {
        Ok(Self {
            weight: path.parameter("weight", &[outputs, inputs], init, Hints::default())?,
            bias: path.parameter("bias", &[outputs], Init::Constant(0.0), Hints::default())?,
        })
    }

    /// `[.., in]` to `[.., out]`.
    ///
    /// # Errors
    /// The last axis has another length.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_linear(&self.weight, Some(&self.bias))?)
    }

    /// As [`forward`](Self::forward), of `len` outputs from `start` on alone.
    ///
    /// # Errors
    /// As there, or there are fewer outputs.
    pub fn part(&self, x: &Tensor, start: i64, len: i64) -> Result<Tensor> {
        let (weight, bias) = (self.weight.f_narrow(0, start, len)?, self.bias.f_narrow(0, start, len)?);
        Ok(x.f_linear(&weight, Some(&bias))?)
    }
}
