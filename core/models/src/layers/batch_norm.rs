//! Batch normalisation over `[N, C, H, W]`, per channel.
//!
//! Source  Ioffe and Szegedy, ICML 2015; buffers move as in PyTorch.

use std::cell::Cell;

use admix_api::{Hints, Init, Path};
use admix_torch::Tensor;

use crate::{Error, Result};

const EPSILON: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// Batch normalisation: parameters `weight` and `bias`, buffers `running_mean` and `running_var`, all `[C]`.
#[derive(Debug)]
pub struct BatchNorm2d {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    channels: i64,
    momentum: Cell<f64>,
}

impl BatchNorm2d {
    /// Weight 1, bias 0, running mean 0, running variance 1.
    ///
    /// # Errors
    /// A name is taken.
    pub fn new(path: &Path, channels: i64) -> Result<Self> {
        Self::with_weight(path, channels, 1.0)
    }

    /// As [`BatchNorm2d::new`], with another initial weight: 0 at the end of a residual branch.
    ///
    /// # Errors
    /// A name is taken.
    pub fn with_weight(path: &Path, channels: i64, weight: f64) -> Result<Self> {
        let shape = [channels];
        Ok(Self {
            weight: path.parameter("weight", &shape, Init::Constant(weight), Hints::default())?,
            bias: path.parameter("bias", &shape, Init::Constant(0.0), Hints::default())?,
            running_mean: path.buffer("running_mean", &shape, 0.0)?,
            running_var: path.buffer("running_var", &shape, 1.0)?,
            channels,
            momentum: Cell::new(MOMENTUM),
        })
    }

    /// Normalises `[N, C, H, W]`; the shape stays.
    ///
    /// With `train`, by the batch's own mean and biased variance, and the buffers move by the momentum towards
    /// that mean and the *unbiased* variance. Otherwise by the buffers, which stay.
    ///
    /// # Errors
    /// Other channels; with `train`, a single value per channel, which has no variance.
    pub fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let size = x.size();
        let fits = matches!(size[..], [n, c, h, w] if c == self.channels && (!train || n * h * w > 1));
        if !fits {
            let values = if train { ", at least two values per channel" } else { "" };
            return Err(Error::Shape {
                what: "the input of a BatchNorm".into(),
                got: size,
                wanted: format!("[N, {}, H, W]{values}", self.channels),
            });
        }
        Ok(x.f_batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            Some(&self.running_mean),
            Some(&self.running_var),
            train,
            self.momentum.get(),
            EPSILON,
            true,
        )?)
    }

    /// Share of the new batch in the buffers at each train-mode pass; 0.1 unless changed.
    pub fn momentum(&self) -> f64 {
        self.momentum.get()
    }

    /// Changes the momentum: 1 replaces the buffers, 1 / (i + 1) at pass i averages over all passes.
    pub fn set_momentum(&self, momentum: f64) {
        self.momentum.set(momentum);
    }

    /// The running mean and variance, each `[C]`: handles on the buffers themselves.
    pub fn buffers(&self) -> [Tensor; 2] {
        [self.running_mean.shallow_clone(), self.running_var.shallow_clone()]
    }
}

#[cfg(test)]
mod tests {
    use admix_api::{Store, Streams};
    use admix_torch::{Device, Kind};

    use super::*;

    // Two channels, four values each: [1, 2, 3, 6] (mean 3, biased 3.5, unbiased 14/3), [0, 0, 4, 4] (2, 4, 16/3).
    fn example() -> Result<Tensor> {
        let values = [1.0, 2.0, 0.0, 0.0, 3.0, 6.0, 4.0, 4.0];
        Ok(Tensor::f_from_slice(&values)?.f_reshape([2, 2, 1, 2])?)
    }

    fn layer() -> Result<(Store, BatchNorm2d)> {
        let store = Store::with_kind(Device::Cpu, Kind::Double, Streams::new(1));
        let norm = BatchNorm2d::new(&store.root().sub("bn"), 2)?;
        Ok((store, norm))
    }

    fn assert_near(tensor: &Tensor, wanted: &[f64]) -> Result<()> {
        let got = Vec::<f64>::try_from(tensor.f_detach()?.f_reshape([-1])?)?;
        assert_eq!(got.len(), wanted.len());
        assert!(got.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?} {wanted:?}");
        Ok(())
    }

    #[test]
    fn train_mode_normalises_by_the_biased_and_stores_the_unbiased_variance() -> Result<()> {
        let (_store, norm) = layer()?;
        let y = norm.forward(&example()?, true)?;
        let wanted: Vec<f64> = [
            (1.0, 3.0, 3.5),
            (2.0, 3.0, 3.5),
            (0.0, 2.0, 4.0),
            (0.0, 2.0, 4.0),
            (3.0, 3.0, 3.5),
            (6.0, 3.0, 3.5),
            (4.0, 2.0, 4.0),
            (4.0, 2.0, 4.0),
        ]
        .iter()
        .map(|(x, mean, variance): &(f64, f64, f64)| (x - mean) / (variance + 1e-5).sqrt())
        .collect();
        assert_near(&y, &wanted)?;
        let [mean, variance] = norm.buffers();
        assert_near(&mean, &[0.3, 0.2])?;
        assert_near(&variance, &[0.9 + 0.1 * 14.0 / 3.0, 0.9 + 0.1 * 16.0 / 3.0])?;
        let _ = norm.forward(&example()?, true)?;
        assert_near(&mean, &[0.57, 0.38])
    }

    #[test]
    fn eval_mode_reads_the_buffers_and_leaves_them() -> Result<()> {
        let (store, norm) = layer()?;
        let _ = norm.forward(&example()?, true)?;
        let before: Vec<Tensor> =
            store.buffers().iter().map(|(_, t)| t.f_detach_copy()).collect::<std::result::Result<_, _>>()?;
        let y = norm.forward(&example()?, false)?;
        let scale = (0.9 + 0.1 * 14.0 / 3.0 + 1e-5_f64).sqrt();
        assert!((y.f_double_value(&[0, 0, 0, 0])? - (1.0 - 0.3) / scale).abs() < 1e-12);
        assert!(store.buffers().iter().zip(&before).all(|((_, now), was)| now == was));
        Ok(())
    }

    #[test]
    fn one_value_per_channel_and_wrong_channels_are_refused() -> Result<()> {
        let (store, norm) = layer()?;
        let one = Tensor::f_ones([1, 2, 1, 1], (Kind::Double, Device::Cpu))?;
        let error = norm.forward(&one, true).expect_err("no variance").to_string();
        assert!(error.contains("[1, 2, 1, 1]") && error.contains("two values"), "{error}");
        let _ = norm.forward(&one, false)?;
        assert!(norm.forward(&Tensor::f_ones([2, 3, 4, 4], (Kind::Double, Device::Cpu))?, false).is_err());
        assert_near(&store.buffers()[0].1, &[0.0, 0.0])
    }
}
