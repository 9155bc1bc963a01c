//! ConvNeXt: a convolutional network in the form of a transformer; four stages.
//!
//! Source  Liu et al., CVPR 2022, arXiv:2201.03545.
//! Names   as in timm, whose classifier is `head.fc`. The norm behind the pool, `head.norm`, is part of the backbone.
//! Init    as in timm: weights from N(0, 0.02^2), biases 0, layer scales 1e-6.

use std::rc::Rc;

use admix_api::ranges::expect;
use admix_api::{Hints, Init, Path, Result as Checked};
use admix_torch::{Kind, Tensor};

use super::depth::layer;
use super::drop_path::{DropPath, check_drop_path, draws};
use super::patches::Patches;
use super::residual::check_width;
use super::size::Size;
use super::transformer::{INIT, Mlp};
use crate::naming::is_of_other_images;
use crate::{
    Backbone, BackboneConfig, BatchNorm2d, Conv2d, Conv2dConfig, Error, LayerNorm, Map, Naming, Pass, Result,
};

const STAGES: usize = 4;
const EPSILON: f64 = 1e-6;

admix_api::settings! {
    /// Settings of a ConvNeXt. Recipe: `ConvNeXt(size: Tiny, patch: 4)`; for images of 32 pixels a patch of 1 or 2.
    pub struct ConvNeXtConfig {
        /// Tiny (96 channels in stage 1, 18 blocks), Small (96, 36) or Base (128, 36).
        pub size: Size = Size::Tiny,
        /// Side of the patches of the stem in pixels, from 1 to 16; the paper's is 4.
        pub patch: i64 = 4,
        /// Stochastic depth: share of the samples that skip the branch of the last block, in [0, 1); 0 at the first block,
        /// linear in between. The paper's are 0.1 for Tiny, 0.4 for Small, 0.5 for Base.
        pub drop_path: f64 = 0.1,
        /// Factor on all channel counts, in (0, 8]; each is rounded to a multiple of 8.
        pub width: f64 = 1.0,
    }
}

crate::backbone! {
    ConvNeXtConfig, "ConvNeXt", "convnext", "convolutional network in the form of a transformer; four stages",
    source: "Liu et al., CVPR 2022, arXiv:2201.03545"
}

impl ConvNeXtConfig {
    fn blocks(&self) -> [usize; STAGES] {
        [3, 3, if self.size == Size::Tiny { 9 } else { 27 }, 3]
    }

    fn channels(&self) -> [i64; STAGES] {
        let first = if self.size == Size::Base { 128.0 } else { 96.0 };
        [1.0, 2.0, 4.0, 8.0].map(|factor| 8 * ((first * factor * self.width / 8.0).round() as i64).max(1))
    }
}

impl BackboneConfig for ConvNeXtConfig {
    fn validate(&self) -> Checked<()> {
        expect("patch", self.patch, (1..=16).contains(&self.patch), "a number of pixels from 1 to 16")?;
        check_drop_path(self.drop_path)?;
        check_width(self.width)
    }

    fn build(&self, path: &Path, in_channels: i64) -> Result<Box<dyn Backbone>> {
        self.validate()?;
        let (counts, channels) = (self.blocks(), self.channels());
        let stem = Between {
            patches: Patches::new(&path.sub("stem.0"), in_channels, channels[0], self.patch, INIT)?,
            norm: LayerNorm::new(&path.sub("stem.1"), channels[0], EPSILON)?,
        };
        let total = counts.iter().sum();
        let mut drops = DropPath::all(self.drop_path, total, 1).into_iter().flatten();
        let mut stages = Vec::new();
        for (index, (&count, &width)) in counts.iter().zip(&channels).enumerate() {
            let path = path.sub(format!("stages.{index}"));
            let between = match index.checked_sub(1) {
                None => None,
                Some(before) => Some(Between {
                    norm: LayerNorm::new(&path.sub("downsample.0"), channels[before], EPSILON)?,
                    patches: Patches::new(&path.sub("downsample.1"), channels[before], width, 2, INIT)?,
                }),
            };
            let mut blocks = Vec::new();
            for (i, drop) in drops.by_ref().take(count).enumerate() {
                blocks.push(Block::new(&path.sub(format!("blocks.{i}")), width, drop)?);
            }
            stages.push((between, blocks));
        }
        let norm = LayerNorm::new(&path.sub("head.norm"), channels[STAGES - 1], EPSILON)?;
        Ok(Box::new(ConvNeXt { stem, stages, norm, channels, drops: draws(self.drop_path, total) }))
    }

