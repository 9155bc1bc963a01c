//! FMix: a mask cut out of a smooth random field, so that a lambda share of its pixels is the own image's.
//!
//! Source  Harris et al., 2020, arXiv:2002.12047: low-frequency fields out of Fourier space, and the masks cut out of
//!         them. `Spectrum::Reference`, `max_soft` and the rounding are those of the authors' code.
//! Input   images `[N, C, H, W]`, float.
//! Output  images, same shape and kind: `mask * own + (1 - mask) * partner`; mask `[N, 1, H, W]` in [0, 1], of zeros and
//!         ones where `max_soft` is 0; the label is credited with lambda as drawn, which is less than one pixel from the
//!         mean of the mask.
//! Plan    `lambda`; `key` of the random field; `full` and `end`: of the pixels in descending order of the field, those
//!         before `full` are the own image's, those from `end` on the partner's, and those between go over in a ramp.
//! Errors  a plan without one of these; a setting out of range. Never changes its input.

use std::f64::consts::TAU;

use admix_api::mixer;
use admix_api::prelude::*;

use admix_api::ranges::within;

/// Where the random numbers of a field stand in its spectrum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Spectrum {
    /// As the authors' code indexes it, and the benchmark after it: two columns of the spectrum alone are not zero. Masks
    /// vary slowly along a row. For the numbers of published tables.
    #[default]
    Reference,
    /// As the paper describes it: every frequency, alike in all directions.
    Isotropic,
}

admix_api::settings! {
    /// Recipe: `FMix(alpha: 1.0)`.
    pub struct FMix {
        /// Where the random numbers of a field stand in its spectrum.
        pub spectrum: Spectrum = Spectrum::default(),
        /// Power by which amplitudes fall with the frequency, in [0, 10]. Larger is smoother.
        pub decay: f64 = 3.0,
        /// Share of the pixels, on each side of the edge, that go over in a ramp, in [0, 0.5]. At most lambda and 1 - lambda.
        pub max_soft: f64 = 0.0,
    }
}

/// How many of `pixels` are 1 for sure, and from which on they are 0, in descending order of the field.
///
/// `coin` in [0, 1) decides whether a broken number of pixels is rounded up (above 0.5) or down. `full <= end <= pixels`:
/// the authors' code fails where a ramp would end behind the last pixel; here it is cut off.
pub fn cut_at(lambda: f64, coin: f64, max_soft: f64, pixels: i64) -> (i64, i64) {
    let count = pixels as f64;
    let own = if coin > 0.5 { (lambda * count).ceil() } else { (lambda * count).floor() } as i64;
    let soft = (count * max_soft.min(lambda).min(1.0 - lambda)) as i64;
    ((own - soft).clamp(0, pixels), (own + soft).clamp(0, pixels))
}

impl Spectrum {
    /// The shape of the standard normal numbers for so many fields of this height and width. The last axis is the
    /// real and imaginary part, but for `Reference`: there axis 1 is, and the last the column of the spectrum.
    pub fn noise_shape(self, fields: i64, (height, width): (i64, i64)) -> [i64; 4] {
        match self {
            // One more entry for an odd width, as in the authors' code.
            Self::Reference => [fields, 2, (width / 2 + 1 + width % 2).min(width), 2],
            Self::Isotropic => [fields, height, width / 2 + 1, 2],
        }
    }

