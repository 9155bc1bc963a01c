//! Vision transformer, which is DeiT without its distillation token: a class token, twelve blocks, each a stage.
//!
//! Source  Dosovitskiy et al., ICLR 2021, arXiv:2010.11929; Touvron et al., ICML 2021, arXiv:2012.12877 (Tiny, Small,
//!         stochastic depth).
//! Names   as in timm, whose classifier is `head`.
//! Init    as in timm: linear weights and position embedding from N(0, 0.02^2), class token from N(0, 1e-6^2), biases 0;
//!         the patches' weights uniform within 1 / sqrt(fan-in).

use std::rc::Rc;

use admix_api::ranges::expect;
use admix_api::{Hints, Init, Path, Result as Checked};
use admix_torch::Tensor;

use super::drop_path::{DropPath, check_drop_path, draws};
use super::patches::Patches;
use super::residual::check_width;
use super::size::Size;
use super::transformer::Block;
use crate::naming::is_of_other_images;
use crate::{Backbone, BackboneConfig, BatchNorm2d, Error, Grid, LayerNorm, Map, Naming, Pass, Result};

const BLOCKS: usize = 12;
const EPSILON: f64 = 1e-6;

admix_api::settings! {
    /// Settings of a vision transformer. Recipe: `ViT(size: Small, patch: 16, image: 224)`, and for images of 32 pixels
    /// `ViT(size: Small, patch: 4, image: 32)`.
    pub struct ViTConfig {
        /// Tiny (192 channels, 3 heads), Small (384, 6) or Base (768, 12).
        pub size: Size = Size::Small,
        /// Side of a patch in pixels, from 1. An image of other sides than a multiple of it gets zeros on the right and below.
        pub patch: i64 = 4,
        /// Side of the images that the position embedding is made for, a multiple of `patch`. For images of another size it is
        /// resampled in each pass, bicubic with antialiasing, as timm does with `dynamic_img_size`.
        pub image: i64 = 32,
        /// Stochastic depth: share of the samples that skip a branch of the last block, in [0, 1); 0 at the first block, linear
        /// in between.
        pub drop_path: f64 = 0.1,
        /// Factor on the channels of each head, 64, in (0, 8]; rounded to a multiple of 8.
        pub width: f64 = 1.0,
    }
}

crate::backbone! {
    ViTConfig, "ViT", "vit", "vision transformer (ViT, DeiT) with a class token; twelve stages",
    source: "Dosovitskiy et al., ICLR 2021, arXiv:2010.11929; Touvron et al., ICML 2021, arXiv:2012.12877"
}

impl ViTConfig {
    fn heads(&self) -> i64 {
        match self.size {
            Size::Tiny => 3,
            Size::Small => 6,
            Size::Base => 12,
        }
    }

    fn channels(&self) -> i64 {
        self.heads() * 8 * ((8.0 * self.width).round() as i64).max(1)
    }
}

impl BackboneConfig for ViTConfig {
    fn validate(&self) -> Checked<()> {
        expect("patch", self.patch, (1..=64).contains(&self.patch), "a number of pixels from 1 to 64")?;
        let fits = (self.patch..=1024).contains(&self.image) && self.image % self.patch == 0;
        expect("image", self.image, fits, &format!("a multiple of the patch, {}, up to 1024", self.patch))?;
        check_drop_path(self.drop_path)?;
        check_width(self.width)
    }

    fn build(&self, path: &Path, in_channels: i64) -> Result<Box<dyn Backbone>> {
        self.validate()?;
        let (channels, side) = (self.channels(), self.image / self.patch);
        let apart = || Hints { weight_decay: false };
        let projection = Patches::uniform(in_channels, self.patch);
        let class = path.parameter("cls_token", &[1, 1, channels], Init::Normal(1e-6), apart())?;
        let position =
            path.parameter("pos_embed", &[1, 1 + side * side, channels], Init::Normal(0.02), apart())?;
        let patches =
            Patches::new(&path.sub("patch_embed.proj"), in_channels, channels, self.patch, projection)?;
        let mut blocks = Vec::new();
        for (i, drops) in DropPath::all(self.drop_path, BLOCKS, 2).into_iter().enumerate() {
            let path = path.sub(format!("blocks.{i}"));
            blocks.push(Block::new(&path, channels, self.heads(), EPSILON, [drops[0], drops[1]])?);
        }
        let norm = LayerNorm::new(&path.sub("norm"), channels, EPSILON)?;
        let drops = draws(self.drop_path, 2 * BLOCKS);
        Ok(Box::new(ViT { patches, class, position, side, blocks, norm, channels, drops }))
    }

    fn narrowed(&self) -> Option<Rc<dyn BackboneConfig>> {
        Some(Rc::new(Self { size: Size::Tiny, width: self.width.min(0.125), ..self.clone() }))
    }

    fn namings(&self) -> Vec<Naming> {
        vec![Naming::same(&["timm"], "head"), Naming::other(&["torchvision"], torchvision, "heads.head")]
    }

    fn misfit(&self, tensor: &str, theirs: &[i64], ours: &[i64]) -> Option<&'static str> {
        Some(match tensor {
            "patch_embed.proj.weight" if is_of_other_images(theirs, ours) => return None,
            "patch_embed.proj.weight" if theirs.get(2..) != ours.get(2..) => "patch",
            "pos_embed" if theirs.get(2) == ours.get(2) => "image",
            _ => "size",
        })
    }

    fn sizes(&self) -> Vec<&'static str> {
        vec![
            "with 1000 classes, patch 16, images of 224: Tiny: 5,717,416; Small: 22,050,664; Base: 86,567,656",
        ]
    }
}