    fn narrowed(&self) -> Option<Rc<dyn BackboneConfig>> {
        Some(Rc::new(Self { size: Size::Tiny, width: self.width.min(0.125), ..self.clone() }))
    }

    fn namings(&self) -> Vec<Naming> {
        let torchvision =
            Naming { shape: theirs, ..Naming::other(&["torchvision"], torchvision, "classifier.2") };
        vec![Naming::same(&["timm"], "head.fc"), torchvision]
    }

    fn misfit(&self, tensor: &str, theirs: &[i64], ours: &[i64]) -> Option<&'static str> {
        if tensor == "stem.0.weight" && is_of_other_images(theirs, ours) {
            return None;
        }
        let other_kernel = tensor == "stem.0.weight" && theirs.get(2..) != ours.get(2..);
        Some(if other_kernel { "patch" } else { "size" })
    }

    fn sizes(&self) -> Vec<&'static str> {
        vec!["with 1000 classes, patch 4: Tiny: 28,589,128; Small: 50,223,688; Base: 88,591,464"]
    }
}

/// The name in torchvision of a tensor. There everything is in one sequence: the stem, then stages and what is between
/// them in turn.
fn torchvision(name: &str) -> String {
    if let Some(rest) = name.strip_prefix("stem.") {
        return format!("features.0.{rest}");
    }
    if let Some(leaf) = name.strip_prefix("head.norm.") {
        return format!("classifier.0.{leaf}");
    }
    let split = || {
        let (stage, rest) = name.strip_prefix("stages.")?.split_once('.')?;
        Some((stage.parse::<usize>().ok()?, rest))
    };
    let Some((stage, rest)) = split() else { return name.into() };
    if let Some(rest) = rest.strip_prefix("downsample.") {
        return format!("features.{}.{rest}", 2 * stage);
    }
    let Some((block, rest)) = rest.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')) else {
        return name.into();
    };
    let (module, leaf) = rest.rsplit_once('.').unwrap_or((rest, ""));
    let inner = match module {
        "conv_dw" => format!("block.0.{leaf}"),
        "norm" => format!("block.2.{leaf}"),
        "mlp.fc1" => format!("block.3.{leaf}"),
        "mlp.fc2" => format!("block.5.{leaf}"),
        "gamma" => "layer_scale".into(),
        _ => rest.into(),
    };
    format!("features.{}.{block}.{inner}", 2 * stage + 1)
}

/// The shape in torchvision of a tensor: layer scales are `[C, 1, 1]` there.
fn theirs(name: &str, shape: &[i64]) -> Vec<i64> {
    if name.ends_with(".gamma") { [shape, &[1, 1]].concat() } else { shape.to_vec() }
}

/// What makes a map smaller: patches of it, and a norm before or, in the stem, behind them.
#[derive(Debug)]
struct Between {
    norm: LayerNorm,
    patches: Patches,
}

/// `x + gamma mlp(norm(conv(x)))`, the convolution 7x7 of each channel alone.
#[derive(Debug)]
struct Block {
    conv: Conv2d,
    norm: LayerNorm,
    mlp: Mlp,
    gamma: Tensor,
    drop: DropPath,
}

