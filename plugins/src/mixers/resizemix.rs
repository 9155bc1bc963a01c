//! ResizeMix: the whole partner, made smaller, pasted as a rectangle; labels credited by the visible area.
//!
//! Source  Qin et al., 2020, arXiv:2012.11101: the share `tau` of each side is uniform in [0.1, 0.8], the paste, the
//!         label by area. Rounding, clipping and the nearest pixels are those of the authors' code.
//! Input   images `[N, C, H, W]`, float.
//! Output  images, same shape and kind; mask `[N, 1, H, W]` of zeros and ones; the extra `placed` `[N, C, H, W]`, the
//!         partners as they lie in the mix; the label is credited with the share of pixels that stay the own image's.
//! Plan    `lambda` = 1 - tau^2, the share that a box inside the image leaves; `r1`, `r2`, `c1`, `c2` the box after
//!         clipping (rows, then columns, half open), `credit` the share that it leaves.
//! Errors  a plan without a box; a scope out of order. Never changes its input.
//!
//! The box has `tau` of each side, not `sqrt(1 - lambda)`. At a border it is clipped, and the partner is squeezed into
//! what is left: it is always seen whole. An empty box leaves the own image.

use admix_api::mixer;
use admix_api::prelude::*;

use super::cutmix::{BoxRule, CutBox, CutMix, inside};
use admix_api::ranges::within;

/// How the share of a side is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum SideShare {
    /// Uniform in the scope, as in the paper; `alpha` plays no part.
    #[default]
    Uniform,
    /// Beta(alpha, alpha), and once more, uniform, where that is outside the scope: OpenMixup's `use_alpha`.
    Beta,
}

/// How the partner is made smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Resizing {
    /// The pixel at `floor(place * length / new length)`.
    #[default]
    Nearest,
    /// Between the two nearest rows and columns, pixel centres at halves, without smoothing before.
    Bilinear,
}

admix_api::settings! {
    /// Recipe: `ResizeMix(tau: Uniform)`.
    pub struct ResizeMix {
        /// How the share of a side is drawn.
        pub tau: SideShare = SideShare::default(),
        /// Smallest share of a side, in [0, 1].
        pub least: f64 = 0.1,
        /// Largest share of a side, in [0, 1], at least `least`.
        pub most: f64 = 0.8,
        /// How the partner is made smaller.
        pub resizing: Resizing = Resizing::default(),
    }
}

impl ResizeMix {
    /// The box of a share `tau` of each side around a centre `(row, column)` of whole numbers, clipped to the image.
    pub fn boxed(size: (i64, i64), tau: f64, centre: (f64, f64)) -> CutBox {
        CutBox::of_side(BoxRule::Integer, size, tau, centre)
    }

    /// The share of a side. `drawn` ~ Beta(alpha, alpha).
    fn share(&self, drawn: f64, draws: &mut Draws) -> f64 {
        if self.tau == SideShare::Beta && (self.least..=self.most).contains(&drawn) {
            return drawn;
        }
        self.least + (self.most - self.least) * draws.uniform()
    }

    /// Images resized along one axis: `length` pixels of `images` (`[N, C, H, W]`, axis 2 or 3) end up between `first`
    /// and `end` (0-dim or `[N, 1, 1, 1]` int64). Outside, the border is repeated.
    fn resized(&self, images: &Tensor, axis: i64, first: &Tensor, end: &Tensor) -> Result<Tensor> {
        let size = images.size();
        let length = size[axis as usize];
        let shape = if axis == 2 { [1, 1, length, 1] } else { [1, 1, 1, length] };
        let place = Tensor::f_arange(length, (Kind::Int64, images.device()))?.f_reshape(shape)?;
        // Empty boxes are never seen; their length is 1 so that nothing is divided by 0.
        let new_length = end.f_subtract(first)?.f_clamp_min(1)?;
        let place = place.f_subtract(first)?.f_clamp_min(0)?.f_minimum(&new_length.f_subtract_scalar(1)?)?;
        // A gather wants an index for every pixel; expanding it copies nothing.
        let taken = |index: &Tensor| images.f_gather(axis, &index.f_expand(&size, false)?, false);
        if self.resizing == Resizing::Nearest {
            return Ok(taken(&place.f_mul_scalar(length)?.f_div_tensor_mode(&new_length, "floor")?)?);
        }
        let scale = new_length.f_full_like(length)?.f_div(&new_length)?;
        let source = place.f_to_kind(Kind::Float)?.f_add_scalar(0.5)?.f_multiply(&scale)?;
        let source = source.f_subtract_scalar(0.5)?.f_clamp(0.0, (length - 1) as f64)?;
        let before = source.f_floor()?;
        let weight = source.f_subtract(&before)?.f_to_kind(images.kind())?;
        let before = before.f_to_kind(Kind::Int64)?;
        let after = before.f_add_scalar(1)?.f_clamp_max(length - 1)?;
        Ok(taken(&before)?.f_lerp_tensor(&taken(&after)?, &weight)?)
    }
}

