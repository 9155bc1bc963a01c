//! SaliencyMix: a rectangle around the most striking pixel of the partner pasted in place, labels credited by area.
//!
//! Source  Uddin et al., ICLR 2021, arXiv:2006.01791: the peak of a saliency map of the partner, the box around it at the
//!         corresponding place, the label by area. The map is fine-grained saliency (Montabone and Soto, Image and
//!         Vision Computing 28(3), 2010), rounded as OpenCV's is.
//! Input   images `[N, C, H, W]`, float, normalised.
//! Output  images, same shape and kind; mask `[N, 1, H, W]` of zeros and ones; the label is credited with the share of
//!         pixels that stay the own image's.
//! Plan    `lambda` as drawn; `half_rows`, `half_columns`: half the sides of the box.
//! Errors  a plan without these; `mean` or `std` for another number of colours. Never changes its input.
//!
//! Maps, peak and box are tensors on the device: nothing waits for them. The authors' code hands normalised floats to a
//! routine for 8-bit images, which then reads single bytes of the floats: its peaks have little to do with the image.
//! Here the images are brought back to 8 bits before, unless `map` asks for that slip by name.

use admix_api::mixer;
use admix_api::prelude::*;

use super::cutmix::inside;
use super::or_data;

/// Whose map places the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Scope {
    /// That of the first sample's partner, one place for the whole batch, as in the authors' code.
    #[default]
    First,
    /// That of each sample's own partner, as the paper describes it.
    Each,
}

/// Which map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Map {
    /// Fine-grained saliency of the images, brought back to 8 bits.
    #[default]
    FineGrained,
    /// What the authors' code makes of normalised floats: a hash of the image rather than its saliency, with peaks near
    /// the top. For comparison with numbers that may have been published with it.
    FloatBytes,
}

/// Recipe: `SaliencyMix(alpha: 1.0)`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SaliencyMix {
    /// Whose map places the box.
    pub scope: Scope,
    /// Which map.
    pub map: Map,
    /// Mean that each colour was normalised by, of values in [0, 1]; a single one serves all colours. `None`: the data's.
    pub mean: Option<Vec<f64>>,
    /// Standard deviation, above 0, in the same way.
    pub std: Option<Vec<f64>>,
}

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

impl SaliencyMix {
    /// The plan with half the sides of its boxes, which take a `1 - lambda` share of an image.
    ///
    /// # Errors
    /// A plan without lambda.
    pub fn sided(plan: Plan, batch: usize, (height, width): (i64, i64)) -> Result<Plan> {
        let each = plan.is_per_sample();
        let lambdas = plan.lambdas(if each { batch } else { 1 })?;
        let half = |length: i64| {
            let half = |lambda: &f64| (length as f64 * (1.0 - lambda).max(0.0).sqrt()) as i64 / 2;
            match each {
                true => Value::Ints(lambdas.iter().map(half).collect()),
                false => Value::Int(half(&lambdas[0])),
            }
        };
        let (rows, columns) = (half(height), half(width));
        Ok(plan.with("half_rows", rows).with("half_columns", columns))
    }

    /// The mix with boxes around these rows and columns: 0-dim or `[N]` int64.
    ///
    /// # Errors
    /// A plan without partners or sides.
    pub fn paste(input: &MixInput<'_>, plan: &Planned, (row, column): (&Tensor, &Tensor)) -> Result<Mixed> {
        let (n, _, height, width) = input.nchw()?;
        let partner = plan.partner()?;
        let span = |centre: &Tensor, half: &str, length: i64| -> Result<(Tensor, Tensor)> {
            let half = plan.get(half)?;
            let (first, end) = (centre.f_subtract(&half)?, centre.f_add(&half)?);
            Ok((first.f_clamp(0, length)?, end.f_clamp(0, length)?))
        };
        let ((r1, r2), (c1, c2)) = (span(row, "half_rows", height)?, span(column, "half_columns", width)?);
        let area = r2.f_subtract(&r1)?.f_multiply(&c2.f_subtract(&c1)?)?.f_to_kind(Kind::Float)?;
        let credit = area.f_div_scalar((height * width) as f64)?.f_neg()?.f_add_scalar(1.0)?;
        let over = |bound: &Tensor| over_images(bound, Kind::Int64);
        let pasted = inside(&[over(&r1)?, over(&r2)?, over(&c1)?, over(&c2)?], (height, width))?;
        // The same place in both images.
        let images = input.partners(&partner)?.f_where_self(&pasted, input.images)?;
        let mask = pasted.f_logical_not()?.f_to_kind(Kind::Float)?.f_expand([n, 1, height, width], false)?;
        Ok(Mixed::pair(images, partner, credit).masked(mask))
    }