impl Block {
    fn new(path: &Path, channels: i64, drop: DropPath) -> Result<Self> {
        let shape = Conv2dConfig {
            groups: channels,
            bias: true,
            init: INIT,
            ..Conv2dConfig::new(channels, channels, 7)
        };
        Ok(Self {
            gamma: path.parameter("gamma", &[channels], Init::Constant(1e-6), Hints::default())?,
            conv: Conv2d::new(&path.sub("conv_dw"), shape)?,
            norm: LayerNorm::new(&path.sub("norm"), channels, EPSILON)?,
            mlp: Mlp::new(&path.sub("mlp"), channels)?,
            drop,
        })
    }

    fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let cells = self.conv.forward(x)?.f_permute([0, 2, 3, 1])?;
        let branch = self.mlp.forward(&self.norm.forward(&cells)?)?.f_mul(&self.gamma)?;
        Ok(x.f_add(&self.drop.apply(branch.f_permute([0, 3, 1, 2])?, pass)?)?)
    }
}

/// Stage 0 is the stem, stage i timm's `stages.<i - 1>`. The norm behind the pool belongs to what heads read.
#[derive(Debug)]
struct ConvNeXt {
    stem: Between,
    stages: Vec<(Option<Between>, Vec<Block>)>,
    norm: LayerNorm,
    channels: [i64; STAGES],
    drops: usize,
}

impl Backbone for ConvNeXt {
    fn stages(&self) -> usize {
        STAGES
    }

    fn stage(&self, index: usize, map: &Map, pass: &Pass) -> Result<Map> {
        let mut x = map.cells()?;
        let Some(below) = index.checked_sub(1) else {
            return Ok(self.stem.norm.forward_cells(&self.stem.patches.forward_cropped(&x)?)?.into());
        };
        let unknown = Error::UnknownStage { stage: index, stages: STAGES };
        let (between, blocks) = self.stages.get(below).ok_or(unknown)?;
        if let Some(Between { norm, patches }) = between {
            x = patches.forward_cropped(&norm.forward_cells(&x)?)?;
        }
        for block in blocks {
            x = block.forward(&x, pass)?;
        }
        Ok(x.into())
    }

    fn channels(&self, stage: usize) -> i64 {
        // The stem has the channels of stage 1.
        self.channels.get(stage.saturating_sub(1)).copied().unwrap_or(0)
    }

    fn batch_norms(&self) -> Vec<&BatchNorm2d> {
        Vec::new()
    }

    fn drops(&self) -> usize {
        self.drops
    }

    fn summary(&self, map: &Map) -> Result<Tensor> {
        let mean = map.cells()?.f_mean_dim([2i64, 3].as_slice(), true, None::<Kind>)?;
        self.norm.forward_cells(&mean)
    }

    fn layers(&self) -> usize {
        1 + self.stages.iter().map(|(_, blocks)| blocks.len()).sum::<usize>()
    }