    /// Smooth fields `[M, H, W]` out of standard normal numbers of [`Spectrum::noise_shape`], in their kind.
    ///
    /// The amplitude of a frequency f is max(f, 1 / max(H, W))^(-decay). Fields are not brought to [0, 1]: only their
    /// order counts.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn fields(self, noise: &Tensor, (height, width): (i64, i64), decay: f64) -> Result<Tensor> {
        let kind = noise.kind();
        let least = 1.0 / height.max(width) as f64;
        let amplitude = |squares: &Tensor| -> Result<Tensor> {
            Ok(squares.f_sqrt()?.f_clamp_min(least)?.f_pow_tensor_scalar(-decay)?)
        };
        // The size of each sample frequency, in cycles per pixel, squared.
        let squares = |count: i64, length: i64| -> Result<Tensor> {
            let up = Tensor::f_arange(count, (kind, noise.device()))?;
            let down = up.f_neg()?.f_add_scalar(length as f64)?;
            Ok(up.f_minimum(&down)?.f_div_scalar(length as f64)?.f_square()?)
        };
        let across = squares(noise.size()[2], width)?;
        let (real, imaginary) = match self {
            Self::Reference => {
                // Frequencies of a row in the place of those of a column; of the rows of the noise, the first two.
                let next = across.f_add_scalar((1.0 / height as f64).powi(2))?;
                let [first, next] = [amplitude(&across)?.f_unsqueeze(1)?, amplitude(&next)?.f_unsqueeze(1)?];
                (noise.f_select(1, 0)?.f_multiply(&first)?, noise.f_select(1, 1)?.f_multiply(&next)?)
            }
            Self::Isotropic => {
                let both = squares(height, height)?.f_unsqueeze(1)?.f_add(&across)?;
                let scale = amplitude(&both)?;
                (noise.f_select(3, 0)?.f_multiply(&scale)?, noise.f_select(3, 1)?.f_multiply(&scale)?)
            }
        };
        // Filled up with zeros, or cut off, to H rows and W / 2 + 1 columns.
        let spectrum = Tensor::f_complex(&real, &imaginary)?;
        Ok(spectrum.f_fft_irfft2([height, width].as_slice(), [-2i64, -1], "backward")?)
    }
}

/// Standard normal numbers of a key and nothing else (Box and Muller, 1958), float32.
fn normal_field(key: &Tensor, shape: [i64; 4]) -> Result<Tensor> {
    let uniform = uniform_field(key, &[&[2], &shape[..]].concat())?;
    // In (0, 1]: the logarithm is finite.
    let length = uniform.f_select(0, 0)?.f_neg()?.f_add_scalar(1.0)?.f_log()?.f_mul_scalar(-2.0)?.f_sqrt()?;
    Ok(length.f_multiply(&uniform.f_select(0, 1)?.f_mul_scalar(TAU)?.f_cos()?)?)
}

/// Masks `[M, 1, H, W]`, float32, of fields `[M, H, W]`. `full` and `end`: see [`cut_at`]; 0-dim or `[M]` int64.
///
/// # Errors
/// libtorch refused.
pub fn cut(fields: &Tensor, full: &Tensor, end: &Tensor) -> Result<Tensor> {
    let (count, height, width) = fields.size3()?;
    let order = fields.f_reshape([count, -1])?.f_argsort_stable(true, 1, true)?;
    let place = Tensor::f_arange(height * width, (Kind::Int64, fields.device()))?.f_expand_as(&order)?;
    // The place of each pixel in the order: with it, every mask takes the same operations, whatever lambda is.
    let rank = order.f_zeros_like()?.f_scatter(1, &order, &place)?.f_reshape([count, 1, height, width])?;
    let (full, end) = (over_images(full, Kind::Int64)?, over_images(end, Kind::Int64)?);
    // The ramp has its first pixel at 1 and its last at 0.
    let steps = end.f_subtract(&full)?.f_subtract_scalar(1)?.f_clamp_min(1)?;
    let down = rank.f_subtract(&full)?.f_to_kind(Kind::Float)?.f_div(&steps)?;
    let ramp = down.f_neg()?.f_add_scalar(1.0)?.f_clamp(0.0, 1.0)?;
    Ok(ramp.f_multiply(&rank.f_lt_tensor(&end)?.f_to_kind(Kind::Float)?)?)
}

impl FMix {
    /// The mix by a mask `[1 or N, 1, H, W]`, float32: the label is credited with lambda as planned.
    ///
    /// # Errors
    /// A plan without `lambda` or `partner`.
    pub fn masked(input: &MixInput<'_>, plan: &Planned, mask: &Tensor) -> Result<Mixed> {
        let (n, _, height, width) = input.nchw()?;
        let partner = plan.partner()?;
        let weight = mask.f_to_kind(input.images.kind())?;
        let images = input.partners(&partner)?.f_lerp_tensor(input.images, &weight)?;
        let mask = mask.f_expand([n, 1, height, width], false)?;
        Ok(Mixed::pair(images, partner, plan.lambda()?).masked(mask))
    }
}