    /// Images as they were before they were normalised: whole numbers in [0, 255], float32.
    fn pixels(&self, images: &Tensor) -> Result<Tensor> {
        let colours = images.size()[1] as usize;
        let each = |list: &Option<Vec<f64>>, otherwise: f64, name: &str| match list.as_deref() {
            None => Ok(vec![otherwise; colours]),
            Some([one]) => Ok(vec![*one; colours]),
            Some(list) if list.len() == colours => Ok(list.to_vec()),
            Some(list) => Err(Error::Shape {
                what: format!("`{name}` of SaliencyMix for images of {colours} colours"),
                got: vec![list.len() as i64],
                wanted: "one number for each colour, or one for all".into(),
            }),
        };
        // Where nothing is known, images are not normalised.
        let (mean, std) = (each(&self.mean, 0.0, "mean")?, each(&self.std, 1.0, "std")?);
        let mut all = Vec::with_capacity(colours);
        for (colour, (mean, std)) in (0i64..).zip(mean.into_iter().zip(std)) {
            let one = images.f_select(1, colour)?.f_to_kind(Kind::Float)?;
            let level = one.f_mul_scalar(255.0 * std)?.f_add_scalar(255.0 * mean)?;
            all.push(level.f_round()?.f_clamp(0.0, 255.0)?);
        }
        Ok(Tensor::f_stack(&all, 1)?)
    }
}

impl Mixer for SaliencyMix {
    fn plan(&self, ask: &Ask, draws: &mut Draws) -> Result<Plan> {
        Self::sided(Plan::draw(ask, draws)?, ask.batch, (ask.height, ask.width))
    }

    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        let partner = plan.partner()?;
        let shown = match self.scope {
            Scope::First => partner.f_narrow(0, 0, 1)?,
            Scope::Each => partner,
        };
        let shown = input.partners(&shown)?;
        let map = match self.map {
            Map::FineGrained => fine_grained(&self.pixels(&shown)?)?,
            Map::FloatBytes => float_bytes(&shown)?,
        };
        let (mut row, mut column) = peaks(&map)?;
        if self.scope == Scope::First {
            (row, column) = (row.f_squeeze_dim(0)?, column.f_squeeze_dim(0)?);
        }
        Ok(Self::paste(input, plan, (&row, &column))?.with(Mixed::SALIENCY, map))
    }
}

impl MixerConfig for SaliencyMix {
    fn validate(&self) -> Result<()> {
        let refused = |what: &str, got: &[f64], wanted: &str| {
            Err(Error::Range { what: what.into(), got: format!("{got:?}"), wanted: wanted.into() })
        };
        match (self.mean.as_deref(), self.std.as_deref()) {
            (Some(mean), _) if mean.is_empty() || !mean.iter().all(|one| one.is_finite()) => {
                refused("mean", mean, "finite numbers, one or one for each colour")
            }
            (_, Some(std)) if std.is_empty() || !std.iter().all(|one| one.is_finite() && *one > 0.0) => {
                refused("std", std, "numbers above 0, one or one for each colour")
            }
            _ => Ok(()),
        }
    }

    fn build(&self, _path: &Path, context: &MixerContext) -> Result<Box<dyn Mixer>> {
        self.validate()?;
        let (mean, std) = (or_data(&self.mean, &context.mean), or_data(&self.std, &context.std));
        Ok(Box::new(Self { mean, std, ..self.clone() }))
    }
}

