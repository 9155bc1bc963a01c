//! Where the most salient window of each image lies.

use admix_api::prelude::*;

/// The row and the column, in steps of `stride`, of the window of `window` x `window` pixels with the largest mean
/// saliency: `[N, H, W]`, not negative, to `[N, 2]` float32. A window larger than the image is cut down to it.
///
/// # Errors
/// Not of rank 3.
pub fn places(saliency: &Tensor, window: i64, stride: i64) -> Result<Tensor> {
    let (_, height, width) = saliency.size3()?;
    let size = [window.min(height), window.min(width)];
    let means = saliency.f_to_kind(Kind::Float)?.f_unsqueeze(1)?.f_avg_pool2d(
        size,
        [stride, stride],
        [0, 0],
        false,
        true,
        None,
    )?;
    let columns = means.size4()?.3;
    let best = means.f_flatten(1, -1)?.f_argmax(1, false)?;
    let row = best.f_div_scalar_mode(columns, "floor")?;
    Ok(Tensor::f_stack(&[row, best.f_remainder(columns)?], 1)?.f_to_kind(Kind::Float)?)
}

/// The l1 distances of places, row and column in turn: `[m, m]` in rows.
pub fn distances(places: &[f64]) -> Vec<f64> {
    let all = places.chunks_exact(2);
    let of = |one: &[f64], other: &[f64]| (one[0] - other[0]).abs() + (one[1] - other[1]).abs();
    all.clone().flat_map(|one| all.clone().map(move |other| of(one, other))).collect()
}
