//! Stripes: in every stripe of rows the first share is the own image's, the rest its partner's.
//!
//! Source  an example; from no paper.
//! Input   images `[N, C, H, W]`, float.
//! Output  images, same shape and kind; mask `[N, 1, H, W]` of zeros and ones; the label is credited with the share of
//!         rows that stay the own image's.
//! Errors  a plan without `lambda` or `partner`. Never changes its input.

use admix_api::mixer;
use admix_api::prelude::*;
use admix_api::ranges::expect;

admix_api::settings! {
    /// Recipe: `Stripes(period: 4)`.
    pub struct Stripes {
        /// Rows from the start of one stripe to the start of the next, at least 1.
        pub period: i64 = 4,
    }
}

impl Mixer for Stripes {
    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        let (n, _, height, width) = input.nchw()?;
        let partner = plan.partner()?;
        let lambda = plan.lambda_over_images(Kind::Float)?; // one number, or [N, 1, 1, 1]
        // Where a row lies in its stripe, in [0, 1): `[1, 1, H, 1]`.
        let row =
            Tensor::f_arange(height, (Kind::Float, input.images.device()))?.f_reshape([1, 1, height, 1])?;
        let place = row.f_remainder(self.period)?.f_div_scalar(self.period as f64)?;
        let own = place.f_lt_tensor(&lambda)?;
        let images = input.images.f_where_self(&own, &input.partners(&partner)?)?;
        let mask = own.f_to_kind(Kind::Float)?.f_expand([n, 1, height, width], false)?;
        // Rows are whole, so credit what is seen, not the lambda that was drawn.
        let credit = mask.f_mean_dim([1i64, 2, 3].as_slice(), false, None)?;
        Ok(Mixed::pair(images, partner, credit).masked(mask))
    }
}

impl MixerConfig for Stripes {
    fn validate(&self) -> Result<()> {
        expect("period", self.period, self.period > 0, "at least 1")
    }

    fn build(&self, _path: &Path, _context: &MixerContext) -> Result<Box<dyn Mixer>> {
        Ok(Box::new(self.clone()))
    }
}

mixer! {
    Stripes, "stripes", "alternate stripes of the two images, credit labels by area",
    source: "an example", pairing: Pairing::alpha(1.0)
}