impl Mixer for FMix {
    fn plan(&self, ask: &Ask, draws: &mut Draws) -> Result<Plan> {
        let plan = Plan::draw(ask, draws)?;
        let each = plan.is_per_sample();
        let cuts = plan.lambdas(if each { ask.batch } else { 1 })?;
        let cuts: Vec<_> = cuts
            .into_iter()
            .map(|lambda| cut_at(lambda, draws.uniform(), self.max_soft, ask.height * ask.width))
            .collect();
        let whole = |of: fn(&(i64, i64)) -> i64| match each {
            true => Value::Ints(cuts.iter().map(of).collect()),
            false => Value::Int(of(&cuts[0])),
        };
        let (full, end) = (whole(|cut| cut.0), whole(|cut| cut.1));
        Ok(plan.with("full", full).with("end", end).with("key", Value::Int(draws.field_key())))
    }

    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        let (n, _, height, width) = input.nchw()?;
        let masks = if plan.lambda()?.dim() == 0 { 1 } else { n };
        let noise = normal_field(&plan.get("key")?, self.spectrum.noise_shape(masks, (height, width)))?;
        let fields = self.spectrum.fields(&noise, (height, width), self.decay)?;
        let mask = cut(&fields, &plan.get("full")?, &plan.get("end")?)?;
        Self::masked(input, plan, &mask)
    }
}

impl MixerConfig for FMix {
    fn validate(&self) -> Result<()> {
        within("decay", self.decay, 0.0, 10.0)?;
        within("max_soft", self.max_soft, 0.0, 0.5)
    }

    fn build(&self, _path: &Path, _context: &MixerContext) -> Result<Box<dyn Mixer>> {
        Ok(Box::new(self.clone()))
    }
}

