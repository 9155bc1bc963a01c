//! Saliency maps of images: fine-grained saliency, and what the authors' code makes of normalised floats.
//!
//! Source  Montabone and Soto, Image and Vision Computing 28(3), 2010, rounded as OpenCV's is.

use admix_api::prelude::*;

/// Half windows of the scales, in pixels; the window has twice as many to a side.
const SCALES: [i64; 6] = [12, 24, 48, 28, 56, 112];

/// Shares of the colours in grey, times 2^15. The first colour is taken for blue, as the reference's maps are made.
const GREY: [f64; 3] = [3735.0, 19235.0, 9798.0];

/// How strongly each pixel stands out of its surroundings: `[N, H, W]` whole numbers in [0, 510], float32, of 8-bit
/// images `[N, C, H, W]`: whole numbers in [0, 255], float32.
///
/// Grey, blurred twice; at each of six scales, by how much a pixel is lighter or darker than the mean of the window
/// around it; both summed over scales and brought to 255 at most, then added. Every step cuts to whole numbers, as
/// 8-bit images would. The reference's sum wraps at 256; here it does not.
///
/// # Errors
/// libtorch refused.
pub fn fine_grained(pixels: &Tensor) -> Result<Tensor> {
    let grey = blurred(&blurred(&grey(pixels)?)?)?;
    let (count, height, width) = grey.size3()?;
    // Whole numbers of 32 bits, so exact up to 8 million pixels.
    let sums = integral(&grey, Kind::Int)?;
    let zeros = || grey.f_zeros_like();
    let (mut light, mut dark) = (zeros()?, zeros()?);
    for half in SCALES {
        let (sum, others) = surroundings(&sums, half)?;
        let mean = sum.f_to_kind(Kind::Float)?.f_subtract(&grey)?.f_div(&others)?;
        let more = grey.f_subtract(&mean)?;
        light = light.f_add(&more.f_clamp_min(0.0)?.f_trunc()?)?;
        dark = dark.f_add(&more.f_neg()?.f_clamp_min(0.0)?.f_trunc()?)?;
    }
    let full = |map: &Tensor| -> Result<Tensor> {
        let most = map.f_amax([1i64, 2], true)?.f_clamp_min(1.0)?;
        Ok(map.f_mul_scalar(255.0)?.f_div(&most)?.f_trunc()?)
    };
    let both = full(&light)?.f_add(&full(&dark)?)?;
    debug_assert_eq!(both.size(), [count, height, width]);
    Ok(both)
}

/// Sums of all that is above and to the left of each corner of pixels: `[N, H + 1, W + 1]` of a map `[N, H, W]`.
fn integral(map: &Tensor, kind: Kind) -> Result<Tensor> {
    let sums = map.f_to_kind(kind)?.f_cumsum(1, kind)?.f_cumsum(2, kind)?;
    Ok(sums.f_constant_pad_nd([1, 0, 1, 0])?)
}

/// Of the windows of one scale around each pixel, cut off at the border: the sum `[N, H, W]`, and how many pixels there are
/// beside the one in the middle, `[H, W]`.
fn surroundings(sums: &Tensor, half: i64) -> Result<(Tensor, Tensor)> {
    let (_, below, beside) = sums.size3()?;
    let edges = |length: i64| -> Result<(Tensor, Tensor)> {
        let place = Tensor::f_arange(length, (Kind::Int64, sums.device()))?;
        let edge = |by: i64| place.f_add_scalar(by)?.f_clamp(0, length);
        Ok((edge(1 - half)?, edge(1 + half)?))
    };
    let ((top, bottom), (left, right)) = (edges(below - 1)?, edges(beside - 1)?);
    let rows = sums.f_index_select(1, &bottom)?.f_subtract(&sums.f_index_select(1, &top)?)?;
    let sum = rows.f_index_select(2, &right)?.f_subtract(&rows.f_index_select(2, &left)?)?;
    let area = bottom.f_subtract(&top)?.f_unsqueeze(1)?.f_multiply(&right.f_subtract(&left)?)?;
    // The pixel itself is no part of its surroundings; an image of one pixel has none.
    Ok((sum, area.f_subtract_scalar(1)?.f_clamp_min(1)?))
}

