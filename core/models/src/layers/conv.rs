//! 2-d convolution with square kernels.

use admix_api::{Hints, Init, Path};
use admix_torch::Tensor;

use crate::Result;

/// Shape of a convolution; [`Conv2dConfig::new`] gives the common case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conv2dConfig {
    /// Channels of the input.
    pub in_channels: i64,
    /// Channels of the output.
    pub out_channels: i64,
    /// Side of the square kernel, in cells.
    pub kernel: i64,
    /// Step between output cells, in input cells.
    pub stride: i64,
    /// Zeros added on each side, in cells.
    pub padding: i64,
    /// Groups of channels that do not see each other; divides both channel counts.
    pub groups: i64,
    /// Whether a bias, initially 0, is added.
    pub bias: bool,
    /// Initial weights.
    pub init: Init,
}

impl Conv2dConfig {
    /// Stride 1, padding `kernel / 2` (an odd kernel keeps the size), one group, no bias, He fan-out weights.
    pub fn new(in_channels: i64, out_channels: i64, kernel: i64) -> Self {
        Self {
            in_channels,
            out_channels,
            kernel,
            stride: 1,
            padding: kernel / 2,
            groups: 1,
            bias: false,
            init: Init::HeFanOut,
        }
    }
}

/// A convolution: `weight` `[out, in / groups, kernel, kernel]` and, if asked for, `bias` `[out]`.
#[derive(Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    config: Conv2dConfig,
}

impl Conv2d {
    /// Makes the parameters `weight` and `bias` at `path`.
    ///
    /// # Errors
    /// A name is taken.
    pub fn new(path: &Path, config: Conv2dConfig) -> Result<Self> {
        let Conv2dConfig { in_channels, out_channels, kernel, groups, .. } = config;
        let shape = [out_channels, in_channels / groups, kernel, kernel];
        let weight = path.parameter("weight", &shape, config.init, Hints::default())?;
        let bias = if config.bias {
            Some(path.parameter("bias", &[out_channels], Init::Constant(0.0), Hints::default())?)
        } else {
            None
        };
        Ok(Self { weight, bias, config })
    }

    /// `[N, in, H, W]` to `[N, out, h, w]` with `h = (H + 2 padding - kernel) / stride + 1`, rounded down.
    ///
    /// # Errors
    /// The input has other channels, or is smaller than the kernel.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let Conv2dConfig { stride, padding, groups, .. } = self.config;
        Ok(x.f_conv2d(
            &self.weight,
            self.bias.as_ref(),
            [stride, stride],
            [padding, padding],
            [1, 1],
            groups,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use admix_api::{Store, Streams};
    use admix_torch::{Device, Kind};

    use super::*;

    #[test]
    fn groups_bias_stride_and_padding_reach_the_operation() -> Result<()> {
        let store = Store::new(Device::Cpu, Streams::new(1));
        let config = Conv2dConfig { stride: 2, groups: 2, bias: true, ..Conv2dConfig::new(4, 6, 3) };
        let conv = Conv2d::new(&store.root().sub("c"), config)?;
        let shapes: Vec<_> = store.tensors().into_iter().map(|(name, t)| (name, t.size())).collect();
        assert_eq!(shapes, [("c.weight".to_string(), vec![6, 2, 3, 3]), ("c.bias".to_string(), vec![6])]);
        let x = Tensor::f_ones([1, 4, 5, 7], (Kind::Float, Device::Cpu))?;
        let y = conv.forward(&x)?;
        assert_eq!(y.size(), [1, 6, 3, 4]);
        // An inner cell of all-ones input is the sum of the kernel.
        let sums = conv.weight.f_sum_dim_intlist([1, 2, 3].as_slice(), false, None::<Kind>)?;
        for channel in 0..6 {
            let gap = y.f_double_value(&[0, channel, 1, 1])? - sums.f_double_value(&[channel])?;
            assert!(gap.abs() < 1e-5, "{gap}");
        }
        assert!(conv.forward(&x.f_narrow(1, 0, 3)?).is_err());
        Ok(())
    }
}
