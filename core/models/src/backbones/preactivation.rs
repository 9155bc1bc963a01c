//! Residual networks of pre-activation blocks: what WideResNet and PreActResNet share.
//!
//! Init    convolutions He-normal by fan-out; BatchNorm weight 1; bias 0.

use admix_api::Path;
use admix_torch::Tensor;

use super::depth::layer;
use crate::{Backbone, BatchNorm2d, Conv2d, Conv2dConfig, Error, Map, Pass, Result};

/// Everything that tells one network from another.
pub(super) struct Layout {
    /// Channels of the first convolution.
    pub(super) stem: i64,
    /// Channels of each stage.
    pub(super) channels: Vec<i64>,
    /// Blocks of each stage.
    pub(super) blocks: usize,
    /// Whether a BatchNorm and a ReLU, `bn1`, follow the last block.
    pub(super) last_norm: bool,
    /// Names.
    pub(super) names: Names,
}

/// How the code that the names follow calls its modules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    /// What stands before the number of a stage: "layer".
    pub(super) stage: &'static str,
    /// What stands between that and the number of a block: ".".
    pub(super) block: &'static str,
    /// The 1x1 convolution beside a branch.
    pub(super) shortcut: &'static str,
}

/// Stage 0 is the first convolution, stage i the i-th group of blocks. Stages from the second on halve the map.
#[derive(Debug)]
pub(super) struct PreActivation {
    stem: Conv2d,
    stages: Vec<Vec<Block>>,
    norm: Option<BatchNorm2d>,
    channels: Vec<i64>,
    names: Names,
}

impl Layout {
    /// Makes the network at `path` for images of `in_channels` channels.
    pub(super) fn build(&self, path: &Path, in_channels: i64) -> Result<PreActivation> {
        let stem = Conv2d::new(&path.sub("conv1"), Conv2dConfig::new(in_channels, self.stem, 3))?;
        let mut inputs = self.stem;
        let mut stages = Vec::new();
        let Names { stage: before, block: between, .. } = self.names;
        for (stage, &outputs) in self.channels.iter().enumerate() {
            let mut blocks = Vec::new();
            for i in 0..self.blocks {
                let stride = if stage > 0 && i == 0 { 2 } else { 1 };
                let path = path.sub(format!("{before}{}{between}{i}", stage + 1));
                blocks.push(Block::new(&path, self.names.shortcut, inputs, outputs, stride)?);
                inputs = outputs;
            }
            stages.push(blocks);
        }
        let norm = self.last_norm.then(|| BatchNorm2d::new(&path.sub("bn1"), inputs)).transpose()?;
        let channels = [&[self.stem], &self.channels[..]].concat();
        Ok(PreActivation { stem, stages, norm, channels, names: self.names })
    }
}

impl Backbone for PreActivation {
    fn stages(&self) -> usize {
        self.stages.len()
    }

    fn stage(&self, index: usize, map: &Map, pass: &Pass) -> Result<Map> {
        let mut x = map.cells()?;
        let Some(below) = index.checked_sub(1) else { return Ok(self.stem.forward(&x)?.into()) };
        let stages = self.stages();
        let blocks = self.stages.get(below).ok_or(Error::UnknownStage { stage: index, stages })?;
        for block in blocks {
            x = block.forward(&x, pass.train)?;
        }
        Ok(match &self.norm {
            Some(norm) if index == stages => norm.forward_relu(&x, pass.train)?,
            _ => x,
        }
        .into())
    }

    fn channels(&self, stage: usize) -> i64 {
        self.channels.get(stage).copied().unwrap_or(0)
    }

    fn batch_norms(&self) -> Vec<&BatchNorm2d> {
        let blocks = self.stages.iter().flatten();
        blocks.flat_map(|block| [&block.norms[0], &block.norms[1]]).chain(&self.norm).collect()
    }

    fn layers(&self) -> usize {
        1 + self.stages.iter().map(Vec::len).sum::<usize>()
    }

    fn layer(&self, parameter: &str) -> usize {
        let blocks: Vec<usize> = self.stages.iter().map(Vec::len).collect();
        match layer(parameter, self.names.stage, 1, &blocks) {
            // What follows the last block belongs to it.
            None if parameter.starts_with("bn1") => self.layers() - 1,
            found => found.unwrap_or(0),
        }
    }
}

/// `conv2(relu(bn2(conv1(a)))) + shortcut` with `a = relu(bn1(x))`; the shortcut is `x`, or a convolution of `a` where the
/// shapes differ.
#[derive(Debug)]
struct Block {
    norms: [BatchNorm2d; 2],
    convs: [Conv2d; 2],
    shortcut: Option<Conv2d>,
}

impl Block {
    fn new(path: &Path, shortcut: &str, inputs: i64, outputs: i64, stride: i64) -> Result<Self> {
        let conv = |name: &str, inputs: i64, kernel: i64, stride: i64| {
            let shape = Conv2dConfig { stride, ..Conv2dConfig::new(inputs, outputs, kernel) };
            Conv2d::new(&path.sub(name), shape)
        };
        let differs = stride != 1 || inputs != outputs;
        Ok(Self {
            norms: [
                BatchNorm2d::new(&path.sub("bn1"), inputs)?,
                BatchNorm2d::new(&path.sub("bn2"), outputs)?,
            ],
            convs: [conv("conv1", inputs, 3, stride)?, conv("conv2", outputs, 3, 1)?],
            shortcut: differs.then(|| conv(shortcut, inputs, 1, stride)).transpose()?,
        })
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let [bn1, bn2] = &self.norms;
        let [conv1, conv2] = &self.convs;
        let active = bn1.forward_relu(x, train)?;
        let aside = match &self.shortcut {
            Some(conv) => conv.forward(&active)?,
            None => x.shallow_clone(),
        };
        let inner = bn2.forward_relu(&conv1.forward(&active)?, train)?;
        // In place: a convolution's output is not needed by its own backward pass.
        Ok(conv2.forward(&inner)?.f_add_(&aside)?)
    }
}
