//! Layer normalisation.
//!
//! Source  Ba et al. 2016, arXiv:1607.06450.

use admix_api::{Hints, Init, Path};
use admix_torch::Tensor;

use crate::Result;

/// Layer normalisation: parameters `weight` and `bias`, both `[C]`.
#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl LayerNorm {
    /// Weight 1, bias 0; `epsilon` is added to the variance.
    ///
    /// # Errors
    /// A name is taken.
    pub fn new(path: &Path, channels: i64, epsilon: f64) -> Result<Self> {
        let parameter = |name: &str, value: f64| {
            path.parameter(name, &[channels], Init::Constant(value), Hints::default())
        };
        Ok(Self { weight: parameter("weight", 1.0)?, bias: parameter("bias", 0.0)?, epsilon })
    }

    /// Normalises the last axis of `[.., C]`.
    ///
    /// # Errors
    /// Other channels.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let size = self.weight.size();
        Ok(x.f_layer_norm(size, Some(&self.weight), Some(&self.bias), self.epsilon, true)?)
    }

    /// Normalises the channels of cells `[N, C, h, w]`.
    ///
    /// # Errors
    /// Other channels.
    pub fn forward_cells(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.forward(&x.f_permute([0, 2, 3, 1])?)?.f_permute([0, 3, 1, 2])?)
    }
}

#[cfg(test)]
mod tests {
    use admix_api::{Store, Streams};
    use admix_torch::{Device, Kind};

    use super::*;

    #[test]
    fn every_cell_is_normalised_over_its_channels() -> Result<()> {
        let store = Store::with_kind(Device::Cpu, Kind::Double, Streams::new(1));
        let norm = LayerNorm::new(&store.root(), 5, 1e-6)?;
        let x = admix_api::contract::wild(&[2, 5, 3, 4], 0.3, Kind::Double);
        let y = norm.forward_cells(&x)?;
        let mean = x.f_mean_dim(1i64, true, None)?;
        let variance = x.f_sub(&mean)?.f_square()?.f_mean_dim(1i64, true, None)?;
        let wanted = x.f_sub(&mean)?.f_div(&variance.f_add_scalar(1e-6)?.f_sqrt()?)?;
        assert!(y.f_allclose(&wanted, 1e-12, 1e-12, false)?);
        assert!(norm.forward(&x).is_err());
        Ok(())
    }
}