mixer! {
    SaliencyMix, "saliencymix", "paste the rectangle around the partner's most striking pixel, credit labels by area",
    source: "Uddin et al., ICLR 2021, arXiv:2006.01791", pairing: Pairing::alpha(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use admix_api::contract::wild;
    use admix_api::{Store, Streams};

    const MEAN: [f64; 3] = [0.4914, 0.4822, 0.4465];
    const STD: [f64; 3] = [0.2023, 0.1994, 0.2010];

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

    /// Two grey images, each with a light spot at its own place, normalised. The dark spot below, equal to all, is what
    /// darkness is measured by: without it, the ground beside the light spot would stand out as much as the spot.
    fn spotted(places: [(i64, i64); 2]) -> Tensor {
        let pixels = Tensor::full([2, 3, 24, 24], 0.3, (Kind::Float, Device::Cpu));
        for (i, (row, column)) in (0i64..).zip(places) {
            let _ = pixels.get(i).narrow(1, row - 1, 3).narrow(2, column - 1, 3).fill_(0.9);
        }
        let _ = pixels.narrow(2, 20, 3).narrow(3, 20, 3).fill_(0.0);
        let each = |list: &[f64]| Tensor::from_slice(list).to_kind(Kind::Float).reshape([1, 3, 1, 1]);
        (pixels - each(&MEAN)) / each(&STD)
    }

    #[test]
    fn the_box_is_around_the_partners_peak_one_for_all_or_one_for_each() {
        let images = spotted([(6, 16), (15, 5)]);
        // lambda 0.75: sides trunc(24 * 0.5) = 12, half of them 6.
        let plan = SaliencyMix::sided(Plan::given(0.75, &[1, 0]), 2, (24, 24)).unwrap();
        let plan = plan.on(Device::Cpu).unwrap();
        let mask = |scope| {
            let data = MixerContext { mean: MEAN.to_vec(), std: STD.to_vec(), ..MixerContext::default() };
            let store = Store::new(Device::Cpu, Streams::new(0));
            let config = SaliencyMix { scope, ..Default::default() };
            let mut mixer = config.build(&store.root(), &data).unwrap();
            let mixed = mixer.mix(&MixInput::of(&images), &plan).unwrap();
            (mixed.mask.unwrap(), mixed.credit.shares().unwrap().1)
        };
        let box_of = |rows: (i64, i64), columns: (i64, i64)| {
            let mask = Tensor::ones([1, 24, 24], (Kind::Float, Device::Cpu));
            let _ = mask
                .narrow(1, rows.0, rows.1 - rows.0)
                .narrow(2, columns.0, columns.1 - columns.0)
                .fill_(0.0);
            mask
        };
        // Around (15, 5) and (6, 16): the first is clipped on the left.
        let (of_first, of_second) = (box_of((9, 21), (0, 11)), box_of((0, 12), (10, 22)));
        let (found, shares) = mask(Scope::First);
        assert!(found.get(0).equal(&of_first) && found.get(1).equal(&of_first));
        let kept = 1.0 - 132.0 / 576.0;
        assert!((shares.select(1, 0) - kept).abs().max().double_value(&[]) < 1e-6);
        let (found, shares) = mask(Scope::Each);
        assert!(found.get(0).equal(&of_first) && found.get(1).equal(&of_second));
        let wanted = Tensor::from_slice(&[kept, 0.75]);
        assert!((shares.select(1, 0) - wanted).abs().max().double_value(&[]) < 1e-6);
    }

    #[test]
    fn images_are_brought_back_to_8_bits() {
        let eight = ((wild(&[2, 3, 5, 5], 0.1, Kind::Float) + 1.0) * 127.5).floor();
        let (mean, std) = ([0.5, 0.4, 0.3], [0.2, 0.25, 0.3]);
        let of = |mean: &[f64], std: &[f64]| SaliencyMix {
            mean: Some(mean.to_vec()),
            std: Some(std.to_vec()),
            ..Default::default()
        };
        let each = |list: &[f64]| Tensor::from_slice(list).to_kind(Kind::Float).reshape([1, 3, 1, 1]);
        let normalised = (&eight / 255.0 - each(&mean)) / each(&std);
        assert!(of(&mean, &std).pixels(&normalised).unwrap().equal(&eight));
        let message = of(&mean, &std).pixels(&normalised.narrow(1, 0, 2)).unwrap_err().to_string();
        assert!(message.contains("mean") && message.contains("2 colours"), "{message}");
        assert!(of(&[0.5], &[0.25]).pixels(&((&eight / 255.0 - 0.5) / 0.25)).unwrap().equal(&eight));
        // Of data of which nothing is known.
        assert!(SaliencyMix::default().pixels(&(&eight / 255.0)).unwrap().equal(&eight));
    }

    #[test]
    fn a_setting_wins_over_what_is_known_of_the_data() {
        let store = Store::new(Device::Cpu, Streams::new(0));
        let data = MixerContext { mean: MEAN.to_vec(), std: STD.to_vec(), ..MixerContext::default() };
        let images = spotted([(6, 16), (15, 5)]);
        let plan =
            SaliencyMix::sided(Plan::given(0.75, &[1, 0]), 2, (24, 24)).unwrap().on(Device::Cpu).unwrap();
        let mask = |config: SaliencyMix, data: &MixerContext| {
            let mut mixer = config.build(&store.root(), data).unwrap();
            mixer.mix(&MixInput::of(&images), &plan).unwrap().mask.unwrap()
        };
        let own = SaliencyMix { mean: Some(MEAN.to_vec()), std: Some(STD.to_vec()), ..Default::default() };
        // By other numbers all spots are white: the box is elsewhere.
        let bright = MixerContext { mean: vec![2.0], std: vec![0.2], ..MixerContext::default() };
        let wanted = mask(SaliencyMix::default(), &data);
        assert!(mask(own.clone(), &bright).equal(&wanted));
        assert!(!mask(SaliencyMix::default(), &bright).equal(&wanted));
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

    #[test]
    fn normalisations_out_of_range_are_refused_by_name() {
        for (config, name) in [
            (SaliencyMix { mean: Some(vec![f64::NAN]), ..Default::default() }, "mean is [NaN]"),
            (SaliencyMix { mean: Some(vec![]), ..Default::default() }, "mean is []"),
            (SaliencyMix { std: Some(vec![0.2, 0.0, 0.2]), ..Default::default() }, "std is [0.2, 0.0, 0.2]"),
        ] {
            assert!(config.validate().unwrap_err().to_string().contains(name), "{config:?}");
        }
    }
}
