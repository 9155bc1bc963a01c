//! ResNet: basic (18, 34) or bottleneck (50, 101) blocks.
//!
//! Source  He et al., CVPR 2016, arXiv:1512.03385.

use std::rc::Rc;

use admix_api::{Path, Result as Checked};

use super::residual::{BlockKind, Layout, NAMING, check_depth, check_width, misfit};
use super::stem::Stem;
use crate::{Backbone, BackboneConfig, Naming, Result};

admix_api::settings! {
    /// Settings of a ResNet. Recipe: `ResNet(depth: 18, stem: Small, width: 1.0)`.
    pub struct ResNetConfig {
        /// Layers: 18, 34 (basic blocks), 50 or 101 (bottlenecks).
        pub depth: u32 = 18,
        /// The first layers.
        pub stem: Stem = Stem::Small,
        /// Factor on all channel counts, in (0, 8]; each is rounded to a multiple of 8.
        pub width: f64 = 1.0,
    }
}

crate::backbone! {
    ResNetConfig, "ResNet", "resnet", "residual network, post-activation; four stages",
    source: "He et al., CVPR 2016, arXiv:1512.03385"
}

impl BackboneConfig for ResNetConfig {
    fn validate(&self) -> Checked<()> {
        check_depth(self.depth, &[18, 34, 50, 101])?;
        check_width(self.width)
    }

    fn build(&self, path: &Path, in_channels: i64) -> Result<Box<dyn Backbone>> {
        self.validate()?;
        let (blocks, kind) = match self.depth {
            18 => ([2, 2, 2, 2], BlockKind::Basic),
            34 => ([3, 4, 6, 3], BlockKind::Basic),
            50 => ([3, 4, 6, 3], BlockKind::Bottleneck { groups: 1, group_width: 64 }),
            _ => ([3, 4, 23, 3], BlockKind::Bottleneck { groups: 1, group_width: 64 }),
        };
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
        misfit(tensor, theirs, ours)
    }

    fn sizes(&self) -> Vec<&'static str> {
        vec![
            "with 1000 classes and the large stem: 18: 11,689,512; 34: 21,797,672; 50: 25,557,032; 101: 44,549,160",
            "ResNet-18, small stem, no head: 11,168,832",
        ]
    }
}

#[cfg(test)]
mod tests {
    use admix_api::{Store, Streams};
    use admix_torch::{Device, Kind};

    use super::*;
    use crate::{LinearHead, Map, Pass};

    fn resnet(depth: u32, stem: Stem, width: f64) -> Result<(Store, Box<dyn Backbone>)> {
        let store = Store::new(Device::Cpu, Streams::new(1));
        let net = ResNetConfig { depth, stem, width }.build(&store.root(), 3)?;
        Ok((store, net))
    }

    fn count(store: &Store) -> usize {
        store.parameters().iter().map(|(_, tensor, _)| tensor.numel()).sum()
    }

    #[test]
    fn parameter_counts_equal_torchvisions() -> Result<()> {
        let wanted = [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032), (101, 44_549_160)];
        for (depth, parameters) in wanted {
            let (store, net) = resnet(depth, Stem::Large, 1.0)?;
            LinearHead::new(&store.root(), net.channels(4), 1000)?;
            assert_eq!(count(&store), parameters, "ResNet-{depth}");
        }
        let (store, _) = resnet(18, Stem::Small, 1.0)?;
        assert_eq!(count(&store), 11_168_832, "the published count of the CIFAR form");
        Ok(())
    }

    #[test]
    fn names_equal_torchvisions() -> Result<()> {
        let (store, _) = resnet(18, Stem::Large, 0.25)?;
        let names: Vec<String> = store.tensors().into_iter().map(|(name, _)| name).collect();
        // 20 convolutions and 20 BatchNorms of four tensors.
        assert_eq!(names.len(), 100);
        for name in [
            "conv1.weight",
            "bn1.running_mean",
            "layer1.0.conv1.weight",
            "layer1.1.bn2.bias",
            "layer2.0.downsample.0.weight",
            "layer2.0.downsample.1.running_var",
            "layer4.1.conv2.weight",
        ] {
            assert!(names.iter().any(|n| n == name), "{name}");
        }
        assert!(!names.iter().any(|n| n.starts_with("layer1.0.downsample")));
        let (store, _) = resnet(50, Stem::Large, 0.125)?;
        let names: Vec<String> = store.tensors().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 53 * 5);
        assert!(names.iter().any(|n| n == "layer1.0.downsample.0.weight"));
        assert!(names.iter().any(|n| n == "layer3.5.conv3.weight"));
        Ok(())
    }

    #[test]
    fn stage_maps_halve_and_round_up() -> Result<()> {
        let sizes = |stem: Stem, input: [i64; 4]| -> Result<Vec<Vec<i64>>> {
            let (_, net) = resnet(18, stem, 0.125)?;
            let mut map = Map::from(admix_api::contract::wild(&input, 0.3, Kind::Float));
            (0..=net.stages())
                .map(|index| {
                    map = net.stage(index, &map, &Pass::TRAIN)?;
                    Ok(map.tensor().size())
                })
                .collect()
        };
        assert_eq!(
            sizes(Stem::Small, [2, 3, 33, 18])?,
            [[2, 8, 33, 18], [2, 8, 33, 18], [2, 16, 17, 9], [2, 32, 9, 5], [2, 64, 5, 3]]
        );
        assert_eq!(
            sizes(Stem::Large, [1, 3, 65, 96])?,
            [[1, 8, 17, 24], [1, 8, 17, 24], [1, 16, 9, 12], [1, 32, 5, 6], [1, 64, 3, 3]]
        );
        Ok(())
    }

    #[test]
    fn width_scales_every_stage() -> Result<()> {
        let channels = |depth, width| -> Result<Vec<i64>> {
            let (_, net) = resnet(depth, Stem::Small, width)?;
            Ok((0..=net.stages()).map(|stage| net.channels(stage)).collect())
        };
        assert_eq!(channels(18, 0.25)?, [16, 16, 32, 64, 128]);
        assert_eq!(channels(50, 0.25)?, [16, 64, 128, 256, 512]);
        assert_eq!(channels(18, 0.01)?, [8; 5]);
        Ok(())
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (depth, width, words) in [
            (20, 1.0, "depth is 20, expected one of 18, 34, 50, 101"),
            (18, 0.0, "width is 0, expected more than 0, at most 8"),
            (18, f64::NAN, "width is NaN"),
        ] {
            let error = resnet(depth, Stem::Small, width).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
