//! Maps on coarser and finer grids.

use admix_api::prelude::*;

/// The largest number of blocks a side that a message proposes.
const NAMED: i64 = 16;

/// Those of these numbers of blocks a side that divide both sides of an image.
///
/// # Errors
/// None does: names the setting `blocks`, and numbers that would do.
pub fn fitting(blocks: &[i64], (height, width): (i64, i64)) -> Result<Vec<i64>> {
    let divides = |b: &i64| height % b == 0 && width % b == 0;
    let fitting: Vec<i64> = blocks.iter().copied().filter(divides).collect();
    if !fitting.is_empty() {
        return Ok(fitting);
    }
    let others: Vec<String> = (2..=NAMED).filter(divides).map(|b| b.to_string()).collect();
    let remedy = if others.is_empty() {
        format!("no number from 2 to {NAMED} does, so bring the images to another size")
    } else {
        format!("such as {}", others.join(" or "))
    };
    Err(Error::range(
        "blocks",
        format!("{blocks:?}"),
        format!("a number that divides {height} and {width}, height and width of the images: {remedy}"),
    ))
}

/// The largest divisor of `whole` (at least 1) that is not above `limit`; 1 where the limit is below 1.
pub fn largest_divisor(whole: i64, limit: i64) -> i64 {
    (1..=limit.min(whole)).rev().find(|part| whole % part == 0).unwrap_or(1)
}

/// The mean of each cell: `[.., H, W]` to `[.., rows, columns]`, which divide H and W.
///
/// # Errors
/// They do not.
pub fn pooled(map: &Tensor, (rows, columns): (i64, i64)) -> Result<Tensor> {
    let mut shape = map.size();
    let (Some(width), Some(height)) = (shape.pop(), shape.pop()) else {
        return Err(Error::shape("a map", map.size(), "[.., H, W]"));
    };
    shape.extend([rows, height / rows, columns, width / columns]);
    Ok(map.f_reshape(shape)?.f_mean_dim([-3i64, -1].as_slice(), false, None)?)
}

/// Each cell repeated: `[N, rows, columns]` to `[N, height, width]`, multiples of these (nearest).
///
/// # Errors
/// They are not.
pub fn grown(map: &Tensor, (height, width): (i64, i64)) -> Result<Tensor> {
    let (n, rows, columns) = map.size3()?;
    let (tall, wide) = (height / rows, width / columns);
    let cells = map.f_reshape([n, rows, 1, columns, 1])?.f_expand([n, rows, tall, columns, wide], false)?;
    Ok(cells.f_reshape([n, height, width])?)
}

/// The share of the saliency in each cell, of sum 1: `[N, H, W]`, not negative, to `[N, rows, columns]`.
/// A map of zeros stays one.
///
/// # Errors
/// The grid does not divide the map.
pub fn saliency_shares(saliency: &Tensor, cells: (i64, i64)) -> Result<Tensor> {
    let pooled = pooled(&saliency.f_to_kind(Kind::Float)?, cells)?;
    let total = pooled.f_sum_dim_intlist([1i64, 2].as_slice(), true, None)?;
    // Below the smallest sum of a map that is not all zero, so that it changes no other.
    Ok(pooled.f_div(&total.f_clamp_min(f64::from(f32::MIN_POSITIVE))?)?)
}

/// Zeros around the last two dimensions: `[left, right, top, bottom]`.
pub(super) fn padded(map: &Tensor, by: [i64; 4]) -> Result<Tensor> {
    Ok(map.f_constant_pad_nd(by.as_slice())?)
}

/// The sum over the edges of each cell, `[.., b, b]`: values on the edges down `[.., b - 1, b]` and to the right
/// `[.., b, b - 1]`, one for the first cell of each edge and one for its second.
pub(super) fn over_edges(
    (first_v, first_h): (&Tensor, &Tensor),
    (second_v, second_h): (&Tensor, &Tensor),
) -> Result<Tensor> {
    let first = padded(first_v, [0, 0, 0, 1])?.f_add(&padded(first_h, [0, 1, 0, 0])?)?;
    let second = padded(second_v, [0, 0, 1, 0])?.f_add(&padded(second_h, [1, 0, 0, 0])?)?;
    Ok(first.f_add(&second)?)
}
