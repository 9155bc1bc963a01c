//! Plain: images as they are, to be picked by `Choice` beside mixers.
//!
//! Source  the probability of mixing in timm (`mixup_prob`) and torchvision.
//! Input   images `[N, C, H, W]`, float.
//! Output  the same images; the label is the own one.
//! Errors  none of its own. Never changes its input.

use admix_api::mixer;
use admix_api::prelude::*;

admix_api::settings! {
    /// Recipe: `Plain()`. Has no settings of its own.
    pub struct Plain {}
}

impl Mixer for Plain {
    fn plan(&self, ask: &Ask, draws: &mut Draws) -> Result<Plan> {
        let whole = Ask { lambda: Some(1.0), ..ask.clone() };
        Plan::draw(&whole, draws)
    }

    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        let (n, _, height, width) = input.nchw()?;
        let mask = Tensor::f_ones([n, 1, height, width], (Kind::Float, input.images.device()))?;
        Ok(Mixed::pair(input.images.shallow_clone(), plan.partner()?, plan.lambda()?).masked(mask))
    }
}

impl MixerConfig for Plain {
    fn ignores(&self) -> &'static [&'static str] {
        &["alpha", "per", "fold"]
    }

    fn build(&self, _path: &Path, _context: &MixerContext) -> Result<Box<dyn Mixer>> {
        Ok(Box::new(self.clone()))
    }
}

mixer! {
    Plain, "plain", "images as they are, for a choice among mixers",
    source: "timm, mixup_prob", pairing: Pairing { partner: Partner::Derangement, ..Pairing::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_and_their_labels_stay() {
        let images = Tensor::from_slice(&[0f32, 2.0, 4.0, 8.0]).reshape([2, 1, 1, 2]);
        let plan = Plan::given(1.0, &[1, 0]).on(Device::Cpu).unwrap();
        let mixed = Plain {}.mix(&MixInput::of(&images), &plan).unwrap();
        assert!(mixed.images.equal(&images));
        let (_, shares) = mixed.credit.shares().unwrap();
        assert!(shares.equal(&Tensor::from_slice(&[1f32, 0.0, 1.0, 0.0]).reshape([2, 2])));
    }
}