/// What the reference computes of normalised images `[N, C, H, W]` where it means their saliency: `[N, H, W]` whole numbers
/// in [0, 255], float32.
///
/// Its routine is written for 8-bit grey images. Of floats, grey and blurred image stay floats, and so do the sums of the
/// windows, but the pixel in the middle is fetched by the address of a byte: at column c, byte c of the row, that is one of
/// the four bytes of the float at column c / 4. All conversions to 8 bits cut to whole numbers and wrap at 256. Grey is
/// rounded as the multiply-add instructions that the reference is compiled to do it, since the last bits count.
///
/// # Errors
/// libtorch refused.
pub fn float_bytes(images: &Tensor) -> Result<Tensor> {
    let blurred = float_blurred(&float_blurred(&float_grey(images)?)?)?.f_contiguous()?;
    let (_, _, width) = blurred.size3()?;
    let bytes = blurred.f_view_dtype(Kind::Uint8)?.f_narrow(2, 0, width)?.f_to_kind(Kind::Float)?;
    let sums = integral(&blurred, Kind::Double)?;
    let zeros = || bytes.f_zeros_like();
    let (mut light, mut dark) = (zeros()?, zeros()?);
    let wrapped = |value: &Tensor| value.f_clamp_min(0.0)?.f_trunc()?.f_remainder(256);
    for half in SCALES {
        let (sum, others) = surroundings(&sums, half)?;
        let mean = sum.f_to_kind(Kind::Float)?.f_subtract(&bytes)?.f_div(&others.f_to_kind(Kind::Float)?)?;
        let more = bytes.f_subtract(&mean)?;
        light = light.f_add(&wrapped(&more)?)?;
        dark = dark.f_add(&wrapped(&more.f_neg()?)?)?;
    }
    let most = |map: &Tensor| map.f_amax([1i64, 2], true)?.f_clamp_min(1.0);
    let full = |map: &Tensor| -> Result<Tensor> {
        let share = map.f_div(&most(map)?)?.f_to_kind(Kind::Double)?;
        Ok(share.f_mul_scalar(255.0)?.f_trunc()?)
    };
    let (light, dark) = (full(&light)?, full(&dark)?);
    let most = most(&light.f_maximum(&dark)?)?;
    let both = light.f_add(&dark)?.f_mul_scalar(255.0)?.f_div(&most)?;
    Ok(both.f_trunc()?.f_remainder(256)?.f_to_kind(Kind::Float)?)
}

/// `[N, H, W]` float32: 0.114, 0.587 and 0.299 of the colours, the sum rounded after each; else the mean.
fn float_grey(images: &Tensor) -> Result<Tensor> {
    if images.size()[1] != 3 {
        return Ok(images.f_mean_dim([1i64].as_slice(), false, Kind::Float)?);
    }
    // A product of two floats is exact in a double, so a sum there is rounded once, to a float.
    let part = |colour: i64, share: f32| -> Result<Tensor> {
        let one = images.f_select(1, colour)?.f_to_kind(Kind::Float)?.f_to_kind(Kind::Double)?;
        Ok(one.f_mul_scalar(f64::from(share))?)
    };
    let rounded = |sum: &Tensor| sum.f_to_kind(Kind::Float)?.f_to_kind(Kind::Double);
    let mut sum = rounded(&part(1, 0.587)?)?;
    for (colour, share) in [(0, 0.114), (2, 0.299)] {
        sum = rounded(&sum.f_add(&part(colour, share)?)?)?;
    }
    Ok(sum.f_to_kind(Kind::Float)?)
}