impl Mixer for ResizeMix {
    fn plan(&self, ask: &Ask, draws: &mut Draws) -> Result<Plan> {
        // Folding is about lambda, not about what is drawn here.
        let unfolded = Pairing { fold: false, ..ask.pairing.clone() };
        let plan = Plan::draw(&Ask { pairing: unfolded, ..ask.clone() }, draws)?;
        let per = if plan.is_per_sample() { Per::Sample } else { Per::Batch };
        let size = (ask.height, ask.width);
        let (mut lambdas, mut boxes) = (Vec::new(), Vec::new());
        for drawn in plan.lambdas(if per == Per::Sample { ask.batch } else { 1 })? {
            let tau = match ask.lambda {
                Some(given) => (1.0 - given).max(0.0).sqrt(),
                None => {
                    let tau = self.share(drawn, draws);
                    // max(lambda, 1 - lambda), of lambda = 1 - tau^2.
                    if ask.pairing.fold { tau.min((1.0 - tau * tau).sqrt()) } else { tau }
                }
            };
            let row = draws.below(ask.height as usize) as f64;
            let centre = (row, draws.below(ask.width as usize) as f64);
            boxes.push(Self::boxed(size, tau, centre));
            lambdas.push(ask.lambda.unwrap_or(1.0 - tau * tau));
        }
        let lambda = match per {
            Per::Batch => Value::Float(lambdas[0]),
            Per::Sample => Value::Floats(lambdas),
        };
        Ok(CutMix::boxed(plan.with("lambda", lambda), &boxes, per, size))
    }

    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        let (n, _, height, width) = input.nchw()?;
        let partner = plan.partner()?;
        let bound = |name| over_images(&plan.get(name)?, Kind::Int64);
        let bounds = [bound("r1")?, bound("r2")?, bound("c1")?, bound("c2")?];
        let [r1, r2, c1, c2] = &bounds;
        let rows = self.resized(&input.partners(&partner)?, 2, r1, r2)?;
        let placed = self.resized(&rows, 3, c1, c2)?;
        let pasted = inside(&bounds, (height, width))?;
        let images = placed.f_where_self(&pasted, input.images)?;
        let mask = pasted.f_logical_not()?.f_to_kind(Kind::Float)?.f_expand([n, 1, height, width], false)?;
        Ok(Mixed::pair(images, partner, plan.get("credit")?).masked(mask).placed(placed))
    }
}

impl MixerConfig for ResizeMix {
    fn validate(&self) -> Result<()> {
        within("least", self.least, 0.0, 1.0)?;
        within("most", self.most, self.least, 1.0)
    }

    fn build(&self, _path: &Path, _context: &MixerContext) -> Result<Box<dyn Mixer>> {
        Ok(Box::new(self.clone()))
    }
}

