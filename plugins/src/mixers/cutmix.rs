//! CutMix: a rectangle of the partner pasted in place, labels credited by the visible area.
//!
//! Source  Yun et al., ICCV 2019, arXiv:1905.04899 (Eq. 1 the mix, Eq. 2 the box).
//! Input   images `[N, C, H, W]`, float.
//! Output  images, same shape and kind; mask `[N, 1, H, W]` of zeros and ones; the label is credited with the
//!         share of pixels that stay the own image's.
//! Plan    `lambda` as drawn, `r1`, `r2`, `c1`, `c2` the box (rows, then columns, half open), `credit` the area.
//! Errors  a plan without a box. Never changes its input.

use admix_api::mixer;
use admix_api::prelude::*;
use admix_api::{duplicate, grad_enabled};

/// How the box is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum BoxRule {
    /// Whole-number centre and half sides, as in the original code: an odd side loses one pixel.
    #[default]
    Integer,
    /// Real centre and sides, each bound truncated, as in the repository of PuzzleMix.
    Real,
}

/// Recipe: `CutMix(alpha: 1.0)`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CutMix {
    /// How the box is placed.
    pub box_rule: BoxRule,
}

/// A half-open box of pixels: rows `r1..r2`, columns `c1..c2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutBox {
    /// First row.
    pub r1: i64,
    /// Row after the last.
    pub r2: i64,
    /// First column.
    pub c1: i64,
    /// Column after the last.
    pub c2: i64,
}

impl CutBox {
    /// The box that takes a `1 - lambda` share of an image around a centre `(row, column)`, clipped to the image
    /// (Eq. 2). The sides are in the image's own proportion.
    pub fn around(rule: BoxRule, (height, width): (i64, i64), lambda: f64, centre: (f64, f64)) -> Self {
        Self::of_side(rule, (height, width), (1.0 - lambda).max(0.0).sqrt(), centre)
    }

    /// The box with this share of each side of an image, around a centre `(row, column)`, clipped to the image.
    pub fn of_side(rule: BoxRule, (height, width): (i64, i64), side: f64, centre: (f64, f64)) -> Self {
        let (r1, r2) = span(rule, centre.0, side, height);
        let (c1, c2) = span(rule, centre.1, side, width);
        Self { r1, r2, c1, c2 }
    }

    /// The share of an image that stays outside the box.
    pub fn kept(&self, (height, width): (i64, i64)) -> f64 {
        let area = (self.r2 - self.r1) * (self.c2 - self.c1);
        1.0 - area as f64 / (height * width) as f64
    }
}

/// The part of a span of `share * length` pixels around `centre` that lies in `0..length`.
fn span(rule: BoxRule, centre: f64, share: f64, length: i64) -> (i64, i64) {
    let end = length as f64;
    let half = match rule {
        BoxRule::Integer => ((end * share) as i64 / 2) as f64,
        BoxRule::Real => end * share / 2.0,
    };
    ((centre - half).clamp(0.0, end) as i64, (centre + half).clamp(0.0, end) as i64)
}

/// The bounds of a plan's boxes, as [`inside`] takes them.
pub(super) fn bounds_of(plan: &Planned) -> Result<[Tensor; 4]> {
    let bound = |name| over_images(&plan.get(name)?, Kind::Int64);
    Ok([bound("r1")?, bound("r2")?, bound("c1")?, bound("c2")?])
}

/// Which pixels of an image lie in half-open boxes: `[1 or N, 1, H, W]` bool. The bounds are first row, row after the
/// last, first column, column after the last, int64 as [`over_images`] shapes them.
pub(super) fn inside(bounds: &[Tensor; 4], (height, width): (i64, i64)) -> Result<Tensor> {
    let [r1, r2, c1, c2] = bounds;
    let within = |length, shape: [i64; 4], first: &Tensor, end: &Tensor| -> Result<Tensor> {
        let index = Tensor::f_arange(length, (Kind::Int64, first.device()))?.f_reshape(shape)?;
        Ok(index.f_ge_tensor(first)?.f_logical_and(&index.f_lt_tensor(end)?)?)
    };
    let rows = within(height, [1, 1, height, 1], r1, r2)?;
    Ok(rows.f_logical_and(&within(width, [1, 1, 1, width], c1, c2)?)?)
}

