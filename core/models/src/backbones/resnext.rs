//! ResNeXt: a ResNet-50 or ResNet-101 whose 3x3 convolutions have groups, 32 of 4 channels in stage 1 by default.
//!
//! Source  Xie et al., CVPR 2017, arXiv:1611.05431.

use std::rc::Rc;

use admix_api::ranges::expect;
use admix_api::{Path, Result as Checked};

use super::residual::{BlockKind, Layout, NAMING, check_depth, check_width, misfit};
use super::stem::Stem;
use crate::{Backbone, BackboneConfig, Naming, Result};

admix_api::settings! {
    /// Settings of a ResNeXt. Recipe: `ResNeXt(depth: 101, groups: 32, group_width: 8, stem: Small, width: 1.0)`.
    pub struct ResNeXtConfig {
        /// Layers: 50 or 101.
        pub depth: u32 = 50,
        /// Groups of a 3x3 convolution: 32 or 64.
        pub groups: i64 = 32,
        /// Channels of one group in stage 1: 4 or 8. The networks of the libraries are 32x4d, 32x8d and 64x4d.
        pub group_width: i64 = 4,
        /// The first layers.
        pub stem: Stem = Stem::Small,
        /// Factor on all channel counts, in (0, 8]; each is rounded to a multiple of 8, those of the grouped
        /// convolutions to a multiple of their groups.
        pub width: f64 = 1.0,
    }
}

crate::backbone! {
    ResNeXtConfig, "ResNeXt", "resnext",
    "ResNeXt-50 and 101: a ResNet whose 3x3 convolutions have groups; four stages",
    source: "Xie et al., CVPR 2017, arXiv:1611.05431"
}

impl BackboneConfig for ResNeXtConfig {
    fn validate(&self) -> Checked<()> {
        check_depth(self.depth, &[50, 101])?;
        expect("groups", self.groups, [32, 64].contains(&self.groups), "32 or 64")?;
        expect("group_width", self.group_width, [4, 8].contains(&self.group_width), "4 or 8")?;
        check_width(self.width)
    }

    fn build(&self, path: &Path, in_channels: i64) -> Result<Box<dyn Backbone>> {
        self.validate()?;
        let kind = BlockKind::Bottleneck { groups: self.groups, group_width: self.group_width };
        let blocks = [3, 4, if self.depth == 50 { 6 } else { 23 }, 3];
        let layout = Layout { blocks, kind, stem: self.stem, width: self.width };
        Ok(Box::new(layout.build(path, in_channels)?))
    }

    fn narrowed(&self) -> Option<Rc<dyn BackboneConfig>> {
        Some(Rc::new(Self { width: self.width.min(0.125), ..self.clone() }))
    }

    fn namings(&self) -> Vec<Naming> {
        vec![NAMING]
    }

    fn misfit(&self, tensor: &str, theirs: &[i64], ours: &[i64]) -> Option<&'static str> {
        // A grouped convolution of another network has another number of channels for each group.
        let is_grouped = tensor.ends_with("conv2.weight") && theirs.get(2..) == ours.get(2..);
        if is_grouped && theirs.get(1) != ours.get(1) {
            return Some("group_width");
        }
        misfit(tensor, theirs, ours)
    }

    fn sizes(&self) -> Vec<&'static str> {
        vec![
            "with 1000 classes and the large stem: 50 32x4d: 25,028,904; 101 32x4d: 44,177,704; 101 32x8d: 88,791,336; \
             101 64x4d: 83,455,272",
        ]
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
    fn parameter_counts_equal_torchvisions_and_timms() -> Result<()> {
        for (depth, groups, group_width, wanted) in [
            (50, 32, 4, 25_028_904),
            (101, 32, 4, 44_177_704),
            (101, 32, 8, 88_791_336),
            (101, 64, 4, 83_455_272),
        ] {
            let store = store();
            let config = ResNeXtConfig { depth, groups, group_width, stem: Stem::Large, width: 1.0 };
            let net = config.build(&store.root(), 3)?;
            LinearHead::new(&store.root(), net.channels(4), 1000)?;
            let count: usize = store.parameters().iter().map(|(_, tensor, _)| tensor.numel()).sum();
            assert_eq!(count, wanted, "{depth} {groups}x{group_width}d");
        }
        Ok(())
    }

    #[test]
    fn a_file_of_other_groups_names_their_width() {
        let config = ResNeXtConfig::default();
        let of = |theirs: &[i64]| config.misfit("layer1.0.conv2.weight", theirs, &[128, 4, 3, 3]);
        assert_eq!(of(&[256, 8, 3, 3]), Some("group_width"));
        assert_eq!(of(&[64, 4, 3, 3]), Some("width"));
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
        for (depth, groups, width, words) in [
            (34, 32, 1.0, "depth is 34, expected one of 50, 101"),
            (50, 16, 1.0, "groups is 16, expected 32 or 64"),
            (50, 32, 8.5, "width is 8.5"),
        ] {
            let config = ResNeXtConfig { depth, groups, width, ..ResNeXtConfig::default() };
            let error = config.build(&store().root(), 3).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
