//! ResNeXt 32x4d: a ResNet-50 whose 3x3 convolutions have 32 groups, 4 channels wide each in stage 1.
//!
//! Source  Xie et al., CVPR 2017, arXiv:1611.05431.

use std::rc::Rc;

use admix_api::{Path, Result as Checked};

use super::residual::{BlockKind, Layout, NAMING, check_depth, check_width, misfit};
use super::stem::Stem;
use crate::{Backbone, BackboneConfig, Naming, Result};

admix_api::settings! {
    /// Settings of a ResNeXt 32x4d. Recipe: `ResNeXt(depth: 50, stem: Small, width: 1.0)`.
    pub struct ResNeXtConfig {
        /// Layers: 50.
        pub depth: u32 = 50,
        /// The first layers.
        pub stem: Stem = Stem::Small,
        /// Factor on all channel counts, in (0, 8]; each is rounded to a multiple of 8, those of the 32-group
        /// convolutions to a multiple of 32.
        pub width: f64 = 1.0,
    }
}

crate::backbone! {
    ResNeXtConfig, "ResNeXt", "resnext",
    "ResNeXt-50 32x4d: a ResNet-50 whose 3x3 convolutions have 32 groups; four stages",
    source: "Xie et al., CVPR 2017, arXiv:1611.05431"
}

impl BackboneConfig for ResNeXtConfig {
    fn validate(&self) -> Checked<()> {
        check_depth(self.depth, &[50])?;
        check_width(self.width)
    }

    fn build(&self, path: &Path, in_channels: i64) -> Result<Box<dyn Backbone>> {
        self.validate()?;
        let kind = BlockKind::Bottleneck { groups: 32, group_width: 4 };
        let layout = Layout { blocks: [3, 4, 6, 3], kind, stem: self.stem, width: self.width };
        Ok(Box::new(layout.build(path, in_channels)?))
    }

    fn narrowed(&self) -> Option<Rc<dyn BackboneConfig>> {
        Some(Rc::new(Self { width: self.width.min(0.125), ..self.clone() }))
    }

    fn namings(&self) -> Vec<Naming> {
        vec![NAMING]
    }

    fn misfit(&self, tensor: &str, theirs: &[i64], ours: &[i64]) -> Option<&'static str> {
        misfit(tensor, theirs, ours)
    }

    fn sizes(&self) -> Vec<&'static str> {
        vec!["with 1000 classes and the large stem: 25,028,904"]
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
    fn the_parameter_count_equals_torchvisions() -> Result<()> {
        let store = store();
        let config = ResNeXtConfig { stem: Stem::Large, ..ResNeXtConfig::default() };
        let net = config.build(&store.root(), 3)?;
        LinearHead::new(&store.root(), net.channels(4), 1000)?;
        let count: usize = store.parameters().iter().map(|(_, tensor, _)| tensor.numel()).sum();
        assert_eq!(count, 25_028_904);
        Ok(())
    }

    #[test]
    fn width_scales_every_stage() -> Result<()> {
        let net = ResNeXtConfig { width: 0.25, ..ResNeXtConfig::default() }.build(&store().root(), 1)?;
        let channels: Vec<i64> = (0..=net.stages()).map(|stage| net.channels(stage)).collect();
        assert_eq!(channels, [16, 64, 128, 256, 512]);
        Ok(())
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (depth, width, words) in [(101, 1.0, "depth is 101, expected 50"), (50, 8.5, "width is 8.5")] {
            let config = ResNeXtConfig { depth, width, stem: Stem::Small };
            let error = config.build(&store().root(), 3).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
