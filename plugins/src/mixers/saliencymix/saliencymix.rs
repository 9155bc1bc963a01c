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
use admix_api::ranges::expect;

use super::maps::{fine_grained, float_bytes, peaks};
use crate::mixers::cutmix::inside;
use crate::mixers::or_data;

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
            Some(list) => Err(Error::shape(
                format!("`{name}` of SaliencyMix for images of {colours} colours"),
                vec![list.len() as i64],
                "one number for each colour, or one for all",
            )),
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
        let check = |what: &str, list: &Option<Vec<f64>>, good: fn(f64) -> bool, wanted: &str| {
            let list = list.as_deref().unwrap_or(&[1.0]);
            let good = !list.is_empty() && list.iter().all(|one| one.is_finite() && good(*one));
            expect(what, format!("{list:?}"), good, wanted)
        };
        check("mean", &self.mean, |_| true, "finite numbers, one or one for each colour")?;
        check("std", &self.std, |one| one > 0.0, "numbers above 0, one or one for each colour")
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
