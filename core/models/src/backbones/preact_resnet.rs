//! PreActResNet-18: a ResNet of pre-activation blocks, as the code of many mixup papers has it; four stages.
//!
//! Source  He et al., ECCV 2016, arXiv:1603.05027. Nothing follows the last block, as in the code that gives the names;
//!         the paper has a BatchNorm and a ReLU there.
//! Names   as in kuangliu/pytorch-cifar, whose classifier is `linear`.

use std::rc::Rc;

use admix_api::{Path, Result as Checked};

use super::preactivation::{Layout, Names};
use super::residual::{check_depth, check_width};
use crate::naming::is_of_other_images;
use crate::{Backbone, BackboneConfig, Naming, Result};

admix_api::settings! {
    /// Settings of a PreActResNet. Recipe: `PreActResNet(depth: 18, width: 1.0)`.
    pub struct PreActResNetConfig {
        /// Layers: 18.
        pub depth: u32 = 18,
        /// Factor on all channel counts, in (0, 8]; each is rounded to a multiple of 8.
        pub width: f64 = 1.0,
    }
}

crate::backbone! {
    PreActResNetConfig, "PreActResNet", "preactresnet", "residual network, pre-activation; four stages",
    source: "He et al., ECCV 2016, arXiv:1603.05027"
}

impl BackboneConfig for PreActResNetConfig {
    fn validate(&self) -> Checked<()> {
        check_depth(self.depth, &[18])?;
        check_width(self.width)
    }

    fn build(&self, path: &Path, in_channels: i64) -> Result<Box<dyn Backbone>> {
        self.validate()?;
        let scaled = |count: f64| 8 * ((count * self.width / 8.0).round() as i64).max(1);
        let layout = Layout {
            stem: scaled(64.0),
            channels: [64.0, 128.0, 256.0, 512.0].map(scaled).to_vec(),
            blocks: 2,
            last_norm: false,
            names: Names { stage: "layer", block: ".", shortcut: "shortcut.0" },
        };
        Ok(Box::new(layout.build(path, in_channels)?))
    }

    fn narrowed(&self) -> Option<Rc<dyn BackboneConfig>> {
        Some(Rc::new(Self { width: self.width.min(0.125), ..self.clone() }))
    }

    fn namings(&self) -> Vec<Naming> {
        vec![Naming::same(&["pytorch-cifar"], "linear")]
    }

    fn misfit(&self, tensor: &str, theirs: &[i64], ours: &[i64]) -> Option<&'static str> {
        let other_images = tensor == "conv1.weight" && is_of_other_images(theirs, ours);
        (!other_images).then_some("width")
    }

    fn sizes(&self) -> Vec<&'static str> {
        vec!["with 10 classes: 11,171,146"]
    }
}

#[cfg(test)]
mod tests {
    use admix_api::{Store, Streams};
    use admix_torch::Device;

    use super::*;
    use crate::LinearHead;

    #[test]
    fn count_and_names_are_those_of_the_usual_code() -> Result<()> {
        let store = Store::new(Device::Cpu, Streams::new(1));
        let net = PreActResNetConfig::default().build(&store.root(), 3)?;
        LinearHead::new(&store.root(), net.channels(4), 10)?;
        let count: usize = store.parameters().iter().map(|(_, tensor, _)| tensor.numel()).sum();
        assert_eq!(count, 11_171_146);
        let names: Vec<String> = store.tensors().into_iter().map(|(name, _)| name).collect();
        for name in
            ["conv1.weight", "layer1.0.bn1.weight", "layer2.0.shortcut.0.weight", "layer4.1.conv2.weight"]
        {
            assert!(names.iter().any(|own| own == name), "{name}");
        }
        assert!(!names.iter().any(|own| own.starts_with("layer1.0.shortcut") || own.starts_with("bn1")));
        Ok(())
    }
}
