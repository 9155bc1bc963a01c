//! @TYPE@: the top of the image is its own, the rest its partner's; labels by area.
//!
//! Source  say here where it comes from: paper, equation.
//! Input   images `[N, C, H, W]`, float.
//! Output  images, same shape and kind; the mask `[N, 1, H, W]`; the label is credited with the area seen.

use admix_api::mixer;
use admix_api::prelude::*;

admix_api::settings! {
    /// Recipe: `@TYPE@(alpha: 1.0, upside_down: true)`.
    pub struct @TYPE@ {
        /// Whether the own part is at the bottom instead.
        pub upside_down: bool = false,
    }
}

impl Mixer for @TYPE@ {
    // Lambda and partners are drawn by the host and arrive in the plan. A policy with more to choose (boxes, coins)
    // writes `plan` too.
    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        let (n, _, height, width) = input.nchw()?;
        let partner = plan.partner()?;

        // Row i is the own image's where (i + 1/2) / H < lambda. Tensor operations only: nothing is read back.
        let row = Tensor::f_arange(height, (Kind::Float, input.images.device()))?.f_reshape([1, 1, height, 1])?;
        let row = if self.upside_down { row.f_flip([2])? } else { row };
        let position = row.f_add_scalar(0.5)?.f_div_scalar(height as f64)?;
        let own = position.f_lt_tensor(&plan.lambda_over_images(Kind::Float)?)?;
        let own = own.f_expand([n, 1, height, width], false)?;

        let images = input.images.f_where_self(&own, &input.partners(&partner)?)?;
        let mask = own.f_to_kind(Kind::Float)?;
        let lambda = mask.f_mean_dim([1i64, 2, 3].as_slice(), false, Kind::Float)?;
        Ok(Mixed::pair(images, partner, lambda).masked(mask))
    }
}

impl MixerConfig for @TYPE@ {
    fn build(&self, _path: &Path, _context: &MixerContext) -> Result<Box<dyn Mixer>> {
        Ok(Box::new(self.clone()))
    }
}

mixer! {
    @TYPE@, "@NAME@", "the top of one image over the bottom of another",
    source: "paper, equation", pairing: Pairing::alpha(1.0)
}

admix_api::export_plugins! { @TYPE@ }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_rows_are_the_own_ones_and_the_label_follows() {
        let images = Tensor::from_slice(&[0f32, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]).reshape([2, 1, 4, 1]);
        let plan = Plan::given(0.7, &[1, 0]).on(Device::Cpu).expect("a plan");
        let mixed = @TYPE@::default().mix(&MixInput::of(&images), &plan).expect("a mix");
        // Rows at 1/8, 3/8 and 5/8 are below 0.7, the one at 7/8 is not.
        assert!(mixed.images.get(0).flatten(0, -1).equal(&Tensor::from_slice(&[0f32, 0.0, 0.0, 1.0])));
        let (_, shares) = mixed.credit.shares().expect("shares");
        assert!(shares.get(0).equal(&Tensor::from_slice(&[0.75f32, 0.25])));
    }
}