    fn layer(&self, parameter: &str) -> usize {
        let counts: Vec<usize> = self.stages.iter().map(|(_, blocks)| blocks.len()).collect();
        // The norm at the end counts with the heads, as in timm.
        let is_head = parameter.starts_with("head.");
        if is_head { self.layers() } else { layer(parameter, "stages.", 0, &counts).unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use admix_api::{Store, Streams};
    use admix_torch::Device;

    use super::*;
    use crate::LinearHead;

    fn built(config: &ConvNeXtConfig) -> Result<(Store, Box<dyn Backbone>)> {
        let store = Store::new(Device::Cpu, Streams::new(1));
        let net = config.build(&store.root(), 3)?;
        Ok((store, net))
    }

    #[test]
    fn parameter_counts_equal_torchvisions() -> Result<()> {
        for (size, wanted) in [(Size::Tiny, 28_589_128), (Size::Small, 50_223_688), (Size::Base, 88_591_464)]
        {
            let (store, net) = built(&ConvNeXtConfig { size, ..ConvNeXtConfig::default() })?;
            LinearHead::new(&store.root(), net.channels(4), 1000)?;
            let count: usize = store.parameters().iter().map(|(_, tensor, _)| tensor.numel()).sum();
            assert_eq!(count, wanted, "{size:?}");
        }
        Ok(())
    }

    #[test]
    fn torchvision_has_other_names_and_shapes() {
        for (ours, named) in [
            ("stem.1.bias", "features.0.1.bias"),
            ("stages.0.blocks.2.conv_dw.weight", "features.1.2.block.0.weight"),
            ("stages.1.downsample.1.weight", "features.2.1.weight"),
            ("stages.3.blocks.0.mlp.fc2.bias", "features.7.0.block.5.bias"),
            ("stages.2.blocks.8.gamma", "features.5.8.layer_scale"),
            ("head.norm.weight", "classifier.0.weight"),
        ] {
            assert_eq!(torchvision(ours), named);
        }
        assert_eq!(theirs("stages.2.blocks.8.gamma", &[384]), [384, 1, 1]);
        assert_eq!(theirs("stages.2.blocks.8.norm.weight", &[384]), [384]);
    }

    #[test]
    fn heads_read_the_norm_of_the_mean_over_cells() -> Result<()> {
        let (store, net) =
            built(&ConvNeXtConfig { width: 0.125, drop_path: 0.0, ..ConvNeXtConfig::default() })?;
        let cells = admix_api::contract::wild(&[2, net.channels(4), 3, 5], 0.3, Kind::Float);
        let summary = net.summary(&cells.shallow_clone().into())?;
        let mean = cells.f_mean_dim([2i64, 3].as_slice(), false, None::<Kind>)?;
        let wanted = mean.f_layer_norm([net.channels(4)], None::<&Tensor>, None::<&Tensor>, 1e-6, false)?;
        assert_eq!(summary.size(), [2, 96, 1, 1]);
        assert!(summary.f_reshape([2, -1])?.f_allclose(&wanted, 1e-5, 1e-6, false)?);
        assert_eq!((net.layers(), net.layer("stem.0.bias"), net.layer("head.norm.weight")), (19, 0, 19));
        assert_eq!((net.layer("stages.1.downsample.1.bias"), net.layer("stages.3.blocks.2.gamma")), (4, 18));
        assert!(store.parameters().iter().all(|(_, _, hints)| hints.weight_decay));
        Ok(())
    }

    #[test]
    fn sides_that_halve_no_more_stay_and_odd_ones_round_down() -> Result<()> {
        let (_store, net) = built(&ConvNeXtConfig { width: 0.125, patch: 2, ..ConvNeXtConfig::default() })?;
        let mut map: Map = admix_api::contract::wild(&[1, 3, 31, 8], 0.3, Kind::Float).into();
        for (stage, wanted) in [(0, [15, 4]), (1, [15, 4]), (2, [7, 2]), (3, [3, 1]), (4, [1, 1])] {
            map = net.stage(stage, &map, &Pass::EVALUATE)?;
            assert_eq!(map.tensor().size()[2..], wanted, "stage {stage}");
        }
        Ok(())
    }

    #[test]
    fn values_out_of_range_and_misfits_name_their_setting() {
        let config = ConvNeXtConfig::default();
        for (config, words) in [
            (ConvNeXtConfig { patch: 17, ..config.clone() }, "patch is 17"),
            (ConvNeXtConfig { drop_path: -0.1, ..config.clone() }, "drop_path is -0.1"),
        ] {
            assert!(built(&config).expect_err(words).to_string().contains(words), "{words}");
        }
        assert_eq!(config.misfit("stem.0.weight", &[96, 3, 4, 4], &[96, 3, 2, 2]), Some("patch"));
        assert_eq!(config.misfit("stem.1.weight", &[128], &[96]), Some("size"));
    }
}