mixer! {
    FMix, "fmix", "a mask cut out of a smooth random field",
    source: "Harris et al., 2020, arXiv:2002.12047", pairing: Pairing::alpha(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(key: i64, shape: [i64; 4]) -> Tensor {
        normal_field(&Tensor::from(key), shape).unwrap()
    }

    fn mean(tensor: &Tensor) -> f64 {
        tensor.to_kind(Kind::Double).mean(None).double_value(&[])
    }

    #[test]
    fn the_noise_is_standard_normal_and_its_entries_are_unrelated() {
        let all = noise(3, [64, 32, 17, 2]).to_kind(Kind::Double);
        // 69632 numbers, five standard errors: 5 / 264 of the mean, times sqrt 2 and sqrt 96 of the other moments.
        assert!(mean(&all).abs() < 0.019, "{}", mean(&all));
        assert!((mean(&all.square()) - 1.0).abs() < 0.027);
        assert!((mean(&all.pow_tensor_scalar(4)) - 3.0).abs() < 0.19);
        for axis in 0..4 {
            let length = all.size()[axis as usize];
            let [a, b] = [all.narrow(axis, 0, length - 1), all.narrow(axis, 1, length - 1)];
            assert!(mean(&(a * b)).abs() < 0.03, "axis {axis}");
        }
    }

    #[test]
    fn a_cut_is_rounded_by_the_coin_and_the_ramp_ends_with_the_image() {
        assert_eq!(cut_at(0.41, 0.9, 0.0, 64), (27, 27));
        assert_eq!(cut_at(0.41, 0.5, 0.0, 64), (26, 26));
        // trunc(64 * 0.2) = 12.
        assert_eq!(cut_at(0.41, 0.1, 0.2, 64), (14, 38));
        // Only trunc(64 * 0.05) = 3 on each side of floor(60.8), whatever is allowed.
        assert_eq!(cut_at(0.95, 0.1, 0.3, 64), (57, 63));
        // ceil(4.95) + trunc(9 * 0.45) = 5 + 4 is the last of 9; ceil(5.4) + trunc(9 * 0.45) would be one too far.
        assert_eq!(cut_at(0.55, 0.9, 0.5, 9), (1, 9));
        for coin in [0.0, 0.9] {
            assert_eq!(cut_at(0.0, coin, 0.5, 9), (0, 0));
            assert_eq!(cut_at(1.0, coin, 0.5, 9), (9, 9));
        }
    }

    #[test]
    fn a_ramp_goes_down_in_equal_steps_in_the_order_of_the_field() {
        let fields = Tensor::from_slice(&[0.5f32, 3.0, -1.0, 2.0, 0.0, 9.0]).reshape([1, 2, 3]);
        let at = |full: i64, end: i64| {
            let mask = cut(&fields, &Tensor::from(full), &Tensor::from(end)).unwrap();
            Vec::<f32>::try_from(mask.reshape([-1])).unwrap()
        };
        // In order: 9, 3, 2, 0.5, 0, -1.
        assert_eq!(at(2, 2), [0., 1., 0., 0., 0., 1.]);
        assert_eq!(at(0, 0), [0.0; 6]);
        assert_eq!(at(6, 6), [1.0; 6]);
        assert_eq!(at(1, 3), [0., 1., 0., 0., 0., 1.]);
        assert_eq!(at(1, 6), [0.5, 1., 0., 0.75, 0.25, 1.]);
        assert_eq!(at(5, 6), [1., 1., 1., 1., 1., 1.]);
    }

    /// Mean squared amplitude at (row, column) frequencies of fields.
    fn power(fields: &Tensor) -> Tensor {
        fields.fft_rfft2(None::<&[i64]>, [-2i64, -1], "backward").abs().square().mean_dim(0, false, None)
    }

    #[test]
    fn an_isotropic_field_has_the_decay_asked_for_in_all_directions() {
        let size = (32, 32);
        let noise = noise(8, Spectrum::Isotropic.noise_shape(512, size));
        let power = power(&Spectrum::Isotropic.fields(&noise, size, 1.5).unwrap());
        // Away from columns 0 and 16, where a real field keeps half. f^-3: from 2 to 4 cycles an eighth.
        let at = |row: i64, column: i64| power.double_value(&[row, column]);
        for (row, column) in [(0, 1), (0, 2), (3, 4), (4, 3), (29, 4), (28, 3), (8, 6), (24, 6)] {
            let cycles = f64::hypot((row as f64).min(32.0 - row as f64), column as f64);
            let wanted = 2.0 * (cycles / 32.0).powi(-3);
            // The mean of 512 squares has a standard error of 4.4 percent.
            let found = at(row, column) / wanted;
            assert!((found - 1.0).abs() < 0.22, "({row}, {column}): {found}");
        }
    }

    #[test]
    fn a_reference_field_has_two_columns_of_its_spectrum() {
        let size = (16, 12);
        let noise = noise(8, Spectrum::Reference.noise_shape(4, size));
        let power = power(&Spectrum::Reference.fields(&noise, size, 3.0).unwrap());
        let largest = power.max().double_value(&[]);
        for column in 0..7 {
            let most = power.select(1, column).max().double_value(&[]) / largest;
            assert_eq!(most > 1e-6, column < 2, "column {column}: {most}");
        }
    }

    #[test]
    fn every_sample_has_a_mask_of_its_own_where_lambda_is() {
        let images = Tensor::zeros([4, 1, 16, 16], (Kind::Float, Device::Cpu));
        let mask = |lambda: Value, many: bool| {
            let cut = |pixels: i64| if many { Value::Ints(vec![pixels; 4]) } else { Value::Int(pixels) };
            let plan = Plan::given(0.5, &[1, 2, 3, 0]).with("lambda", lambda).with("key", Value::Int(5));
            let plan = plan.with("full", cut(128)).with("end", cut(128)).on(Device::Cpu).unwrap();
            FMix::default().mix(&MixInput::of(&images), &plan).unwrap().mask.unwrap()
        };
        let (one, each) = (mask(Value::Float(0.5), false), mask(Value::Floats(vec![0.5; 4]), true));
        for i in 1..4 {
            assert!(one.get(i).equal(&one.get(0)));
            assert!(!each.get(i).equal(&each.get(0)));
        }
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        for (config, name) in [
            (FMix { decay: -0.1, ..Default::default() }, "decay"),
            (FMix { decay: f64::NAN, ..Default::default() }, "decay"),
            (FMix { max_soft: 0.6, ..Default::default() }, "max_soft"),
        ] {
            assert!(config.validate().unwrap_err().to_string().contains(name), "{config:?}");
        }
    }
}
