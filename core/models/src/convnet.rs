//! A plain stack of conv-BatchNorm-ReLU stages: small enough for tests and first steps.
//!
//! Names   conv1.weight, bn1.*, conv2.weight, bn2.*, ...; 3x3 kernels, padding 1, no bias.

use admix_api::Path;
use admix_torch::Tensor;

use crate::{Backbone, BatchNorm2d, Conv2d, Conv2dConfig, ConvNetConfig, Error, Result};

/// A stack of conv-BatchNorm-ReLU stages. Stage i is the i-th convolution; stage 0 gives its input back.
#[derive(Debug)]
pub struct ConvNet {
    in_channels: i64,
    widths: Vec<i64>,
    layers: Vec<(Conv2d, BatchNorm2d)>,
}

impl ConvNet {
    /// Makes the network at `path` for images of `in_channels` channels.
    ///
    /// # Errors
    /// Settings out of range, or a name is taken.
    pub fn new(path: &Path, config: &ConvNetConfig, in_channels: i64) -> Result<Self> {
        config.validate()?;
        let mut layers = Vec::new();
        let mut inputs = in_channels;
        for (i, (&width, &stride)) in config.widths.iter().zip(&config.strides).enumerate() {
            let shape = Conv2dConfig { stride, ..Conv2dConfig::new(inputs, width, 3) };
            layers.push((
                Conv2d::new(&path.sub(format!("conv{}", i + 1)), shape)?,
                BatchNorm2d::new(&path.sub(format!("bn{}", i + 1)), width)?,
            ));
            inputs = width;
        }
        Ok(Self { in_channels, widths: config.widths.clone(), layers })
    }
}

impl Backbone for ConvNet {
    fn stages(&self) -> usize {
        self.layers.len()
    }

    fn stage(&self, index: usize, x: &Tensor, train: bool) -> Result<Tensor> {
        let Some(below) = index.checked_sub(1) else {
            return Ok(x.shallow_clone());
        };
        let (conv, norm) =
            self.layers.get(below).ok_or(Error::UnknownStage { stage: index, stages: self.layers.len() })?;
        Ok(norm.forward(&conv.forward(x)?, train)?.f_relu_()?)
    }

    fn channels(&self, stage: usize) -> i64 {
        match stage.checked_sub(1) {
            None => self.in_channels,
            Some(below) => self.widths.get(below).copied().unwrap_or(0),
        }
    }

    fn batch_norms(&self) -> Vec<&BatchNorm2d> {
        self.layers.iter().map(|(_, norm)| norm).collect()
    }
}

#[cfg(test)]
mod tests {
    use admix_api::{Store, Streams};
    use admix_torch::{Device, Kind};

    use super::*;

    #[test]
    fn stages_follow_widths_and_strides_and_the_stem_is_the_identity() -> Result<()> {
        let store = Store::new(Device::Cpu, Streams::new(1));
        let config = ConvNetConfig { widths: vec![4, 6, 5], strides: vec![1, 2, 3] };
        let net = ConvNet::new(&store.root(), &config, 1)?;
        let x = Tensor::f_randn([2, 1, 9, 14], (Kind::Float, Device::Cpu))?;
        assert_eq!(net.stage(0, &x, true)?, x);
        let mut map = x.shallow_clone();
        for (stage, wanted) in [(1, [2, 4, 9, 14]), (2, [2, 6, 5, 7]), (3, [2, 5, 2, 3])] {
            map = net.stage(stage, &map, false)?;
            assert_eq!(map.size(), wanted);
            assert_eq!(map.size()[1], net.channels(stage));
        }
        assert_eq!(map, net.forward(&x, false)?);
        assert_eq!((net.channels(0), net.channels(4)), (1, 0));
        assert!(net.stage(4, &map, false).is_err());
        Ok(())
    }
}
