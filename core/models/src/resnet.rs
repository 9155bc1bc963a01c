//! ResNet and ResNeXt, post-activation.
//!
//! Source  He et al., CVPR 2016, arXiv:1512.03385; Xie et al., CVPR 2017, arXiv:1611.05431. Stride of a
//!         bottleneck on its 3x3 convolution and all names as in torchvision, so its weights load by name.
//! Init    convolutions He-normal by fan-out; BatchNorm weight 1, but 0 for the last of each residual block
//!         (Goyal et al. 2017, arXiv:1706.02677, section 5.1); bias 0.

use admix_api::Path;
use admix_torch::Tensor;

use crate::{Backbone, BatchNorm2d, Conv2d, Conv2dConfig, Error, ResNeXtConfig, ResNetConfig, Result, Stem};

const STAGES: usize = 4;
/// Output channels of a bottleneck block, in units of its plane count.
const EXPANSION: i64 = 4;

/// A residual network of four stages. Stage 0 is the stem with its pool, stage i torchvision's `layer<i>`.
#[derive(Debug)]
pub struct ResNet {
    stem: (Conv2d, BatchNorm2d),
    pool: bool,
    stages: Vec<Vec<Block>>,
    channels: [i64; STAGES + 1],
}

impl ResNet {
    /// A ResNet of basic (18, 34) or bottleneck (50, 101) blocks for images of `in_channels` channels.
    ///
    /// # Errors
    /// Settings out of range, or a name is taken.
    pub fn new(path: &Path, config: &ResNetConfig, in_channels: i64) -> Result<Self> {
        config.validate()?;
        let (blocks, kind) = match config.depth {
            18 => ([2, 2, 2, 2], BlockKind::Basic),
            34 => ([3, 4, 6, 3], BlockKind::Basic),
            50 => ([3, 4, 6, 3], BlockKind::Bottleneck { groups: 1, group_width: 64 }),
            _ => ([3, 4, 23, 3], BlockKind::Bottleneck { groups: 1, group_width: 64 }),
        };
        Layout { blocks, kind, stem: config.stem, width: config.width }.build(path, in_channels)
    }

    /// A ResNeXt-50 of 32 groups, 4 channels wide each in stage 1, for images of `in_channels` channels.
    ///
    /// # Errors
    /// Settings out of range, or a name is taken.
    pub fn resnext(path: &Path, config: &ResNeXtConfig, in_channels: i64) -> Result<Self> {
        config.validate()?;
        let kind = BlockKind::Bottleneck { groups: 32, group_width: 4 };
        Layout { blocks: [3, 4, 6, 3], kind, stem: config.stem, width: config.width }.build(path, in_channels)
    }
}

impl Backbone for ResNet {
    fn stages(&self) -> usize {
        STAGES
    }

    fn stage(&self, index: usize, x: &Tensor, train: bool) -> Result<Tensor> {
        let Some(below) = index.checked_sub(1) else {
            let (conv, norm) = &self.stem;
            let map = norm.forward(&conv.forward(x)?, train)?.f_relu_()?;
            return if self.pool {
                Ok(map.f_max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)?)
            } else {
                Ok(map)
            };
        };
        let blocks = self.stages.get(below).ok_or(Error::UnknownStage { stage: index, stages: STAGES })?;
        let mut map = x.shallow_clone();
        for block in blocks {
            map = block.forward(&map, train)?;
        }
        Ok(map)
    }

    fn channels(&self, stage: usize) -> i64 {
        self.channels.get(stage).copied().unwrap_or(0)
    }

    fn batch_norms(&self) -> Vec<&BatchNorm2d> {
        let mut norms = vec![&self.stem.1];
        for block in self.stages.iter().flatten() {
            norms.extend(block.branch.iter().chain(&block.shortcut).map(|(_, norm)| norm));
        }
        norms
    }
}

/// `relu(branch(x) + shortcut(x))`, the branch being conv-BN layers with a ReLU between them.
#[derive(Debug)]
struct Block {
    branch: Vec<(Conv2d, BatchNorm2d)>,
    /// The identity when there is none.
    shortcut: Option<(Conv2d, BatchNorm2d)>,
}

