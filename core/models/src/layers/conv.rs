//! 2-d convolution with square kernels.

use admix_api::{Hints, Init, Path};
use admix_torch::{Device, Tensor, trail};

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
    name: String,
}

/// Channels from which on no kernel of oneDNN was seen to write beyond its memory.
const SAFE_CHANNELS: i64 = 16;

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
        Ok(Self { weight, bias, config, name: path.name().into() })
    }

    /// `[N, in, H, W]` to `[N, out, h, w]` with `h = (H + 2 padding - kernel) / stride + 1`, rounded down.
    ///
    /// # Errors
    /// The input has other channels, or is smaller than the kernel.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let Conv2dConfig { stride, padding, groups, .. } = self.config;
        let _here = trail::enter(format_args!("{}", self.name));
        let widened = self.widened(x)?;
        let (x, weight) = widened.as_ref().map_or((x, &self.weight), |(x, weight)| (x, weight));
        let y =
            x.f_conv2d(weight, self.bias.as_ref(), [stride, stride], [padding, padding], [1, 1], groups)?;
        admix_torch::forget_input(&y, x)?;
        Ok(y)
    }

    /// Input and weights with channels of zeros added, where oneDNN must not see the few there are.
    ///
    /// Its weight gradient of a strided convolution of single cells, channels innermost, writes beyond its memory below 16
    /// channels of input, 8 with AVX2 (uxlfoundation/oneDNN#6035). With AVX-512 the bits are those of the narrow call where that
    /// does no harm.
    fn widened(&self, x: &Tensor) -> Result<Option<(Tensor, Tensor)>> {
        let Conv2dConfig { in_channels, kernel, stride, padding, groups, .. } = self.config;
        let at_risk = in_channels < SAFE_CHANNELS && (kernel, padding, groups) == (1, 0, 1) && stride > 1;
        let innermost = || admix_torch::is_channels_last(x) || admix_torch::is_channels_last(&self.weight);
        if !at_risk || x.device() != Device::Cpu || x.dim() != 4 || !innermost() {
            return Ok(None);
        }
        if x.size()[1] != in_channels {
            // libtorch's own error.
            return Ok(None);
        }
        let more = [0, 0, 0, 0, 0, SAFE_CHANNELS - in_channels];
        Ok(Some((x.f_constant_pad_nd(more)?, self.weight.f_constant_pad_nd(more)?)))
    }
}

#[cfg(test)]
mod tests {
    use admix_api::{Store, Streams};
    use admix_torch::Kind;

    use super::*;

    /// A convolution's output and its gradients for input and weights, of this upstream gradient.
    fn passes(y: &Tensor, upstream: &Tensor, x: &Tensor, weight: &Tensor) -> Result<[Tensor; 3]> {
        let inputs = [x.shallow_clone(), weight.shallow_clone()];
        let total = y.f_mul(upstream)?.f_sum(None::<Kind>)?;
        let mut grads = admix_torch::gradients(&[total], &inputs, false, false)?.into_iter().flatten();
        let mut next = || grads.next().expect("a gradient");
        Ok([y.f_detach()?, next(), next()])
    }

    /// Each shape in a loop, as a fault of the memory needs luck to be seen. Below 16 channels it was one with AVX-512.
    #[test]
    fn strided_convolutions_of_single_cells_are_right_with_few_channels_innermost() -> Result<()> {
        for (channels, side) in (1..=24).flat_map(|c| [7, 8, 14, 28, 56, 112].map(|side| (c, side))) {
            for (samples, stride) in [(1, 2), (2, 2), (2, 4)] {
                let store = Store::new(Device::Cpu, Streams::new(channels as u64));
                let config = Conv2dConfig { stride, ..Conv2dConfig::new(channels, 2 * channels, 1) };
                let conv = Conv2d::new(&store.root().sub("c"), config)?;
                admix_torch::set_data(&conv.weight, &admix_torch::channels_last(&conv.weight.f_detach()?)?)?;
                let x = admix_api::contract::wild(&[samples, channels, side, side], 0.3, Kind::Float);
                let x = admix_torch::channels_last(&x)?.f_set_requires_grad(true)?;
                let y = conv.forward(&x)?;
                let upstream = admix_api::contract::wild(&y.size(), 0.7, Kind::Float);
                let got = passes(&y, &upstream, &x, &conv.weight)?;
                // In double precision oneDNN has no part.
                let double = |t: &Tensor| t.f_detach()?.f_to_kind(Kind::Double)?.f_set_requires_grad(true);
                let (x, weight) = (double(&x)?, double(&conv.weight)?);
                let y = x.f_conv2d(&weight, None::<&Tensor>, [stride, stride], [0, 0], [1, 1], 1)?;
                let wanted = passes(&y, &double(&upstream)?, &x, &weight)?;
                for (got, wanted) in got.iter().zip(&wanted) {
                    assert_eq!(got.size(), wanted.size());
                    let gap = got.f_to_kind(Kind::Double)?.f_sub(wanted)?.f_abs()?.f_max()?;
                    let gap = gap.f_double_value(&[])? / wanted.f_abs()?.f_max()?.f_double_value(&[])?;
                    assert!(gap < 1e-5, "{channels} channels, side {side}, stride {stride}: off by {gap}");
                }
            }
        }
        Ok(())
    }

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
