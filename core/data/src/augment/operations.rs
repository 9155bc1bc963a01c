//! The operations that AugMix chains, on batches `[K, C, H, W]` of whole numbers 0 to 255 in f32, as Pillow does them.

use std::f64::consts::PI;

use admix_torch::{Kind, Tensor};

use crate::Result;

/// One operation on one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Operation {
    /// Each channel is stretched over all levels.
    AutoContrast,
    /// Each channel's levels are spread so that all occur alike.
    Equalize,
    /// Of the 8 bits of a value so many, the last, become 0.
    Posterize(i64),
    /// Values from this one on are inverted.
    Solarize(i64),
    /// The pixel at column x and row y comes from `(a x + b y + c, d x + e y + f)`, centres at halves; bilinear, black outside.
    Affine([f64; 6]),
}

/// How many kinds of operations there are.
pub(super) const KINDS: usize = 5;
/// How many numbers an operation takes at most.
pub(super) const NUMBERS: usize = 6;

impl Operation {
    /// Turns by so many degrees against the clock.
    pub(super) fn rotate(degrees: i64, (height, width): (i64, i64)) -> Self {
        let angle = -(degrees.rem_euclid(360) as f64) * PI / 180.0;
        let (sin, cos) = angle.sin_cos();
        let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
        Self::Affine([cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y])
    }

    /// Its kind, in `0..KINDS`.
    pub(super) fn kind(self) -> usize {
        match self {
            Self::AutoContrast => 0,
            Self::Equalize => 1,
            Self::Posterize(_) => 2,
            Self::Solarize(_) => 3,
            Self::Affine(_) => 4,
        }
    }

    /// What tells it from others of its kind.
    pub(super) fn numbers(self) -> [f64; NUMBERS] {
        match self {
            Self::AutoContrast | Self::Equalize => [0.0; NUMBERS],
            Self::Posterize(bits) => [2f64.powi(bits as i32), 0.0, 0.0, 0.0, 0.0, 0.0],
            Self::Solarize(from) => [from as f64, 0.0, 0.0, 0.0, 0.0, 0.0],
            Self::Affine(matrix) => matrix,
        }
    }
}

/// One kind of operation on each image; `numbers` `[K, NUMBERS]` float64.
pub(super) fn apply(kind: usize, images: &Tensor, numbers: &Tensor) -> Result<Tensor> {
    let first = || -> Result<Tensor> {
        Ok(numbers.f_narrow(1, 0, 1)?.f_view([-1, 1, 1, 1])?.f_to_kind(Kind::Float)?)
    };
    match kind {
        0 => auto_contrast(images),
        1 => equalize(images),
        2 => {
            let step = first()?;
            Ok(images.f_div(&step)?.f_floor()?.f_mul(&step)?)
        }
        3 => {
            let inverted = images.f_neg()?.f_add_scalar(255.0)?;
            Ok(images.f_where_self(&images.f_lt_tensor(&first()?)?, &inverted)?)
        }
        _ => affine(images, numbers),
    }
}

fn auto_contrast(images: &Tensor) -> Result<Tensor> {
    let values = images.f_to_kind(Kind::Double)?;
    let (least, most) = (values.f_amin([2i64, 3], true)?, values.f_amax([2i64, 3], true)?);
    let spread = most.f_sub(&least)?;
    // Pillow's own order of operations, in double precision as there.
    let scale = spread.f_full_like(255.0)?.f_div(&spread.f_clamp_min(1.0)?)?;
    let stretched = values.f_mul(&scale)?.f_sub(&least.f_mul(&scale)?)?.f_trunc()?.f_clamp(0.0, 255.0)?;
    let alike = spread.f_eq(0.0)?;
    Ok(values.f_where_self(&alike, &stretched)?.f_to_kind(Kind::Float)?)
}

fn equalize(images: &Tensor) -> Result<Tensor> {
    let (k, c, h, w) = images.size4()?;
    let levels = images.f_to_kind(Kind::Int64)?.f_reshape([k * c, h * w])?;
    let whole = (Kind::Int64, images.device());
    let counts = Tensor::f_zeros([k * c, 256], whole)?.f_scatter_add(1, &levels, &levels.f_ones_like()?)?;
    let level = Tensor::f_arange(256, whole)?.f_unsqueeze(0)?;
    let last = counts.f_gt(0)?.f_to_kind(Kind::Int64)?.f_mul(&level)?.f_amax([1i64], true)?;
    let below = counts.f_gather(1, &last, false)?.f_neg()?.f_add_scalar(h * w)?;
    let step = below.f_div_scalar_mode(255, "floor")?;
    let before = counts.f_cumsum(1, Kind::Int64)?.f_sub(&counts)?;
    let rounded = before.f_add(&step.f_div_scalar_mode(2, "floor")?)?;
    let spread = rounded.f_div_tensor_mode(&step.f_clamp_min(1)?, "floor")?.f_clamp_max(255)?;
    let table = spread.f_where_self(&step.f_gt(0)?, &level)?;
    Ok(table.f_gather(1, &levels, false)?.f_view([k, c, h, w])?.f_to_kind(Kind::Float)?)
}