mixer! {
    ResizeMix, "resizemix", "paste the whole partner, made smaller, credit labels by area",
    source: "Qin et al., 2020, arXiv:2012.11101", pairing: Pairing::alpha(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use admix_api::Streams;

    fn plan(config: &ResizeMix, step: u64, change: impl Fn(&mut Ask)) -> Plan {
        let pairing = Pairing { per: Per::Sample, ..Pairing::alpha(0.3) };
        let mut ask =
            Ask { batch: 50, height: 40, width: 64, pairing, quiet: false, progress: 0.0, lambda: None };
        change(&mut ask);
        config.plan(&ask, &mut Streams::new(1).draws("mix", "t", 0, step)).unwrap()
    }

    fn taus(plan: &Plan) -> Vec<f64> {
        plan.lambdas(50).unwrap().iter().map(|lambda| (1.0 - lambda).sqrt()).collect()
    }

    #[test]
    fn the_share_of_a_side_keeps_to_its_scope_and_fills_it() {
        for tau in [SideShare::Uniform, SideShare::Beta] {
            let config = ResizeMix { tau, least: 0.2, most: 0.6, ..Default::default() };
            let all: Vec<f64> = (0..20).flat_map(|step| taus(&plan(&config, step, |_| {}))).collect();
            assert!(all.iter().all(|tau| (0.2 - 1e-12..=0.6 + 1e-12).contains(tau)), "{tau:?}");
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            // Beta(0.3, 0.3) is seldom in the scope, so both are about uniform: five standard errors are 0.018.
            assert!((mean - 0.4).abs() < 0.02, "{tau:?}: {mean}");
        }
    }

    #[test]
    fn a_beta_draw_in_the_scope_is_kept() {
        let config = ResizeMix { tau: SideShare::Beta, least: 0.0, most: 1.0, ..Default::default() };
        // Beta(0.3, 0.3) has variance 0.25 / 1.6 = 0.156, the uniform law 0.083.
        let all: Vec<f64> = (0..20).flat_map(|step| taus(&plan(&config, step, |_| {}))).collect();
        let variance = all.iter().map(|tau| (tau - 0.5).powi(2)).sum::<f64>() / all.len() as f64;
        assert!((variance - 0.156).abs() < 0.02, "{variance}");
    }

    #[test]
    fn folding_keeps_the_own_image_in_front_and_a_given_lambda_is_an_area() {
        let wide = ResizeMix { least: 0.75, most: 0.95, ..Default::default() };
        assert!(plan(&wide, 0, |_| {}).lambdas(50).unwrap().iter().any(|lambda| *lambda < 0.5));
        let folded = plan(&wide, 0, |ask| ask.pairing.fold = true);
        assert!(folded.lambdas(50).unwrap().iter().all(|lambda| *lambda >= 0.5));
        let given = plan(&wide, 0, |ask| ask.lambda = Some(0.36));
        assert_eq!(given.value("lambda").unwrap(), &Value::Float(0.36));
        let at = |name| match given.value(name).unwrap() {
            Value::Int(bound) => *bound,
            other => panic!("{other:?}"),
        };
        // A side of 0.8: 32 of 40 rows, 51 (even part 50) of 64 columns, less what the border takes.
        assert!(at("r2") - at("r1") <= 32 && at("c2") - at("c1") <= 50);
    }

    #[test]
    fn a_partner_is_seen_whole_and_nearest_pixels_are_those_of_the_formula() {
        // Rows 0..4 of 8 into 3: floor(0 * 8/3, 8/3, 16/3) = 0, 2, 5; columns 0..5 of 5 into 2: 0, 2.
        let images = Tensor::arange(80, (Kind::Float, Device::Cpu)).reshape([2, 1, 8, 5]);
        let boxes = [CutBox { r1: 1, r2: 4, c1: 2, c2: 4 }, CutBox { r1: 3, r2: 3, c1: 0, c2: 5 }];
        let plan = CutMix::boxed(Plan::given(0.5, &[1, 0]), &boxes, Per::Sample, (8, 5));
        let mixed = ResizeMix::default().mix(&MixInput::of(&images), &plan.on(Device::Cpu).unwrap()).unwrap();
        let pasted = mixed.images.get(0).get(0).narrow(0, 1, 3).narrow(1, 2, 2);
        let wanted = Tensor::from_slice(&[40f32, 42., 50., 52., 65., 67.]).reshape([3, 2]);
        assert!(pasted.equal(&wanted), "{pasted}");
        // The second box is empty: the own image, credited in full.
        assert!(mixed.images.get(1).equal(&images.get(1)));
        let (_, shares) = mixed.credit.shares().unwrap();
        assert!(shares.select(1, 0).equal(&Tensor::from_slice(&[1.0 - 6.0 / 40.0, 1.0f32])));
    }

    #[test]
    fn bilinear_resizing_is_libtorchs() {
        let images = admix_api::contract::wild(&[2, 3, 9, 7], 0.2, Kind::Float);
        let boxes = [CutBox { r1: 0, r2: 9, c1: 3, c2: 5 }, CutBox { r1: 2, r2: 7, c1: 0, c2: 3 }];
        let plan = CutMix::boxed(Plan::given(0.5, &[1, 0]), &boxes, Per::Sample, (9, 7));
        let mut mixer = ResizeMix { resizing: Resizing::Bilinear, ..Default::default() };
        let mixed = mixer.mix(&MixInput::of(&images), &plan.on(Device::Cpu).unwrap()).unwrap();
        for (i, b) in boxes.iter().enumerate() {
            let (rows, columns) = (b.r2 - b.r1, b.c2 - b.c1);
            let partner = images.narrow(0, 1 - i as i64, 1);
            let wanted = partner.upsample_bilinear2d([rows, columns], false, None, None);
            let found = mixed.images.narrow(0, i as i64, 1).narrow(2, b.r1, rows).narrow(3, b.c1, columns);
            let gap = (found - wanted).abs().max().double_value(&[]);
            assert!(gap < 2e-6, "{b:?}: {gap:.3e}");
        }
    }

    #[test]
    fn a_scope_out_of_order_is_refused_by_name() {
        let message =
            |least, most| ResizeMix { least, most, ..Default::default() }.validate().unwrap_err().to_string();
        assert!(message(-0.1, 0.8).contains("least"));
        assert!(message(0.5, 0.4).contains("most") && message(0.5, 1.1).contains("most"));
        assert!(ResizeMix { least: 0.0, most: 1.0, ..Default::default() }.validate().is_ok());
    }
}
