//! Crop, flip and resize of a batch of images of one size, as two batched matrix products.
//!
//! A crop of its own for each image is a matrix of its own on either side: row `o` of it weighs the pixels that output
//! pixel `o` is made of. The weights are Pillow's: the filter, centred on the output pixel, widened where the crop is
//! larger than the output, cut off at the edge of the crop and normalised.

use admix_torch::{Kind, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bytes::to_bytes;
use crate::Result;

/// How a crop is brought to its size.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// A triangle filter.
    Bilinear,
    /// Keys' cubic filter with a = -0.5, as Pillow's; not the -0.75 of other libraries.
    Bicubic,
}

/// Which part of one axis becomes the output; each `[M, 1, 1]` f32.
pub(crate) struct Window {
    /// First pixel.
    pub start: Tensor,
    /// Number of pixels.
    pub extent: Tensor,
    /// 1 where the output is reversed, else 0; `None` where it never is.
    pub reverse: Option<Tensor>,
}

/// Weights `[M, out, len]`; the sum over `len` is 1.
fn weights(filter: Interpolation, window: &Window, len: i64, out: i64) -> Result<Tensor> {
    let Window { start, extent, reverse } = window;
    let options = (Kind::Float, start.device());
    let mut place = Tensor::f_arange(out, options)?.f_view([1, out, 1])?;
    if let Some(reverse) = reverse {
        let turn = place.f_mul_scalar(-2.0)?.f_add_scalar((out - 1) as f64)?;
        place = place.f_add(&reverse.f_mul(&turn)?)?; // [M, out, 1]
    }
    let scale = extent.f_div_scalar(out as f64)?;
    let widened = scale.f_clamp_min(1.0)?;
    let centre = place.f_add_scalar(0.5)?.f_mul(&scale)?.f_add(start)?;
    let pixel = Tensor::f_arange(len, options)?.f_add_scalar(0.5)?.f_view([1, 1, len])?;
    let mut distance = pixel.f_sub(&centre)?;
    let _ = distance.f_div_(&widened)?.f_abs_()?;
    let mut weight = match filter {
        Interpolation::Bilinear => distance.f_neg()?.f_add_scalar(1.0)?.f_clamp_min(0.0)?,
        Interpolation::Bicubic => cubic(&distance)?,
    };
    let inside = pixel.f_gt_tensor(start)?.f_logical_and(&pixel.f_lt_tensor(&start.f_add(extent)?)?)?;
    let _ = weight.f_mul_(&inside)?;
    let sum = weight.f_sum_dim_intlist(2i64, true, Kind::Float)?;
    let _ = weight.f_div_(&sum)?;
    Ok(weight)
}

/// Keys' filter with a = -0.5 of a distance.
fn cubic(d: &Tensor) -> Result<Tensor> {
    // |d| < 1: (1.5 d - 2.5) d^2 + 1; |d| < 2: ((-0.5 d + 2.5) d - 4) d + 2.
    let near = d.f_mul_scalar(1.5)?.f_sub_scalar(2.5)?.f_mul(d)?.f_mul(d)?.f_add_scalar(1.0)?;
    let far = d.f_mul_scalar(-0.5)?.f_add_scalar(2.5)?.f_mul(d)?.f_sub_scalar(4.0)?.f_mul(d)?;
    let far = far.f_add_scalar(2.0)?.f_mul(&d.f_lt(2.0)?)?;
    Ok(near.f_where_self(&d.f_lt(1.0)?, &far)?)
}

/// Images `[M, H, C, W]` f32, whole numbers, through their windows: `[M, height, C, width]`, whole numbers again.
pub(crate) fn resample(
    images: &Tensor,
    filter: Interpolation,
    rows: &Window,
    columns: &Window,
    (height, width): (i64, i64),
) -> Result<Tensor> {
    let (m, h, c, w) = images.size4()?;
    let across = weights(filter, columns, w, width)?.f_transpose(1, 2)?;
    // Columns first, and 8 bits between the passes, as Pillow.
    let narrow = to_bytes(images.f_view([m, h * c, w])?.f_bmm(&across)?)?;
    let down = weights(filter, rows, h, height)?;
    let small = down.f_bmm(&narrow.f_view([m, h, c * width])?)?;
    Ok(to_bytes(small)?.f_view([m, height, c, width])?)
}
