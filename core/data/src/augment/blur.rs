//! Gaussian blur as three boxes with fractional ends along each axis, which is what Pillow's `GaussianBlur` is.
//!
//! Up to a standard deviation of 2 a box reaches over 5 pixels and the three of them over 13. Their variance is exactly
//! that of the Gaussian, also where a sampled Gaussian would fall between the pixels (below 0.5).

use admix_torch::{Kind, Tensor};

use super::bytes::to_bytes;
use crate::Result;

/// Boxes along each axis.
const PASSES: f64 = 3.0;

/// Half the length of the box, less the middle pixel: whole pixels and a fraction (Gwosdek et al. 2011, eq. 7, 11, 14).
pub(crate) fn radius(sigma: f64) -> f64 {
    let variance = sigma * sigma / PASSES;
    let length = (12.0 * variance + 1.0).sqrt();
    let whole = ((length - 1.0) / 2.0).floor();
    let next = whole + 1.0;
    let fraction = (2.0 * whole + 1.0) * (whole * next - 3.0 * variance) / (6.0 * (variance - next * next));
    whole + fraction
}

/// One box along an axis of `len` pixels, the edge repeated beyond it, as matrices `[K, len, len]`; `radii` `[K, 1, 1]`.
fn boxes(radii: &Tensor, len: i64) -> Result<Tensor> {
    let options = (Kind::Float, radii.device());
    let place = Tensor::f_arange(len, options)?;
    let distance = place.f_view([1, len, 1])?.f_sub(&place.f_view([1, 1, len])?)?.f_abs()?;
    // A pixel inside weighs at most 1. One at the edge stands for all beyond it too: their weights sum to what is left.
    let most = place.f_sub_scalar((len - 1) as f64 / 2.0)?.f_abs()?.f_lt((len - 1) as f64 / 2.0)?;
    let most = most.f_logical_not()?.f_to_kind(Kind::Float)?.f_mul_scalar(1e6)?.f_add_scalar(1.0)?;
    let reach = radii.f_add_scalar(1.0)?.f_sub(&distance)?.f_clamp_min(0.0)?;
    let reach = reach.f_minimum(&most.f_view([1, 1, len])?)?;
    Ok(reach.f_div(&radii.f_mul_scalar(2.0)?.f_add_scalar(1.0)?)?)
}

/// Images `[K, H, C, W]` f32, whole numbers, each blurred with its own `radii` `[K, 1, 1]`; whole numbers again.
pub(crate) fn blur(images: &Tensor, radii: &Tensor) -> Result<Tensor> {
    let (k, h, c, w) = images.size4()?;
    let along = boxes(radii, w)?;
    let across = along.f_transpose(1, 2)?;
    let mut blurred = images.f_view([k, h * c, w])?;
    for _ in 0..PASSES as usize {
        blurred = to_bytes(blurred.f_bmm(&across)?)?;
    }
    let down = if h == w { along } else { boxes(radii, h)? };
    blurred = blurred.f_view([k, h, c * w])?;
    for _ in 0..PASSES as usize {
        blurred = to_bytes(down.f_bmm(&blurred)?)?;
    }
    Ok(blurred.f_view([k, h, c, w])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use admix_torch::Device;

    #[test]
    fn a_box_sums_to_one_and_three_have_the_variance_of_the_gaussian() {
        for sigma in [0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 5.0] {
            let radii = Tensor::from(radius(sigma) as f32).view([1, 1, 1]);
            let one = boxes(&radii, 101).expect("a matrix").to_kind(Kind::Double);
            let sums = one.sum_dim_intlist(2i64, false, Kind::Double);
            assert!((sums - 1.0).abs().max().double_value(&[]) < 1e-5, "{sigma}");
            let three = one.bmm(&one).bmm(&one);
            let middle = three.select(0, 0).select(0, 50);
            let place = Tensor::arange(101, (Kind::Double, Device::Cpu)) - 50.0;
            let variance = (&middle * &place * &place).sum(Kind::Double).double_value(&[]);
            assert!((variance / (sigma * sigma) - 1.0).abs() < 1e-3, "{sigma}: {variance}");
            if sigma <= 2.0 {
                assert!(middle.gt(1e-9).sum(Kind::Int64).int64_value(&[]) <= 13, "{sigma}");
            }
        }
    }

    #[test]
    fn the_edge_is_repeated() {
        let radii = Tensor::from(1.5f32).view([1, 1, 1]);
        let one = boxes(&radii, 5).expect("a matrix") * 4.0;
        let first: Vec<f32> = Vec::try_from(one.select(0, 0).select(0, 0)).expect("floats");
        // At the edge: 0.5 and 1 from beyond it and 1 of its own, then 1 and 0.5.
        assert_eq!(first, [2.5, 1.0, 0.5, 0.0, 0.0]);
    }
}