/// Keeps what rounding takes away just below a whole number from costing a grey level.
const SLACK: f64 = 1.0 / 2048.0;

fn affine(images: &Tensor, matrices: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = images.size4()?;
    let centres = |length: i64, shape: [i64; 3]| -> Result<Tensor> {
        let options = (Kind::Double, images.device());
        Ok(Tensor::f_arange(length, options)?.f_add_scalar(0.5)?.f_view(shape)?)
    };
    let (x, y) = (centres(width, [1, 1, width])?, centres(height, [1, height, 1])?);
    let number = |at: i64| -> Result<Tensor> { Ok(matrices.f_narrow(1, at, 1)?.f_unsqueeze(2)?) };
    let place = |at: i64| -> Result<Tensor> {
        Ok(x.f_mul(&number(at)?)?.f_add(&y.f_mul(&number(at + 1)?)?)?.f_add(&number(at + 2)?)?)
    };
    let (columns, rows) = (place(0)?, place(3)?);
    let within = |at: &Tensor, length: i64| -> Result<Tensor> {
        Ok(at.f_ge(0.0)?.f_logical_and(&at.f_lt(length as f64)?)?)
    };
    let inside = within(&columns, width)?.f_logical_and(&within(&rows, height)?)?.f_unsqueeze(1)?;
    // To -1 and 1 at the outer edges, as `grid_sampler` counts; beyond the outer centres the edge goes on.
    let scaled = |at: &Tensor, length: i64| -> Result<Tensor> {
        Ok(at.f_mul_scalar(2.0 / length as f64)?.f_sub_scalar(1.0)?)
    };
    let grid = Tensor::f_stack(&[scaled(&columns, width)?, scaled(&rows, height)?], 3)?;
    let sampled = images.f_grid_sampler(&grid.f_to_kind(Kind::Float)?, 0, 1, false)?;
    Ok(sampled.f_add_scalar(SLACK)?.f_floor()?.f_mul(&inside)?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// `tests/fixtures/make_augmix.py` says how these were made.
    #[test]
    fn pixels_are_those_of_pillow() -> Result<()> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/augmix.safetensors");
        let all: std::collections::BTreeMap<String, Tensor> =
            Tensor::read_safetensors(path)?.into_iter().collect();
        for set in ["colour", "grey"] {
            let images = all[&format!("{set}_images")].f_to_kind(Kind::Float)?;
            let (n, _, height, width) = images.size4()?;
            let operations = [
                ("autocontrast", vec![Operation::AutoContrast]),
                ("equalize", vec![Operation::Equalize]),
                ("posterize", [0, 1, 4, 7].map(Operation::Posterize).to_vec()),
                ("solarize", [256, 200, 128, 1].map(Operation::Solarize).to_vec()),
                (
                    "rotate",
                    [0, 7, -30, 29].map(|degrees| Operation::rotate(degrees, (height, width))).to_vec(),
                ),
                (
                    "shear_x",
                    [0.0, 0.09, -0.29].map(|by| Operation::Affine([1.0, by, 0.0, 0.0, 1.0, 0.0])).to_vec(),
                ),
                (
                    "shear_y",
                    [0.0, 0.09, -0.29].map(|by| Operation::Affine([1.0, 0.0, 0.0, by, 1.0, 0.0])).to_vec(),
                ),
                (
                    "translate_x",
                    [0.0, 3.0, -4.0].map(|by| Operation::Affine([1.0, 0.0, by, 0.0, 1.0, 0.0])).to_vec(),
                ),
                (
                    "translate_y",
                    [0.0, 3.0, -4.0].map(|by| Operation::Affine([1.0, 0.0, 0.0, 0.0, 1.0, by])).to_vec(),
                ),
            ];
            for (name, list) in operations {
                let wanted = all[&format!("{set}_{name}")].f_to_kind(Kind::Float)?;
                for (at, operation) in list.into_iter().enumerate() {
                    let numbers =
                        Tensor::f_from_slice(&operation.numbers())?.f_expand([n, NUMBERS as i64], false)?;
                    let apart =
                        apply(operation.kind(), &images, &numbers)?.f_sub(&wanted.f_select(0, at as i64)?)?;
                    let most = apart.f_abs()?.f_max()?.f_double_value(&[])?;
                    let many = apart.f_ne(0.0)?.f_to_kind(Kind::Double)?.f_mean(None)?.f_double_value(&[])?;
                    let allowed =
                        if matches!(operation, Operation::Affine(_)) { (1.0, 0.002) } else { (0.0, 0.0) };
                    assert!(
                        most <= allowed.0 && many <= allowed.1,
                        "{set} {name} {at}: {most}, {many} of all"
                    );
                }
            }
        }
        Ok(())
    }
}
