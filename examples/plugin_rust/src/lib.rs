//! SmoothMix: the partner shines through a soft round spot, labels by the area of the mask.
//!
//! Source  Lee et al., CVPR Workshops 2020, SmoothMix (the circular mask): G = exp(-d^2 / (2 sigma^2)), d the distance to
//!         a uniform centre; x' = G x + (1 - G) `x[partner]`; lambda = mean of G. sigma is drawn anew for each mix, from
//!         [0.25, 0.5] of the side. `Spread::Learned` is our addition: one sigma for all, trained with the network.
//! Input   images `[N, C, H, W]`, float.
//! Output  images, same shape and kind; the mask `[N, 1, H, W]` in (0, 1]; the label is credited with its mean.
//! Errors  a plan without `partner`, `centre_y`, `centre_x` or `sigma`.

use admix_api::mixer;
use admix_api::prelude::*;

/// Where the width of the spot comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Spread {
    /// Uniform in [0.25, 0.5] of the side, drawn for each mix.
    #[default]
    Drawn,
    /// A trained parameter, kept in [0.1, 1] of the side.
    Learned,
}

/// Recipe: `SmoothMix(spread: Learned)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SmoothMix {
    /// Where the width of the spot comes from.
    pub spread: Spread,
    /// The learned width at the beginning, as a share of the shorter side, in [0.1, 1].
    pub start: f64,
}

impl Default for SmoothMix {
    fn default() -> Self {
        Self { spread: Spread::Drawn, start: 0.35 }
    }
}

const NARROWEST: f64 = 0.1;
const WIDEST: f64 = 1.0;

impl MixerConfig for SmoothMix {
    fn validate(&self) -> Result<()> {
        if (NARROWEST..=WIDEST).contains(&self.start) {
            return Ok(());
        }
        Err(Error::Range {
            what: "start".into(),
            got: self.start.to_string(),
            wanted: format!("a share of the side, from {NARROWEST} to {WIDEST}"),
        })
    }

    fn build(&self, path: &Path, _context: &MixerContext) -> Result<Box<dyn Mixer>> {
        let learned = match self.spread {
            Spread::Drawn => None,
            Spread::Learned => {
                tracing::debug!(start = self.start, "one width for all, trained");
                let hints = Hints { weight_decay: false };
                Some(path.parameter("sigma", &[1], Init::Constant(self.start), hints)?)
            }
        };
        Ok(Box::new(Spot { learned }))
    }
}

/// The mixer, built.
#[derive(Debug)]
struct Spot {
    /// The trained width `[1]`, as a share of the side.
    learned: Option<Tensor>,
}

impl Mixer for Spot {
    /// Adds the centre and the drawn width, as shares of the side: one for a batch, or one for each sample.
    fn plan(&self, ask: &Ask, draws: &mut Draws) -> Result<Plan> {
        let mut plan = Plan::draw(ask, draws)?;
        let per_sample = plan.is_per_sample();
        for (name, from, to) in [("centre_y", 0.0, 1.0), ("centre_x", 0.0, 1.0), ("sigma", 0.25, 0.5)] {
            let mut one = || from + (to - from) * draws.uniform();
            let value = if per_sample {
                Value::Floats((0..ask.batch).map(|_| one()).collect())
            } else {
                Value::Float(one())
            };
            plan = plan.with(name, value);
        }
        Ok(plan)
    }

    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        let (n, _, height, width) = input.nchw()?;
        let device = input.images.device();
        let share = |name: &str| over_images(&plan.get(name)?, Kind::Float);
        let sigma = match &self.learned {
            Some(learned) => {
                let learned = learned.f_reshape([1, 1, 1, 1])?;
                if input.quiet { learned.f_detach()? } else { learned }
            }
            None => share("sigma")?,
        };
        // Pixels are at the middle of their squares.
        let axis = |size: i64, shape: [i64; 4]| -> Result<Tensor> {
            let steps = Tensor::f_arange(size, (Kind::Float, device))?;
            Ok(steps.f_add_scalar(0.5)?.f_reshape(shape)?)
        };
        let down =
            axis(height, [1, 1, height, 1])?.f_sub(&share("centre_y")?.f_mul_scalar(height as f64)?)?;
        let across = axis(width, [1, 1, 1, width])?.f_sub(&share("centre_x")?.f_mul_scalar(width as f64)?)?;
        let squared = down.f_square()?.f_add(&across.f_square()?)?;
        let wide = sigma.f_mul_scalar(height.min(width) as f64)?.f_square()?.f_mul_scalar(2.0)?;
        let mask = squared.f_div(&wide)?.f_neg()?.f_exp()?.f_expand([n, 1, height, width], false)?;

        let partner = plan.partner()?;
        let theirs = input.partners(&partner)?;
        let images = theirs.f_lerp_tensor(input.images, &mask.f_to_kind(input.images.kind())?)?;
        // The label is what is seen, not what is trained.
        let lambda = mask.f_detach()?.f_mean_dim([1i64, 2, 3].as_slice(), false, Kind::Float)?;
        Ok(Mixed::pair(images, partner, lambda).masked(mask))
    }

    fn after_step(&mut self) -> Result<()> {
        if let Some(learned) = &mut self.learned {
            let _ = learned.f_clamp_(NARROWEST, WIDEST)?;
        }
        Ok(())
    }
}

mixer! {
    SmoothMix, "smooth_mix", "a soft round spot of the own image, the partner around it",
    source: "Lee et al., CVPR Workshops 2020, SmoothMix", pairing: Pairing::alpha(1.0)
}

admix_api::export_plugins! { SmoothMix }
