//! A plain stack of conv-BatchNorm-ReLU stages: small enough for tests and first steps.
//!
//! Names   conv1.weight, bn1.*, conv2.weight, bn2.*, ...; 3x3 kernels, padding 1, no bias.

use admix_api::ranges::expect;
use admix_api::{Path, Result as Checked};

use crate::{Backbone, BackboneConfig, BatchNorm2d, Conv2d, Conv2dConfig, Error, Map, Naming, Pass, Result};

admix_api::settings! {
    /// Settings of a ConvNet. Recipe: `ConvNet(widths: [8, 16, 32], strides: [2, 2, 2])`.
    pub struct ConvNetConfig {
        /// Output channels of each stage.
        pub widths: Vec<i64> = vec![8, 16, 32],
        /// Stride of each stage, as many as widths.
        pub strides: Vec<i64> = vec![2, 2, 2],
    }
}

crate::backbone! {
    ConvNetConfig, "ConvNet", "convnet", "plain 3x3 conv-BatchNorm-ReLU stages, for tests and first steps",
    source: "none: the plainest network that has all that tests need"
}

/// A stack of conv-BatchNorm-ReLU stages. Stage i is the i-th convolution; stage 0 gives its input back.
#[derive(Debug)]
struct ConvNet {
    in_channels: i64,
    widths: Vec<i64>,
    layers: Vec<(Conv2d, BatchNorm2d)>,
}

impl BackboneConfig for ConvNetConfig {
    fn validate(&self) -> Checked<()> {
        let widths = !self.widths.is_empty() && self.widths.iter().all(|&width| width > 0);
        expect("widths", format!("{:?}", self.widths), widths, "at least one, all positive")?;
        let strides =
            self.strides.len() == self.widths.len() && self.strides.iter().all(|&stride| stride > 0);
        let wanted = format!("{} positive numbers, one for each width", self.widths.len());
        expect("strides", format!("{:?}", self.strides), strides, &wanted)
    }

    fn build(&self, path: &Path, in_channels: i64) -> Result<Box<dyn Backbone>> {
        self.validate()?;
        let mut layers = Vec::new();
        let mut inputs = in_channels;
        for (i, (&width, &stride)) in self.widths.iter().zip(&self.strides).enumerate() {
            let shape = Conv2dConfig { stride, ..Conv2dConfig::new(inputs, width, 3) };
            layers.push((
                Conv2d::new(&path.sub(format!("conv{}", i + 1)), shape)?,
                BatchNorm2d::new(&path.sub(format!("bn{}", i + 1)), width)?,
            ));
            inputs = width;
        }
        Ok(Box::new(ConvNet { in_channels, widths: self.widths.clone(), layers }))
    }

    fn namings(&self) -> Vec<Naming> {
        vec![Naming::same(&["plain"], "fc")]
    }

    fn sizes(&self) -> Vec<&'static str> {
        vec!["with the defaults and three image channels, no head: 6,088"]
    }
}

impl Backbone for ConvNet {
    fn stages(&self) -> usize {
        self.layers.len()
    }

    fn stage(&self, index: usize, map: &Map, pass: &Pass) -> Result<Map> {
        let x = map.cells()?;
        let Some(below) = index.checked_sub(1) else {
            return Ok(x.into());
        };
        let (conv, norm) =
            self.layers.get(below).ok_or(Error::UnknownStage { stage: index, stages: self.layers.len() })?;
        Ok(norm.forward_relu(&conv.forward(&x)?, pass.train)?.into())
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

    fn built(widths: &[i64], strides: &[i64]) -> Result<(Store, Box<dyn Backbone>)> {
        let store = Store::new(Device::Cpu, Streams::new(1));
        let config = ConvNetConfig { widths: widths.to_vec(), strides: strides.to_vec() };
        let net = config.build(&store.root(), 1)?;
        Ok((store, net))
    }

    #[test]
    fn stages_follow_widths_and_strides_and_the_stem_is_the_identity() -> Result<()> {
        let (_store, net) = built(&[4, 6, 5], &[1, 2, 3])?;
        let x = admix_api::contract::wild(&[2, 1, 9, 14], 0.3, Kind::Float);
        let mut map = Map::from(x.shallow_clone());
        for (stage, wanted) in [(0, [2, 1, 9, 14]), (1, [2, 4, 9, 14]), (2, [2, 6, 5, 7]), (3, [2, 5, 2, 3])]
        {
            map = net.stage(stage, &map, &Pass::EVALUATE)?;
            assert_eq!(map.tensor().size(), wanted);
            assert!(stage > 0 || *map.tensor() == x);
        }
        Ok(())
    }

    #[test]
    fn the_parameter_count_is_the_documented_one() -> Result<()> {
        let store = Store::new(Device::Cpu, Streams::new(1));
        ConvNetConfig::default().build(&store.root(), 3)?;
        let count: usize = store.parameters().iter().map(|(_, tensor, _)| tensor.numel()).sum();
        assert_eq!(count, 6_088);
        Ok(())
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (widths, strides, words) in [
            (&[][..], &[][..], "widths is []"),
            (&[8, 0], &[1, 1], "widths is [8, 0]"),
            (&[8, 8], &[1], "2 positive numbers"),
            (&[8], &[0], "strides is [0]"),
        ] {
            let error = built(widths, strides).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