/// The mix by one box for the batch as a copy of two parts of memory: where the host knows the box, that is a CPU, and
/// nothing is to have a graph. None elsewhere. The same bits as by a mask, in a third of the time.
fn copied(input: &MixInput<'_>, plan: &Planned, partner: &Tensor) -> Result<Option<Mixed>> {
    let (n, _, height, width) = input.nchw()?;
    let with_graph = grad_enabled()
        && [Some(input.images), input.partner_images].into_iter().flatten().any(Tensor::requires_grad);
    let r1 = plan.get("r1")?;
    if input.images.device() != Device::Cpu || r1.dim() != 0 || with_graph {
        return Ok(None);
    }
    let bound = |name| -> Result<i64> { Ok(i64::try_from(plan.get(name)?)?) };
    let (r1, r2, c1, c2) = (bound("r1")?, bound("r2")?, bound("c1")?, bound("c2")?);
    let within = |whole: &Tensor| -> Result<Tensor> {
        Ok(whole.f_narrow(2, r1, (r2 - r1).max(0))?.f_narrow(3, c1, (c2 - c1).max(0))?)
    };
    let _no_graph = no_grad();
    let images = duplicate(input.images)?;
    // Into its place at once: a batch of partners in memory of its own costs more than all the rest.
    let theirs = within(input.partner_images.unwrap_or(input.images))?;
    let _ = theirs.f_index_select_out(&within(&images)?, 0, partner)?;
    let mask = Tensor::f_ones([1, 1, height, width], (Kind::Float, Device::Cpu))?;
    let _ = within(&mask)?.f_fill_(0.0)?;
    let mask = mask.f_expand([n, 1, height, width], false)?;
    let partner = partner.shallow_clone();
    Ok(Some(Mixed::pair(images, partner, plan.get("credit")?).masked(mask)))
}

impl CutMix {
    /// A box for each lambda, around a uniform centre.
    pub(super) fn boxes(&self, lambdas: &[f64], size: (i64, i64), draws: &mut Draws) -> Vec<CutBox> {
        let boxed = |lambda: &f64| {
            let mut place = |length: i64| match self.box_rule {
                BoxRule::Integer => draws.below(length as usize) as f64,
                BoxRule::Real => draws.uniform() * length as f64,
            };
            let row = place(size.0);
            CutBox::around(self.box_rule, size, *lambda, (row, place(size.1)))
        };
        lambdas.iter().map(boxed).collect()
    }

    /// The plan with these boxes: one for the batch, or one for each sample.
    #[must_use]
    pub fn boxed(plan: Plan, boxes: &[CutBox], per: Per, size: (i64, i64)) -> Plan {
        let whole = |of: fn(&CutBox) -> i64| match (per, boxes) {
            (Per::Batch, [one]) => Value::Int(of(one)),
            _ => Value::Ints(boxes.iter().map(of).collect()),
        };
        let credit = match (per, boxes) {
            (Per::Batch, [one]) => Value::Float(one.kept(size)),
            _ => Value::Floats(boxes.iter().map(|b| b.kept(size)).collect()),
        };
        plan.with("r1", whole(|b| b.r1))
            .with("r2", whole(|b| b.r2))
            .with("c1", whole(|b| b.c1))
            .with("c2", whole(|b| b.c2))
            .with("credit", credit)
    }
}

