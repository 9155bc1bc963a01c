//! Swin transformer: attention within windows that shift from block to block; four stages.
//!
//! Source  Liu et al., ICCV 2021, arXiv:2103.14030. Maps of any size, padded to whole windows as torchvision does.
//! Names   as in timm, whose classifier is `head.fc`. torchvision also stores `relative_position_index`, which follows from
//!         the window.
//! Init    as in timm: linear weights and position biases from N(0, 0.02^2), biases 0; the patches' weights uniform within
//!         1 / sqrt(fan-in).

use std::rc::Rc;

use admix_api::ranges::expect;
use admix_api::{Path, Result as Checked};

use super::depth::layer;
use super::drop_path::{DropPath, check_drop_path, draws};
use super::patches::Patches;
use super::residual::check_width;
use super::size::Size;
use super::transformer::Block;
use super::windows::{Merging, Windows, pairs};
use crate::naming::{Beside, is_of_other_images};
use crate::{Backbone, BackboneConfig, BatchNorm2d, Error, LayerNorm, Map, Naming, Pass, Result};

const STAGES: usize = 4;
const EPSILON: f64 = 1e-5;

admix_api::settings! {
    /// Settings of a Swin transformer. Recipe: `Swin(size: Tiny, patch: 4, window: 7)`, and for images of 32 pixels
    /// `Swin(patch: 2, window: 4)`.
    pub struct SwinConfig {
        /// Tiny (96 channels and 3 heads in stage 1, 12 blocks), Small (96, 3, 24) or Base (128, 4, 24).
        pub size: Size = Size::Tiny,
        /// Side of a patch in pixels, from 1 to 16; the paper's is 4.
        pub patch: i64 = 4,
        /// Side of a window in cells, from 2 to 32; the paper's is 7.
        pub window: i64 = 7,
        /// Stochastic depth: share of the samples that skip a branch of the last block, in [0, 1); 0 at the first block, linear
        /// in between. The paper's are 0.2 for Tiny, 0.3 for Small, 0.5 for Base.
        pub drop_path: f64 = 0.2,
        /// Factor on the channels of each head, 32, in (0, 8]; rounded to a multiple of 8.
        pub width: f64 = 1.0,
    }
}

crate::backbone! {
    SwinConfig, "Swin", "swin", "transformer with attention within shifted windows; four stages",
    source: "Liu et al., ICCV 2021, arXiv:2103.14030"
}

impl SwinConfig {
    fn blocks(&self) -> [usize; STAGES] {
        [2, 2, if self.size == Size::Tiny { 6 } else { 18 }, 2]
    }

    fn heads(&self) -> [i64; STAGES] {
        let first = if self.size == Size::Base { 4 } else { 3 };
        [1, 2, 4, 8].map(|factor| factor * first)
    }

    fn channels(&self) -> [i64; STAGES] {
        let of_head = 8 * ((4.0 * self.width).round() as i64).max(1);
        self.heads().map(|heads| heads * of_head)
    }
}

impl BackboneConfig for SwinConfig {
    fn validate(&self) -> Checked<()> {
        expect("patch", self.patch, (1..=16).contains(&self.patch), "a number of pixels from 1 to 16")?;
        expect("window", self.window, (2..=32).contains(&self.window), "a number of cells from 2 to 32")?;
        check_drop_path(self.drop_path)?;
        check_width(self.width)
    }

    fn build(&self, path: &Path, in_channels: i64) -> Result<Box<dyn Backbone>> {
        self.validate()?;
        let (counts, channels, heads) = (self.blocks(), self.channels(), self.heads());
        let embed = path.sub("patch_embed");
        let uniform = Patches::uniform(in_channels, self.patch);
        let patches = Patches::new(&embed.sub("proj"), in_channels, channels[0], self.patch, uniform)?;
        let stem = (patches, LayerNorm::new(&embed.sub("norm"), channels[0], EPSILON)?);
        let total = counts.iter().sum();
        let mut drops = DropPath::all(self.drop_path, total, 2).into_iter();
        let mut stages = Vec::new();
        for (index, &count) in counts.iter().enumerate() {
            let path = path.sub(format!("layers.{index}"));
            let merging = match index.checked_sub(1) {
                None => None,
                Some(before) => {
                    Some(Merging::new(&path.sub("downsample"), channels[before], channels[index], EPSILON)?)
                }
            };
            let mut blocks = Vec::new();
            for (i, drops) in drops.by_ref().take(count).enumerate() {
                let path = path.sub(format!("blocks.{i}"));
                // Every second block shifts its windows by half of their side.
                let shift = if i % 2 == 0 { 0 } else { self.window / 2 };
                let windows = Windows::new(&path.sub("attn"), heads[index], self.window, shift)?;
                let drops = [drops[0], drops[1]];
                blocks.push((Block::new(&path, channels[index], heads[index], EPSILON, drops)?, windows));
            }
            stages.push(Stage { merging, blocks });
        }
        let norm = LayerNorm::new(&path.sub("norm"), channels[STAGES - 1], EPSILON)?;
        Ok(Box::new(Swin { stem, stages, norm, channels, drops: draws(self.drop_path, 2 * total) }))
    }

