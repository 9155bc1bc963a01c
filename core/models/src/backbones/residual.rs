//! Residual networks of four stages, post-activation: what ResNet and ResNeXt share.
//!
//! Names   as in torchvision, so its weights load by name. The stride of a bottleneck is on its 3x3 convolution.
//! Init    convolutions He-normal by fan-out; BatchNorm weight 1, but 0 for the last of each residual block
//!         (Goyal et al. 2017, arXiv:1706.02677, section 5.1); bias 0.

use admix_api::ranges::expect;
use admix_api::{Path, Result as Checked};
use admix_torch::Tensor;

use super::depth::layer;
use super::stem::Stem;
use crate::naming::is_of_other_images;
use crate::{Backbone, BatchNorm2d, Conv2d, Conv2dConfig, Error, Map, Naming, Pass, Result};

const STAGES: usize = 4;

/// torchvision's names, which timm keeps.
pub(super) const NAMING: Naming = Naming::same(&["torchvision", "timm"], "fc");

/// The setting to change for a tensor of another shape.
pub(super) fn misfit(tensor: &str, theirs: &[i64], ours: &[i64]) -> Option<&'static str> {
    if tensor == "conv1.weight" && is_of_other_images(theirs, ours) {
        return None;
    }
    let other_kernel = theirs.get(2..) != ours.get(2..);
    Some(match (tensor, other_kernel) {
        ("conv1.weight", true) => "stem",
        (_, true) => "depth",
        (_, false) => "width",
    })
}

/// Output channels of a bottleneck block, in units of its plane count.
const EXPANSION: i64 = 4;

/// A residual network of four stages. Stage 0 is the stem with its pool, stage i torchvision's `layer<i>`.
#[derive(Debug)]
pub(super) struct Residual {
    stem: (Conv2d, BatchNorm2d),
    pool: bool,
    stages: Vec<Vec<Block>>,
    channels: [i64; STAGES + 1],
}

impl Backbone for Residual {
    fn stages(&self) -> usize {
        STAGES
    }

    fn stage(&self, index: usize, map: &Map, pass: &Pass) -> Result<Map> {
        let x = map.cells()?;
        let Some(below) = index.checked_sub(1) else {
            let (conv, norm) = &self.stem;
            let map = norm.forward_relu(&conv.forward(&x)?, pass.train)?;
            return Ok(if self.pool {
                map.f_max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)?
            } else {
                map
            }
            .into());
        };
        let blocks = self.stages.get(below).ok_or(Error::UnknownStage { stage: index, stages: STAGES })?;
        let mut map = x;
        for block in blocks {
            map = block.forward(&map, pass.train)?;
        }
        Ok(map.into())
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

    fn layers(&self) -> usize {
        1 + self.stages.iter().map(Vec::len).sum::<usize>()
    }

    fn layer(&self, parameter: &str) -> usize {
        let blocks: Vec<usize> = self.stages.iter().map(Vec::len).collect();
        layer(parameter, "layer", 1, &blocks).unwrap_or(0)
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
            let inner = conv.forward(&map)?;
            map = if i + 1 < self.branch.len() {
                norm.forward_relu(&inner, train)?
            } else {
                let aside = match &self.shortcut {
                    Some((conv, norm)) => norm.forward(&conv.forward(x)?, train)?,
                    None => x.shallow_clone(),
                };
                norm.forward_residual(&inner, &aside, train)?
            };
        }
        Ok(map)
    }
}

/// The convolutions of a block's branch.
#[derive(Debug, Clone, Copy)]
pub(super) enum BlockKind {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3 and 1x1 convolutions, the one in the middle narrower.
    Bottleneck {
        /// Groups of the convolution in the middle.
        groups: i64,
        /// Channels of one group where a block has 64 planes.
        group_width: i64,
    },
}

/// Everything that tells one residual network from another.
pub(super) struct Layout {
    /// Blocks of each stage.
    pub(super) blocks: [usize; STAGES],
    /// Their kind.
    pub(super) kind: BlockKind,
    /// The first layers.
    pub(super) stem: Stem,
    /// Factor on all channel counts.
    pub(super) width: f64,
}

impl Layout {
    /// Makes the network at `path` for images of `in_channels` channels.
    pub(super) fn build(&self, path: &Path, in_channels: i64) -> Result<Residual> {
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
        Ok(Residual { stem, pool: self.stem == Stem::Large, stages, channels })
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

/// Refuses a depth that is not among the known ones.
pub(super) fn check_depth(depth: u32, known: &[u32]) -> Checked<()> {
    let all = known.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let wanted = if known.len() > 1 { format!("one of {all}") } else { all };
    expect("depth", depth, known.contains(&depth), &wanted)
}

/// Refuses a width factor that makes no network.
pub(super) fn check_width(width: f64) -> Checked<()> {
    expect("width", width, width > 0.0 && width <= 8.0, "more than 0, at most 8")
}

#[cfg(test)]
mod tests {
    use admix_api::{Store, Streams};
    use admix_torch::{Device, Kind};

    use super::*;
    use crate::{Head, LinearHead};

    #[test]
    fn each_residual_block_starts_as_its_shortcut() -> Result<()> {
        let bottleneck = BlockKind::Bottleneck { groups: 1, group_width: 64 };
        for kind in [BlockKind::Basic, bottleneck] {
            let store = Store::new(Device::Cpu, Streams::new(1));
            let layout = Layout { blocks: [3, 4, 6, 3], kind, stem: Stem::Small, width: 0.125 };
            let net = layout.build(&store.root(), 3)?;
            let x = admix_api::contract::wild(&[2, net.channels(1), 6, 5], 0.3, Kind::Float).abs();
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
            let logits = head.forward(net.forward(&x, &Pass::TRAIN)?.tensor(), true)?;
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