impl Mixer for CutMix {
    fn plan(&self, ask: &Ask, draws: &mut Draws) -> Result<Plan> {
        let plan = Plan::draw(ask, draws)?;
        let size = (ask.height, ask.width);
        let lambdas = plan.lambdas(if plan.is_per_sample() { ask.batch } else { 1 })?;
        let boxes = self.boxes(&lambdas, size, draws);
        let per = if plan.is_per_sample() { Per::Sample } else { Per::Batch };
        Ok(Self::boxed(plan, &boxes, per, size))
    }

    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        let (n, _, height, width) = input.nchw()?;
        let partner = plan.partner()?;
        if let Some(mixed) = copied(input, plan, &partner)? {
            return Ok(mixed);
        }
        let bounds = bounds_of(plan)?;
        // Eq. 1, out of place: the step still needs the clean batch.
        let pasted = inside(&bounds, (height, width))?;
        let images = input.partners(&partner)?.f_where_self(&pasted, input.images)?;
        let mask = pasted.f_logical_not()?.f_to_kind(Kind::Float)?.f_expand([n, 1, height, width], false)?;
        // The border clips the box, so the label gets what is seen, not the lambda that was drawn.
        Ok(Mixed::pair(images, partner, plan.get("credit")?).masked(mask))
    }
}

impl MixerConfig for CutMix {
    fn build(&self, _path: &Path, _context: &MixerContext) -> Result<Box<dyn Mixer>> {
        Ok(Box::new(self.clone()))
    }
}

mixer! {
    CutMix, "cutmix", "paste a rectangle of the partner, credit labels by area",
    source: "Yun et al., ICCV 2019, arXiv:1905.04899, Eq. 1 and 2", pairing: Pairing::alpha(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_side_loses_a_pixel_and_the_border_clips() {
        // sqrt(1 - 0.64) = 0.6: sides trunc(8 * 0.6) = 4 and trunc(5 * 0.6) = 3, half sides 2 and 1.
        let found = CutBox::around(BoxRule::Integer, (8, 5), 0.64, (1.0, 2.0));
        assert_eq!(found, CutBox { r1: 0, r2: 3, c1: 1, c2: 3 });
        assert!((found.kept((8, 5)) - (1.0 - 6.0 / 40.0)).abs() < 1e-15);
        // Real rule: rows 1.5 -+ 2.4, columns 2.5 -+ 1.5.
        let found = CutBox::around(BoxRule::Real, (8, 5), 0.64, (1.5, 2.5));
        assert_eq!(found, CutBox { r1: 0, r2: 3, c1: 1, c2: 4 });
    }

    #[test]
    fn the_extremes_of_lambda_give_the_whole_image_of_one_source() {
        let size = (6, 4);
        assert_eq!(CutBox::around(BoxRule::Integer, size, 1.0, (3.0, 2.0)).kept(size), 1.0);
        assert_eq!(CutBox::around(BoxRule::Integer, size, 0.0, (3.0, 2.0)).kept(size), 0.0);
        assert_eq!(CutBox::around(BoxRule::Integer, size, 1.0 + 1e-16, (3.0, 2.0)).kept(size), 1.0);
    }

    #[test]
    fn pixels_in_the_box_are_the_partners_and_the_mask_says_so() {
        let images = Tensor::stack(
            &[
                Tensor::zeros([2, 3, 4], (Kind::Float, Device::Cpu)),
                Tensor::ones([2, 3, 4], (Kind::Float, Device::Cpu)),
            ],
            0,
        );
        let first = CutBox { r1: 0, r2: 2, c1: 1, c2: 4 };
        let boxes = [first, CutBox { r1: 1, r2: 1, c1: 0, c2: 4 }];
        let plan = CutMix::boxed(Plan::given(0.5, &[1, 0]), &boxes, Per::Sample, (3, 4));
        let mixed = CutMix::default().mix(&MixInput::of(&images), &plan.on(Device::Cpu).unwrap()).unwrap();
        let wanted = Tensor::from_slice(&[0f32, 1., 1., 1., 0., 1., 1., 1., 0., 0., 0., 0.]).reshape([3, 4]);
        assert!(mixed.images.get(0).get(0).equal(&wanted));
        assert!(mixed.images.get(1).equal(&images.get(1)));
        let mask = mixed.mask.unwrap();
        assert!(mask.get(0).get(0).equal(&(1.0 - wanted)));
        let (_, shares) = mixed.credit.shares().unwrap();
        assert!(shares.select(1, 0).equal(&Tensor::from_slice(&[0.5f32, 1.0])));
    }
}