    fn narrowed(&self) -> Option<Rc<dyn BackboneConfig>> {
        Some(Rc::new(Self { size: Size::Tiny, width: self.width.min(0.125), ..self.clone() }))
    }

    fn namings(&self) -> Vec<Naming> {
        vec![Naming::same(&["timm"], "head.fc"), TORCHVISION]
    }

    fn misfit(&self, tensor: &str, theirs: &[i64], ours: &[i64]) -> Option<&'static str> {
        let other_rows = theirs.first() != ours.first();
        Some(match tensor {
            "patch_embed.proj.weight" if is_of_other_images(theirs, ours) => return None,
            "patch_embed.proj.weight" if theirs.get(2..) != ours.get(2..) => "patch",
            _ if tensor.ends_with("relative_position_bias_table") && other_rows => "window",
            _ => "size",
        })
    }

    fn sizes(&self) -> Vec<&'static str> {
        vec!["with 1000 classes, patch 4, window 7: Tiny: 28,288,354; Small: 49,606,258; Base: 87,768,224"]
    }
}

const TORCHVISION: Naming =
    Naming { beside: index_beside, ..Naming::other(&["torchvision"], torchvision, "head") };

/// torchvision keeps the rows of each table of biases that its pairs of cells take.
fn index_beside(name: &str, shape: &[i64]) -> Option<Beside> {
    let own = torchvision(name);
    let above = own.strip_suffix("relative_position_bias_table")?;
    // The table has (2 side - 1)^2 rows.
    let side = (shape.first()?.isqrt() + 1) / 2;
    let name = format!("{above}relative_position_index");
    Some(Beside { name, shape: vec![side.pow(4)], values: pairs(side) })
}

/// The name in torchvision of a tensor. There everything is in one sequence: the patches, then stages and what is between
/// them in turn.
fn torchvision(name: &str) -> String {
    if let Some(leaf) = name.strip_prefix("patch_embed.proj.") {
        return format!("features.0.0.{leaf}");
    }
    if let Some(leaf) = name.strip_prefix("patch_embed.norm.") {
        return format!("features.0.2.{leaf}");
    }
    let split = || {
        let (stage, rest) = name.strip_prefix("layers.")?.split_once('.')?;
        Some((stage.parse::<usize>().ok()?, rest))
    };
    let Some((stage, rest)) = split() else { return name.into() };
    if let Some(rest) = rest.strip_prefix("downsample.") {
        return format!("features.{}.{rest}", 2 * stage);
    }
    let rest = rest.strip_prefix("blocks.").unwrap_or(rest);
    format!("features.{}.{}", 2 * stage + 1, rest.replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.3"))
}

#[derive(Debug)]
struct Stage {
    /// Halves the map before the blocks.
    merging: Option<Merging>,
    blocks: Vec<(Block, Windows)>,
}

/// Stage 0 is the patches, stage i timm's `layers.<i - 1>`. The last stage ends with a norm.
#[derive(Debug)]
struct Swin {
    stem: (Patches, LayerNorm),
    stages: Vec<Stage>,
    norm: LayerNorm,
    channels: [i64; STAGES],
    drops: usize,
}

impl Backbone for Swin {
    fn stages(&self) -> usize {
        STAGES
    }

    fn stage(&self, index: usize, map: &Map, pass: &Pass) -> Result<Map> {
        let x = map.cells()?;
        let Some(below) = index.checked_sub(1) else {
            let (patches, norm) = &self.stem;
            return Ok(norm.forward_cells(&patches.forward_cropped(&x)?)?.into());
        };
        let unknown = Error::UnknownStage { stage: index, stages: STAGES };
        let Stage { merging, blocks } = self.stages.get(below).ok_or(unknown)?;
        // Channels last from here on, as the layers of transformers take them.
        let mut x = x.f_permute([0, 2, 3, 1])?;
        if let Some(merging) = merging {
            x = merging.forward(&x)?;
        }
        for (block, windows) in blocks {
            x = block.forward_with(&x, pass, |attention, x| windows.attend(attention, x))?;
        }
        if index == STAGES {
            x = self.norm.forward(&x)?;
        }
        Ok(x.f_permute([0, 3, 1, 2])?.into())
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

    fn layers(&self) -> usize {
        1 + self.stages.iter().map(|stage| stage.blocks.len()).sum::<usize>()
    }

    fn layer(&self, parameter: &str) -> usize {
        let counts: Vec<usize> = self.stages.iter().map(|stage| stage.blocks.len()).collect();
        // The norm at the end counts as part of the last block, as in timm.
        let is_last = parameter.starts_with("norm.");
        if is_last { self.layers() - 1 } else { layer(parameter, "layers.", 0, &counts).unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests;