/// As [`blurred`], in floats: along rows first.
fn float_blurred(grey: &Tensor) -> Result<Tensor> {
    let along = |image: &Tensor, axis: i64| -> Result<Tensor> {
        let (before, after) = neighbours(image, axis)?;
        Ok(before.f_add(&after)?.f_mul_scalar(0.25)?.f_add(&image.f_mul_scalar(0.5)?)?)
    };
    along(&along(grey, 2)?, 1)
}

/// `[N, H, W]` whole numbers in [0, 255]: weighted for three colours, else the mean.
fn grey(pixels: &Tensor) -> Result<Tensor> {
    let colours = pixels.size()[1];
    if colours != 3 {
        let mean = pixels.f_mean_dim([1i64].as_slice(), false, Kind::Float)?;
        return Ok(mean.f_add_scalar(0.5)?.f_floor()?);
    }
    let mut sum = Tensor::f_zeros_like(&pixels.f_select(1, 0)?)?;
    for (colour, share) in (0i64..).zip(GREY) {
        sum = sum.f_add(&pixels.f_select(1, colour)?.f_mul_scalar(share)?)?;
    }
    Ok(sum.f_mul_scalar((-15f64).exp2())?.f_add_scalar(0.5)?.f_floor()?)
}

/// Weights 1/4, 1/2, 1/4 along rows and columns, rounded to whole numbers once.
fn blurred(grey: &Tensor) -> Result<Tensor> {
    let along = |image: &Tensor, axis: i64| -> Result<Tensor> {
        let (before, after) = neighbours(image, axis)?;
        Ok(image.f_mul_scalar(2.0)?.f_add(&before)?.f_add(&after)?)
    };
    let sum = along(&along(grey, 1)?, 2)?;
    Ok(sum.f_add_scalar(8.0)?.f_div_scalar(16.0)?.f_floor()?)
}

/// The pixels before and behind each along an axis; the border pixel is not repeated where the image is reflected.
fn neighbours(image: &Tensor, axis: i64) -> Result<(Tensor, Tensor)> {
    let length = image.size()[axis as usize];
    let last = (length - 1).max(0);
    let part = |start: i64, count: i64| image.f_narrow(axis, start.clamp(0, last), count);
    let before = Tensor::f_cat(&[part(1, 1)?, part(0, length - 1)?], axis)?;
    let after = Tensor::f_cat(&[part(1, length - 1)?, part(length - 2, 1)?], axis)?;
    Ok((before, after))
}

/// Row and column of the largest value of each map, `[N]` int64; the first of equals, row by row.
///
/// # Errors
/// libtorch refused.
pub fn peaks(maps: &Tensor) -> Result<(Tensor, Tensor)> {
    let (count, _, width) = maps.size3()?;
    let at = maps.f_reshape([count, -1])?.f_argmax(1, false)?;
    Ok((at.f_floor_divide_scalar(width)?, at.f_remainder(width)?))
}

#[cfg(test)]
mod tests {
    use admix_api::contract::wild;

    use super::*;