/// The name in torchvision of a tensor.
fn torchvision(name: &str) -> String {
    let fixed = match name {
        "cls_token" => Some("class_token"),
        "pos_embed" => Some("encoder.pos_embedding"),
        _ => None,
    };
    if let Some(fixed) = fixed {
        return fixed.into();
    }
    if let Some(leaf) = name.strip_prefix("patch_embed.proj.") {
        return format!("conv_proj.{leaf}");
    }
    if let Some(leaf) = name.strip_prefix("norm.") {
        return format!("encoder.ln.{leaf}");
    }
    let Some((block, rest)) = name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')) else {
        return name.into();
    };
    let (module, leaf) = rest.rsplit_once('.').unwrap_or((rest, ""));
    let inner = match module {
        "norm1" => format!("ln_1.{leaf}"),
        "norm2" => format!("ln_2.{leaf}"),
        "attn.qkv" => format!("self_attention.in_proj_{leaf}"),
        "attn.proj" => format!("self_attention.out_proj.{leaf}"),
        "mlp.fc1" => format!("mlp.0.{leaf}"),
        "mlp.fc2" => format!("mlp.3.{leaf}"),
        _ => rest.into(),
    };
    format!("encoder.layers.encoder_layer_{block}.{inner}")
}

/// Stage 0 is the patches with the class token in front, stage i the i-th block. The last stage ends with a norm.
#[derive(Debug)]
struct ViT {
    patches: Patches,
    class: Tensor,
    position: Tensor,
    /// Cells of a side of the position embedding.
    side: i64,
    blocks: Vec<Block>,
    norm: LayerNorm,
    channels: i64,
    drops: usize,
}

impl ViT {
    fn embed(&self, images: &Tensor) -> Result<Map> {
        let cells = self.patches.forward_padded(images)?;
        let (n, channels, height, width) = cells.size4()?;
        let tokens = cells.f_flatten(2, 3)?.f_transpose(1, 2)?;
        let class = self.class.f_to_kind(tokens.kind())?.f_expand([n, 1, channels], false)?;
        let tokens = Tensor::f_cat(&[class, tokens], 1)?.f_add(&self.position_of(height, width)?)?;
        Map::tokens(tokens, Grid { beside: 1, height, width })
    }

    /// The position embedding for a grid of cells.
    fn position_of(&self, height: i64, width: i64) -> Result<Tensor> {
        if (height, width) == (self.side, self.side) {
            return Ok(self.position.shallow_clone());
        }
        let class = self.position.f_narrow(1, 0, 1)?;
        let cells = self.position.f_narrow(1, 1, self.side * self.side)?;
        let cells = cells.f_transpose(1, 2)?.f_unflatten(2, [self.side, self.side])?;
        let cells = cells.f_internal_upsample_bicubic2d_aa([height, width], false, None, None)?;
        Ok(Tensor::f_cat(&[class, cells.f_flatten(2, 3)?.f_transpose(1, 2)?], 1)?)
    }
}

/// The grid of a map of tokens.
fn check_tokens(map: &Map) -> Result<Grid> {
    map.grid().ok_or_else(|| Error::Shape {
        what: "the map that a stage of a ViT takes".into(),
        got: map.tensor().size(),
        wanted: "tokens with a class token, as the stage before gives: cells alone lack it, so mix inside of the network by a \
                 mixer"
            .into(),
    })
}

impl Backbone for ViT {
    fn stages(&self) -> usize {
        self.blocks.len()
    }

    fn stage(&self, index: usize, map: &Map, pass: &Pass) -> Result<Map> {
        let Some(below) = index.checked_sub(1) else { return self.embed(&map.cells()?) };
        let stages = self.stages();
        check_tokens(map)?;
        let block = self.blocks.get(below).ok_or(Error::UnknownStage { stage: index, stages })?;
        let tokens = block.forward(map.tensor(), pass)?;
        Ok(map.like(if index == stages { self.norm.forward(&tokens)? } else { tokens }))
    }

    fn channels(&self, stage: usize) -> i64 {
        if stage <= self.stages() { self.channels } else { 0 }
    }

    fn attention(&self, below: &Map) -> Result<Option<Tensor>> {
        let Grid { beside, height, width } = check_tokens(below)?;
        let Some(last) = self.blocks.last() else { return Ok(None) };
        let cells = last.attention(below.tensor())?.f_narrow(1, beside, height * width)?;
        Ok(Some(cells.f_unflatten(1, [height, width])?))
    }

    fn batch_norms(&self) -> Vec<&BatchNorm2d> {
        Vec::new()
    }

    fn drops(&self) -> usize {
        self.drops
    }

    fn layers(&self) -> usize {
        1 + self.stages()
    }

    fn layer(&self, parameter: &str) -> usize {
        // The norm at the end counts as part of the last block, as in timm.
        let of_block = || parameter.strip_prefix("blocks.")?.split('.').next()?.parse::<usize>().ok();
        if parameter.starts_with("norm.") { self.stages() } else { of_block().map_or(0, |block| block + 1) }
    }
}

#[cfg(test)]
mod tests;