impl Block {
    /// Makes a block whose branch has the convolutions `shapes`, from the input's channels to the output's.
    fn new(path: &Path, shapes: &[Conv2dConfig]) -> Result<Self> {
        let (Some(first), Some(last)) = (shapes.first(), shapes.last()) else {
            return Ok(Self { branch: Vec::new(), shortcut: None });
        };
        let mut branch = Vec::new();
        for (i, &shape) in shapes.iter().enumerate() {
            // The last BatchNorm starts at 0: the block starts as its shortcut.
            let weight = if i + 1 == shapes.len() { 0.0 } else { 1.0 };
            branch.push((
                Conv2d::new(&path.sub(format!("conv{}", i + 1)), shape)?,
                BatchNorm2d::with_weight(&path.sub(format!("bn{}", i + 1)), shape.out_channels, weight)?,
            ));
        }
        let (inputs, outputs) = (first.in_channels, last.out_channels);
        let stride = shapes.iter().map(|shape| shape.stride).product();
        let shortcut = if stride != 1 || inputs != outputs {
            let shape = Conv2dConfig { stride, ..Conv2dConfig::new(inputs, outputs, 1) };
            let path = path.sub("downsample");
            Some((Conv2d::new(&path.sub("0"), shape)?, BatchNorm2d::new(&path.sub("1"), outputs)?))
        } else {
            None
        };
        Ok(Self { branch, shortcut })
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let mut map = x.shallow_clone();
        for (i, (conv, norm)) in self.branch.iter().enumerate() {
            // In place from here on: a BatchNorm's output is not needed by its own backward pass.
            let input = if i == 0 { map } else { map.f_relu_()? };
            map = norm.forward(&conv.forward(&input)?, train)?;
        }
        let aside = match &self.shortcut {
            Some((conv, norm)) => norm.forward(&conv.forward(x)?, train)?,
            None => x.shallow_clone(),
        };
        Ok(map.f_add_(&aside)?.f_relu_()?)
    }
}

#[derive(Debug, Clone, Copy)]
enum BlockKind {
    Basic,
    Bottleneck {
        groups: i64,
        /// Channels of one group where a block has 64 planes.
        group_width: i64,
    },
}

/// Everything that tells one residual network from another.
struct Layout {
    blocks: [usize; STAGES],
    kind: BlockKind,
    stem: Stem,
    width: f64,
}

impl Layout {
    fn build(&self, path: &Path, in_channels: i64) -> Result<ResNet> {
        let stem_channels = self.scaled(64, 8);
        let stem = match self.stem {
            Stem::Small => Conv2dConfig::new(in_channels, stem_channels, 3),
            Stem::Large => Conv2dConfig { stride: 2, ..Conv2dConfig::new(in_channels, stem_channels, 7) },
        };
        let stem =
            (Conv2d::new(&path.sub("conv1"), stem)?, BatchNorm2d::new(&path.sub("bn1"), stem_channels)?);
        let mut channels = [stem_channels; STAGES + 1];
        let mut inputs = stem_channels;
        let mut stages = Vec::new();
        for (stage, &count) in self.blocks.iter().enumerate() {
            let mut blocks = Vec::new();
            for i in 0..count {
                let stride = if stage > 0 && i == 0 { 2 } else { 1 };
                let shapes = self.branch(inputs, 64 << stage, stride);
                blocks.push(Block::new(&path.sub(format!("layer{}.{i}", stage + 1)), &shapes)?);
                inputs = shapes.last().map_or(inputs, |shape| shape.out_channels);
            }
            stages.push(blocks);
            channels[stage + 1] = inputs;
        }
        Ok(ResNet { stem, pool: self.stem == Stem::Large, stages, channels })
    }

    /// The convolutions of one block's branch; `planes` is the count before the width factor.
    fn branch(&self, inputs: i64, planes: i64, stride: i64) -> Vec<Conv2dConfig> {
        match self.kind {
            BlockKind::Basic => {
                let outputs = self.scaled(planes, 8);
                vec![
                    Conv2dConfig { stride, ..Conv2dConfig::new(inputs, outputs, 3) },
                    Conv2dConfig::new(outputs, outputs, 3),
                ]
            }
            BlockKind::Bottleneck { groups, group_width } => {
                let inner = self.scaled(groups * group_width * planes / 64, groups.max(8));
                let outputs = EXPANSION * self.scaled(planes, 8);
                vec![
                    Conv2dConfig::new(inputs, inner, 1),
                    Conv2dConfig { stride, groups, ..Conv2dConfig::new(inner, inner, 3) },
                    Conv2dConfig::new(inner, outputs, 1),
                ]
            }
        }
    }

