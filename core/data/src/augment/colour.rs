//! The four operations of the colour jitter and grey, on batches `[K, H, C, W]` of whole numbers 0 to 255 in f32.
//!
//! Each hands back whole numbers again, as Pillow does with its 8-bit images: a blend drops what lies behind the
//! point, hue goes through a hue, a saturation and a value of 8 bits each.

use admix_torch::{Kind, Tensor};

use super::view::Change;
use crate::Result;

/// One operation with a factor for each image, `[K, 1, 1, 1]`: for hue, the whole steps of 1/256 of the circle.
pub(crate) fn change(images: &Tensor, change: Change, factor: &Tensor) -> Result<Tensor> {
    match change {
        Change::Brightness => finish(images.f_mul(factor)?),
        Change::Contrast => {
            let (_, h, _, w) = images.size4()?;
            let sum = luma(images)?.f_sum_dim_intlist([1i64, 2, 3].as_slice(), true, Kind::Double)?;
            let mean =
                sum.f_div_scalar((h * w) as f64)?.f_add_scalar(0.5)?.f_floor()?.f_to_kind(Kind::Float)?;
            blend(&mean, images, factor)
        }
        Change::Saturation => blend(&luma(images)?, images, factor),
        Change::Hue => turn(images, factor),
    }
}

/// Three equal channels.
pub(crate) fn grey(images: &Tensor) -> Result<Tensor> {
    Ok(luma(images)?.f_expand(images.size(), false)?)
}

/// Brightness as ITU-R 601 weighs the channels, in Pillow's whole numbers: `[K, H, 1, W]`.
fn luma(images: &Tensor) -> Result<Tensor> {
    if images.size()[2] == 1 {
        return Ok(images.shallow_clone());
    }
    let [r, g, b] = channels(images)?;
    // Exact in f32: the sum stays below 2^24.
    let mut sum = r.f_mul_scalar(19595.0)?;
    let _ = sum.f_add_(&g.f_mul_scalar(38470.0)?)?.f_add_(&b.f_mul_scalar(7471.0)?)?;
    let _ = sum.f_add_scalar_(32768.0)?.f_mul_scalar_(1.0 / 65536.0)?.f_floor_()?;
    Ok(sum)
}

fn channels(images: &Tensor) -> Result<[Tensor; 3]> {
    Ok([images.f_narrow(2, 0, 1)?, images.f_narrow(2, 1, 1)?, images.f_narrow(2, 2, 1)?])
}

/// `base + factor * (images - base)`.
fn blend(base: &Tensor, images: &Tensor, factor: &Tensor) -> Result<Tensor> {
    let mut mixed = images.f_sub(base)?;
    let _ = mixed.f_mul_(factor)?.f_add_(base)?;
    finish(mixed)
}

fn finish(mut values: Tensor) -> Result<Tensor> {
    Ok(values.f_clamp_(0.0, 255.0)?.f_floor_()?)
}

/// Turns the hue by `steps` of 1/256 of the circle.
fn turn(images: &Tensor, steps: &Tensor) -> Result<Tensor> {
    if images.size()[2] == 1 {
        return Ok(images.shallow_clone());
    }
    let [r, g, b] = channels(images)?;
    let value = r.f_maximum(&g)?.f_maximum(&b)?;
    let spread = value.f_sub(&r.f_minimum(&g)?.f_minimum(&b)?)?;
    // A grey pixel has no hue and no saturation; 1 keeps the divisions finite.
    let divisor = spread.f_clamp_min(1.0)?;
    let share = spread.f_div(&value.f_clamp_min(1.0)?)?;
    // Pillow multiplies in double precision before it cuts to 8 bits; one grey level of hue is six of colour.
    let double = |x: &Tensor| x.f_to_kind(Kind::Double);
    let saturation = double(&share)?.f_mul_scalar(255.0)?.f_floor()?.f_to_kind(Kind::Float)?;

    let (red, green) = (r.f_eq_tensor(&value)?, g.f_eq_tensor(&value)?);
    // Where red is the largest: blue's distance less green's; green: 2 + red's less blue's; blue: 4 + green's less red's.
    let plus = b.f_where_self(&red, &r.f_where_self(&green, &g)?)?;
    let minus = g.f_where_self(&red, &b.f_where_self(&green, &r)?)?;
    let sector = red.f_logical_not()?.f_to_kind(Kind::Double)?.f_mul_scalar(2.0)?;
    let sector = sector
        .f_add(&red.f_logical_or(&green)?.f_logical_not()?.f_to_kind(Kind::Double)?.f_mul_scalar(2.0)?)?;
    let distance = |x: &Tensor| -> Result<Tensor> { Ok(double(&value.f_sub(x)?.f_div(&divisor)?)?) };
    let mut hue = sector.f_add(&distance(&plus)?)?;
    let _ = hue.f_sub_(&distance(&minus)?)?;
    let hue = hue.f_to_kind(Kind::Float)?; // single precision here, as Pillow
    let mut hue = double(&hue)?;
    let _ = hue.f_div_scalar_(6.0)?.f_add_scalar_(1.0)?.f_frac_()?;
    let hue = double(&hue.f_to_kind(Kind::Float)?)?.f_mul_scalar(255.0)?.f_floor()?.f_to_kind(Kind::Float)?;
    let coloured = spread.f_gt(0.0)?;
    let hue = hue.f_mul(&coloured)?.f_add(steps)?.f_remainder(256.0)?;

    // Back: a channel is the value less a part of value * saturation that its place on the circle decides.
    let options = (Kind::Float, images.device());
    let offsets = Tensor::f_arange_start_step(5, 0, -2, options)?.f_view([1, 1, 3, 1])?;
    let place = hue.f_mul_scalar(6.0 / 255.0)?.f_add(&offsets)?.f_remainder(6.0)?;
    let part = place.f_minimum(&place.f_neg()?.f_add_scalar(4.0)?)?.f_clamp(0.0, 1.0)?;
    let depth = value.f_mul(&saturation)?.f_mul_scalar(1.0 / 255.0)?;
    let turned = value.f_sub(&part.f_mul(&depth)?)?;
    finish(turned.f_add_scalar(0.5)?)
}
