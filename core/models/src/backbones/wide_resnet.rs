//! WideResNet: pre-activation blocks, few and wide; three stages.
//!
//! Source  Zagoruyko and Komodakis, BMVC 2016, arXiv:1605.07146. Without dropout.
//! Names   as in xternalz/WideResNet-pytorch, whose classifier is `fc`.

use std::rc::Rc;

use admix_api::ranges::expect;
use admix_api::{Path, Result as Checked};

use super::preactivation::{Layout, Names};
use crate::naming::is_of_other_images;
use crate::{Backbone, BackboneConfig, Naming, Result};

admix_api::settings! {
    /// Settings of a WideResNet. Recipe: `WideResNet(depth: 28, width: 10)`.
    pub struct WideResNetConfig {
        /// Layers: 6 n + 4, from 10 to 100. The paper's are 16, 22, 28 and 40.
        pub depth: u32 = 28,
        /// Factor k on the 16, 32 and 64 channels of the stages, in (0, 20]; each is rounded to a multiple of 8.
        pub width: f64 = 10.0,
    }
}

crate::backbone! {
    WideResNetConfig, "WideResNet", "wideresnet", "wide residual network, pre-activation; three stages",
    source: "Zagoruyko and Komodakis, BMVC 2016, arXiv:1605.07146"
}

impl BackboneConfig for WideResNetConfig {
    fn validate(&self) -> Checked<()> {
        let fits = (10..=100).contains(&self.depth) && self.depth % 6 == 4;
        expect("depth", self.depth, fits, "6 n + 4, from 10 to 100: 16, 22, 28, 40")?;
        expect("width", self.width, self.width > 0.0 && self.width <= 20.0, "more than 0, at most 20")
    }

    fn build(&self, path: &Path, in_channels: i64) -> Result<Box<dyn Backbone>> {
        self.validate()?;
        let scaled = |count: f64| 8 * ((count * self.width / 8.0).round() as i64).max(1);
        let layout = Layout {
            stem: 16,
            channels: [16.0, 32.0, 64.0].map(scaled).to_vec(),
            blocks: ((self.depth - 4) / 6) as usize,
            last_norm: true,
            names: Names { stage: "block", block: ".layer.", shortcut: "convShortcut" },
        };
        Ok(Box::new(layout.build(path, in_channels)?))
    }

    fn narrowed(&self) -> Option<Rc<dyn BackboneConfig>> {
        Some(Rc::new(Self { width: self.width.min(0.5), depth: self.depth.min(10) }))
    }

    fn namings(&self) -> Vec<Naming> {
        vec![Naming::same(&["wideresnet-pytorch"], "fc")]
    }

    fn misfit(&self, tensor: &str, theirs: &[i64], ours: &[i64]) -> Option<&'static str> {
        let other_images = tensor == "conv1.weight" && is_of_other_images(theirs, ours);
        (!other_images).then_some("width")
    }

    fn sizes(&self) -> Vec<&'static str> {
        vec!["with 10 classes: 28-2: 1,467,610; 28-8: 23,354,842; 28-10: 36,479,194"]
    }
}

#[cfg(test)]
mod tests {
    use admix_api::{Store, Streams};
    use admix_torch::Device;

    use super::*;
    use crate::LinearHead;

    fn store() -> Store {
        Store::new(Device::Cpu, Streams::new(1))
    }

    #[test]
    fn parameter_counts_equal_the_published_ones() -> Result<()> {
        for (depth, width, wanted) in
            [(28, 2.0, 1_467_610), (28, 8.0, 23_354_842), (28, 10.0, 36_479_194), (40, 4.0, 8_949_210)]
        {
            let store = store();
            let net = WideResNetConfig { depth, width }.build(&store.root(), 3)?;
            LinearHead::new(&store.root(), net.channels(3), 10)?;
            let count: usize = store.parameters().iter().map(|(_, tensor, _)| tensor.numel()).sum();
            assert_eq!(count, wanted, "{depth}-{width}");
        }
        Ok(())
    }

    #[test]
    fn names_are_those_of_the_usual_code() -> Result<()> {
        let store = store();
        let net = WideResNetConfig { depth: 16, width: 1.0 }.build(&store.root(), 3)?;
        let names: Vec<String> = store.tensors().into_iter().map(|(name, _)| name).collect();
        for name in [
            "conv1.weight",
            "block1.layer.0.bn1.weight",
            "block2.layer.0.convShortcut.weight",
            "block3.layer.1.conv2.weight",
            "bn1.running_mean",
        ] {
            assert!(names.iter().any(|own| own == name), "{name}");
        }
        // As many channels as before, so nothing beside the branch.
        assert!(!names.iter().any(|own| own == "block1.layer.0.convShortcut.weight"));
        assert_eq!((net.layers(), net.layer("conv1.weight"), net.layer("bn1.weight")), (7, 0, 6));
        assert_eq!(net.layer("block2.layer.1.bn2.bias"), 4);
        Ok(())
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (depth, width, words) in [
            (27, 10.0, "depth is 27, expected 6 n + 4"),
            (4, 10.0, "depth is 4"),
            (28, 0.0, "width is 0, expected more than 0, at most 20"),
        ] {
            let error = WideResNetConfig { depth, width }.build(&store().root(), 3).expect_err(words);
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