    /// `count` times the width factor, rounded to a multiple of `unit`, at least `unit`.
    fn scaled(&self, count: i64, unit: i64) -> i64 {
        let units = (count as f64 * self.width / unit as f64).round() as i64;
        units.max(1) * unit
    }
}

#[cfg(test)]
mod tests {
    use admix_api::{Store, Streams};
    use admix_torch::{Device, Kind};

    use super::*;
    use crate::{Head, LinearHead};

    fn store() -> Store {
        Store::new(Device::Cpu, Streams::new(1))
    }

    fn resnet(depth: u32, stem: Stem, width: f64) -> Result<(Store, ResNet)> {
        let store = store();
        let net = ResNet::new(&store.root(), &ResNetConfig { depth, stem, width }, 3)?;
        Ok((store, net))
    }

    fn count(store: &Store) -> usize {
        store.parameters().iter().map(|(_, tensor, _)| tensor.numel()).sum()
    }

    fn images(size: [i64; 4]) -> Result<Tensor> {
        Ok(Tensor::f_randn(size, (Kind::Float, Device::Cpu))?)
    }

    #[test]
    fn parameter_counts_equal_torchvisions() -> Result<()> {
        let wanted = [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032), (101, 44_549_160)];
        for (depth, parameters) in wanted {
            let (store, net) = resnet(depth, Stem::Large, 1.0)?;
            LinearHead::new(&store.root(), net.channels(4), 1000)?;
            assert_eq!(count(&store), parameters, "ResNet-{depth}");
        }
        let store = store();
        let config = ResNeXtConfig { stem: Stem::Large, ..ResNeXtConfig::default() };
        let net = ResNet::resnext(&store.root(), &config, 3)?;
        LinearHead::new(&store.root(), net.channels(4), 1000)?;
        assert_eq!(count(&store), 25_028_904);
        Ok(())
    }

    #[test]
    fn the_cifar_resnet18_has_the_published_count() -> Result<()> {
        let (store, _) = resnet(18, Stem::Small, 1.0)?;
        assert_eq!(count(&store), 11_168_832);
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
            let mut map = images(input)?;
            (0..=net.stages())
                .map(|index| {
                    map = net.stage(index, &map, true)?;
                    assert_eq!(map.size()[1], net.channels(index));
                    Ok(map.size())
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
    fn stage_by_stage_equals_the_whole() -> Result<()> {
        for depth in [18, 50] {
            let (_, net) = resnet(depth, Stem::Small, 0.125)?;
            let x = images([2, 3, 16, 24])?;
            let middle = net.stage_range(0..=2, &x, false)?;
            let end = net.stage_range(3..=4, &middle, false)?;
            assert_eq!(end, net.forward(&x, false)?);
        }
        Ok(())
    }

    #[test]
    fn each_residual_block_starts_as_its_shortcut() -> Result<()> {
        for depth in [34, 50] {
            let (store, net) = resnet(depth, Stem::Small, 0.125)?;
            let x = images([2, net.channels(1), 6, 5])?.f_abs()?;
            for block in &net.stages[0][1..] {
                assert_eq!(block.forward(&x, true)?, x);
            }
            let mut zeros = 0;
            for (name, tensor, _) in store.parameters() {
                let is_zero = tensor.f_abs()?.f_max()?.f_double_value(&[])? == 0.0;
                assert!(!is_zero || name.contains("bn") || name.ends_with("bias"), "{name}");
                zeros += usize::from(is_zero && name.ends_with("weight"));
            }
            assert_eq!(zeros, 16, "one per block");
        }
        Ok(())
    }

    #[test]
    fn eval_mode_leaves_all_buffers_and_train_mode_moves_them_all() -> Result<()> {
        let (store, net) = resnet(18, Stem::Small, 0.125)?;
        assert_eq!(net.batch_norms().len(), 20);
        let snapshot = || -> Result<Vec<Tensor>> {
            store.buffers().iter().map(|(_, t)| Ok(t.f_detach_copy()?)).collect()
        };
        let x = images([4, 3, 16, 16])?;
        let before = snapshot()?;
        let _ = net.forward(&x, false)?;
        assert!(snapshot()?.iter().zip(&before).all(|(now, was)| now == was));
        let _ = net.forward(&x, true)?;
        assert!(snapshot()?.iter().zip(&before).all(|(now, was)| now != was));
        Ok(())
    }

    #[test]
    fn width_scales_every_stage() -> Result<()> {
        let (_, quarter) = resnet(18, Stem::Small, 0.25)?;
        assert_eq!(quarter.channels, [16, 16, 32, 64, 128]);
        let (_, bottleneck) = resnet(50, Stem::Small, 0.25)?;
        assert_eq!(bottleneck.channels, [16, 64, 128, 256, 512]);
        let (_, tiny) = resnet(18, Stem::Small, 0.01)?;
        assert_eq!(tiny.channels, [8; 5]);
        let store = store();
        let config = ResNeXtConfig { width: 0.25, ..ResNeXtConfig::default() };
        let grouped = ResNet::resnext(&store.root(), &config, 1)?;
        assert_eq!(grouped.channels, [16, 64, 128, 256, 512]);
        assert_eq!(grouped.forward(&images([2, 1, 8, 8])?, true)?.size(), [2, 512, 1, 1]);
        Ok(())
    }

    #[test]
    fn unknown_stages_and_wrong_channels_are_errors() -> Result<()> {
        let (_, net) = resnet(18, Stem::Small, 0.125)?;
        let error = net.stage(5, &images([1, 64, 2, 2])?, false).expect_err("no stage 5").to_string();
        assert!(error.contains("no stage 5") && error.contains("1 to 4"), "{error}");
        assert!(net.forward(&images([1, 1, 8, 8])?, false).is_err());
        assert_eq!(net.channels(5), 0);
        Ok(())
    }

    /// Every parameter's gradient against central differences, in float64, through conv, BatchNorm in train
    /// mode, ReLU, grouped convolution, shortcut, pool and head.
    #[test]
    fn gradients_equal_central_differences() -> Result<()> {
        let store = Store::with_kind(Device::Cpu, Kind::Double, Streams::new(5));
        let kind = BlockKind::Bottleneck { groups: 2, group_width: 4 };
        let layout = Layout { blocks: [1, 1, 1, 1], kind, stem: Stem::Large, width: 0.125 };
        let net = layout.build(&store.root(), 2)?;
        let head = LinearHead::new(&store.root(), net.channels(4), 3)?;
        let random = |seed: &str, size: &[i64]| -> Result<Tensor> {
            let mut draws = Streams::new(2).draws("test", seed, 0, 0);
            let values: Vec<f64> = (0..size.iter().product::<i64>()).map(|_| draws.normal()).collect();
            Ok(Tensor::f_from_slice(&values)?.f_reshape(size)?)
        };
        // Away from the zero initial weights, where half of the gradients vanish.
        for (name, mut tensor, _) in store.parameters().into_iter().filter(|(name, ..)| name.contains("bn")) {
            let _guard = admix_torch::no_grad();
            let noise = random(&name, &tensor.size())?.f_mul_scalar(0.2)?;
            let centre = if name.ends_with("weight") { 1.0 } else { 0.0 };
            tensor.f_copy_(&noise.f_add_scalar(centre)?)?;
        }
        let x = random("images", &[3, 2, 33, 40])?.set_requires_grad(true);
        let weights = random("weights", &[3, 3])?;
        let loss = || -> Result<Tensor> {
            let logits = head.forward(&net.forward(&x, true)?, true)?;
            Ok(logits.f_mul(&weights)?.f_sum(None::<Kind>)?)
        };
        loss()?.f_backward()?;
        let mut leaves: Vec<(String, Tensor)> =
            store.parameters().into_iter().map(|(name, tensor, _)| (name, tensor)).collect();
        leaves.push(("images".into(), x.shallow_clone()));
        for (name, leaf) in leaves {
            let gradient = leaf.f_grad()?.f_reshape([-1])?;
            let cell = leaf.f_detach()?.f_reshape([-1])?.f_narrow(0, leaf.numel() as i64 / 2, 1)?;
            let shifted = |by: f64| -> Result<f64> {
                let _guard = admix_torch::no_grad();
                let mut place = cell.shallow_clone();
                let _ = place.f_add_scalar_(by)?;
                let value = loss()?.f_double_value(&[])?;
                let _ = place.f_add_scalar_(-by)?;
                Ok(value)
            };
            let step = 1e-6;
            let slope = (shifted(step)? - shifted(-step)?) / (2.0 * step);
            let exact = gradient.f_double_value(&[leaf.numel() as i64 / 2])?;
            assert!((slope - exact).abs() < 1e-6 * (1.0 + exact.abs()), "{name}: {slope} and {exact}");
        }
        Ok(())
    }
}
