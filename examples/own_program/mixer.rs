//! Columns: the left columns are the own image's, the right ones its partner's.

use admix_api::prelude::*;

admix_api::settings! {
    /// Recipe: `Columns()`. Has no settings of its own.
    pub struct Columns {}
}

admix_api::mixer! {
    Columns, "columns", "the left part of one image beside the right part of another",
    source: "an example", pairing: Pairing::alpha(1.0)
}

impl MixerConfig for Columns {
    fn build(&self, _: &Path, _: &MixerContext) -> Result<Box<dyn Mixer>> {
        Ok(Box::new(self.clone()))
    }
}

impl Mixer for Columns {
    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        let (n, _, height, width) = input.nchw()?;
        let partner = plan.partner()?;
        let lambda = plan.lambda_over_images(Kind::Float)?; // 0-dim, or [N, 1, 1, 1]
        let column = Tensor::f_arange(width, (Kind::Float, input.images.device()))?;
        let own = column.f_div_scalar(width as f64)?.f_reshape([1, 1, 1, width])?.f_lt_tensor(&lambda)?;
        let images = input.images.f_where_self(&own, &input.partners(&partner)?)?;
        let mask = own.f_to_kind(Kind::Float)?.f_expand([n, 1, height, width], false)?;
        // Columns are whole: the label is credited with the share that is seen.
        let share = mask.f_mean_dim([1i64, 2, 3].as_slice(), false, None)?;
        Ok(Mixed::pair(images, partner, share).masked(mask))
    }
}
