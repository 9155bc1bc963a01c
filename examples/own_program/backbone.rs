//! AllConv: 3x3 convolutions with a ReLU after each, and no normalisation.

use admix_api::prelude::*;
use admix_api::ranges::expect;
use admix_models::{Backbone, BackboneConfig, BatchNorm2d, Conv2d, Conv2dConfig, Error, Map, Pass};

admix_api::settings! {
    /// Settings of an AllConv. Recipe: `AllConv(widths: [8, 16])`.
    pub struct AllConv {
        /// Output channels of each stage; each halves the map.
        pub widths: Vec<i64> = vec![8, 16],
    }
}

admix_models::backbone! { AllConv, "AllConv", "all_conv", "3x3 convolutions of stride 2 and ReLUs", source: "an example" }

#[derive(Debug)]
struct Layers {
    in_channels: i64,
    widths: Vec<i64>,
    convs: Vec<Conv2d>,
}

impl BackboneConfig for AllConv {
    fn validate(&self) -> Result<()> {
        let good = !self.widths.is_empty() && self.widths.iter().all(|&width| width > 0);
        expect("widths", format!("{:?}", self.widths), good, "at least one, all positive")
    }

    fn build(&self, path: &Path, in_channels: i64) -> admix_models::Result<Box<dyn Backbone>> {
        self.validate()?;
        let (mut convs, mut inputs) = (Vec::new(), in_channels);
        for (i, &width) in self.widths.iter().enumerate() {
            let shape = Conv2dConfig { stride: 2, ..Conv2dConfig::new(inputs, width, 3) };
            convs.push(Conv2d::new(&path.sub(format!("conv{}", i + 1)), shape)?);
            inputs = width;
        }
        Ok(Box::new(Layers { in_channels, widths: self.widths.clone(), convs }))
    }
}

impl Backbone for Layers {
    fn stages(&self) -> usize {
        self.convs.len()
    }

    fn stage(&self, index: usize, map: &Map, _: &Pass) -> admix_models::Result<Map> {
        // Stage 0, the stem, hands the images on.
        let Some(below) = index.checked_sub(1) else { return Ok(map.cells()?.into()) };
        let unknown = Error::UnknownStage { stage: index, stages: self.convs.len() };
        let conv = self.convs.get(below).ok_or(unknown)?;
        Ok(conv.forward(&map.cells()?)?.f_relu()?.into())
    }

    fn channels(&self, stage: usize) -> i64 {
        match stage.checked_sub(1) {
            None => self.in_channels,
            Some(below) => self.widths.get(below).copied().unwrap_or(0),
        }
    }

    fn batch_norms(&self) -> Vec<&BatchNorm2d> {
        Vec::new()
    }
}
