//! MixUp: a convex combination of two images, labels alike.
//!
//! Source  Zhang et al., ICLR 2018, arXiv:1710.09412 (Eq. 1): x' = lambda x + (1 - lambda) x[partner].
//! Input   images `[N, C, H, W]`, float.
//! Output  images, same shape and kind; the label is credited with lambda as drawn.
//! Errors  a plan without `lambda` or `partner`. Never changes its input.

use admix_api::mixer;
use admix_api::prelude::*;

admix_api::settings! {
    /// Recipe: `MixUp(alpha: 1.0)`. Has no settings of its own.
    pub struct MixUp {}
}

impl Mixer for MixUp {
    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        let partner = plan.partner()?;
        let lambda = plan.lambda_over_images(input.images.kind())?;
        let images = input.partners(&partner)?.f_lerp_tensor(input.images, &lambda)?;
        Ok(Mixed::pair(images, partner, plan.lambda()?))
    }
}

impl MixerConfig for MixUp {
    fn build(&self, _path: &Path, _context: &MixerContext) -> Result<Box<dyn Mixer>> {
        Ok(Box::new(self.clone()))
    }
}

mixer! {
    MixUp, "mixup", "blend two whole images, labels alike",
    source: "Zhang et al., ICLR 2018, arXiv:1710.09412, Eq. 1", pairing: Pairing::alpha(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pixel_is_lambda_of_its_own_and_the_rest_of_its_partners() {
        let images = Tensor::from_slice(&[0f32, 2.0, 4.0, 8.0]).reshape([2, 1, 1, 2]);
        let plan = Plan::given(0.25, &[1, 0]).on(Device::Cpu).unwrap();
        let mixed = MixUp {}.mix(&MixInput::of(&images), &plan).unwrap();
        // 0.25 * 0 + 0.75 * 4 = 3; 0.25 * 2 + 0.75 * 8 = 6.5; 0.25 * 4 = 1; 0.25 * 8 + 0.75 * 2 = 3.5
        let wanted = Tensor::from_slice(&[3f32, 6.5, 1.0, 3.5]).reshape([2, 1, 1, 2]);
        assert!(mixed.images.equal(&wanted), "{}", mixed.images);
        let (sources, shares) = mixed.credit.shares().unwrap();
        assert!(sources.equal(&Tensor::from_slice(&[0i64, 1, 1, 0]).reshape([2, 2])));
        assert!(shares.equal(&Tensor::from_slice(&[0.25f32, 0.75, 0.25, 0.75]).reshape([2, 2])));
    }

    #[test]
    fn each_sample_may_have_its_own_lambda() {
        let images = Tensor::from_slice(&[0f32, 8.0]).reshape([2, 1, 1, 1]);
        let plan = Plan::default()
            .with("lambda", Value::Floats(vec![1.0, 0.5]))
            .with("partner", Value::Ints(vec![1, 0]))
            .on(Device::Cpu)
            .unwrap();
        let mixed = MixUp {}.mix(&MixInput::of(&images), &plan).unwrap();
        assert!(mixed.images.equal(&Tensor::from_slice(&[0f32, 4.0]).reshape([2, 1, 1, 1])));
    }
}