    /// The map of one grey image, pixel by pixel, window by window.
    fn slowly(image: &[Vec<i64>]) -> Vec<Vec<i64>> {
        let (height, width) = (image.len() as i64, image[0].len() as i64);
        let inner = |i: i64, length: i64| match i {
            _ if length == 1 => 0,
            -1 => 1,
            i if i == length => length - 2,
            i => i,
        };
        let at = |image: &[Vec<i64>], y: i64, x: i64| image[y as usize][x as usize];
        let every = |of: &dyn Fn(i64, i64) -> i64| -> Vec<Vec<i64>> {
            (0..height).map(|y| (0..width).map(|x| of(y, x)).collect()).collect()
        };
        let mut grey = image.to_vec();
        for _ in 0..2 {
            grey = every(&|y, x| {
                let mut sum = 8;
                for (dy, a) in [(-1, 1), (0, 2), (1, 1)] {
                    for (dx, b) in [(-1, 1), (0, 2), (1, 1)] {
                        sum += a * b * at(&grey, inner(y + dy, height), inner(x + dx, width));
                    }
                }
                sum / 16
            });
        }
        let stands_out = |sign: f32| {
            let sums = every(&|y, x| {
                let one_scale = |half: i64| {
                    let (mut sum, mut count) = (0, 0);
                    for row in (y - half + 1).max(0)..(y + half + 1).min(height) {
                        for column in (x - half + 1).max(0)..(x + half + 1).min(width) {
                            (sum, count) = (sum + at(&grey, row, column), count + 1);
                        }
                    }
                    let own = at(&grey, y, x);
                    let mean = (sum - own) as f32 / (count - 1).max(1) as f32;
                    (sign * (own as f32 - mean)).max(0.0) as i64
                };
                SCALES.into_iter().map(one_scale).sum()
            });
            let most = sums.iter().flatten().copied().max().unwrap().max(1);
            every(&|y, x| (255.0 * at(&sums, y, x) as f32 / most as f32) as i64)
        };
        let (light, dark) = (stands_out(1.0), stands_out(-1.0));
        every(&|y, x| at(&light, y, x) + at(&dark, y, x))
    }

    #[test]
    fn the_map_is_that_of_its_definition() {
        // Wider than the smallest window, narrower, and of a single row, column or pixel.
        for [height, width] in [[30, 41], [9, 26], [2, 3], [1, 7], [7, 1], [1, 1]] {
            let grey = ((wild(&[2, 1, height, width], 0.7, Kind::Float) + 1.0) * 127.0).floor();
            let found = fine_grained(&grey).unwrap();
            for i in 0..2 {
                let rows = |t: &Tensor| Vec::<Vec<i64>>::try_from(t.to_kind(Kind::Int64)).unwrap();
                assert_eq!(rows(&found.get(i)), slowly(&rows(&grey.get(i).get(0))), "{height}x{width}");
            }
        }
    }

    #[test]
    fn a_spot_is_the_peak_and_a_flat_image_has_none() {
        for (spot, ground) in [(255.0, 20.0), (0.0, 230.0)] {
            let image = Tensor::full([1, 3, 32, 48], ground, (Kind::Float, Device::Cpu));
            let _ = image.narrow(2, 19, 3).narrow(3, 30, 3).fill_(spot);
            let (row, column) = peaks(&fine_grained(&image).unwrap()).unwrap();
            assert_eq!((row.int64_value(&[0]), column.int64_value(&[0])), (20, 31));
        }
        let flat = fine_grained(&Tensor::full([1, 3, 8, 8], 77.0, (Kind::Float, Device::Cpu))).unwrap();
        assert_eq!(flat.abs().max().double_value(&[]), 0.0);
    }

    #[test]
    fn bytes_of_floats_make_a_map_without_a_nan_for_images_of_any_size_and_colour() {
        for shape in [[2, 3, 9, 26], [1, 3, 1, 7], [1, 3, 7, 1], [1, 3, 1, 1], [2, 1, 30, 41], [1, 4, 5, 6]] {
            for scale in [0.0, 1e-3, 1.0, 3.0] {
                let map = float_bytes(&(wild(&shape, 0.3, Kind::Float) * scale)).unwrap();
                assert_eq!(map.size(), [shape[0], shape[2], shape[3]]);
                let whole = map.trunc().eq_tensor(&map).logical_and(&map.ge(0.0)).logical_and(&map.le(255.0));
                assert_eq!(whole.all().int64_value(&[]), 1, "{shape:?} times {scale}");
            }
        }
        // Of half precision as of the same numbers in float32.
        let images = wild(&[2, 3, 9, 12], 0.3, Kind::BFloat16);
        assert!(float_bytes(&images).unwrap().equal(&float_bytes(&images.to_kind(Kind::Float)).unwrap()));
        let map = float_bytes(&images).unwrap();
        assert!(map.max().double_value(&[]) > 0.0);
    }
}
