//! ManifoldMix: MixUp of the feature maps of a stage that is drawn for each batch, labels alike.
//!
//! Source  Verma et al., ICML 2019, arXiv:1806.05236 (section 2, Eq. 1): a layer k is drawn, f = g_k(x), and the rest of
//!         the network goes on from lambda f + (1 - lambda) f[partner]. Both halves carry gradient.
//! Input   images `[N, C, H, W]`, float.
//! Output  stage 0: mixed images, as MixUp. Else a hidden mix: the images as they are, and the mask `[1 or N, 1, 1, 1]` of
//!         lambda, by which the network's pass mixes the maps of the stage. The label is credited with lambda as drawn.
//! Plan    `lambda`, `partner`; the stage is the plan's `structure`, so that a captured step is only used for its own.
//! Errors  a plan without `lambda` or `partner`. Never changes its input.

use admix_api::mixer;
use admix_api::prelude::*;
use admix_api::ranges::expect;

use super::MixUp;

admix_api::settings! {
    /// Recipe: `ManifoldMix(alpha: 1.0, stages: [0, 1, 2])`.
    pub struct ManifoldMix {
        /// The stages that one is drawn from for every batch, each alike: 0 mixes the images, k the output of stage k of the
        /// network. The default is that of the authors' code.
        pub stages: Vec<usize> = vec![0, 1, 2],
    }
}

impl ManifoldMix {
    fn reads(&self) -> Needs {
        Needs { hidden: self.stages.iter().copied().max().filter(|deepest| *deepest > 0), ..Needs::images() }
    }
}

impl Mixer for ManifoldMix {
    fn needs(&self) -> Needs {
        self.reads()
    }

    fn plan(&self, ask: &Ask, draws: &mut Draws) -> Result<Plan> {
        let plan = Plan::draw(ask, draws)?;
        Ok(plan.structured(self.stages[draws.below(self.stages.len())] as u64))
    }

    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        let stage = plan.structure() as usize;
        if stage == 0 {
            return MixUp {}.mix(input, plan);
        }
        let lambda = plan.lambda()?;
        let share = lambda.f_reshape([-1i64, 1, 1, 1])?;
        Ok(Mixed::hidden(stage, input.images, share, plan.partner()?, lambda))
    }
}

impl MixerConfig for ManifoldMix {
    fn needs(&self) -> Needs {
        self.reads()
    }

    fn validate(&self) -> Result<()> {
        let wanted = "one stage or more: 0 (the images), or a stage of the network";
        expect("stages", "[]", !self.stages.is_empty(), wanted)
    }

    fn build(&self, _path: &Path, _context: &MixerContext) -> Result<Box<dyn Mixer>> {
        self.validate()?;
        Ok(Box::new(self.clone()))
    }
}

mixer! {
    ManifoldMix, "manifoldmix", "blend the feature maps of a drawn stage, or the images, labels alike",
    source: "Verma et al., ICML 2019, arXiv:1806.05236, Eq. 1", pairing: Pairing::alpha(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use admix_api::Streams;
    use admix_api::contract::wild;

    fn ask(per: Per) -> Ask {
        let pairing = Pairing { per, ..Pairing::default() };
        Ask { batch: 3, height: 4, width: 5, pairing, lambda: None, quiet: false, progress: 0.0 }
    }

    #[test]
    fn stages_are_drawn_alike_and_tell_plans_apart() {
        let mixer = ManifoldMix { stages: vec![0, 2, 3] };
        let mut counts = [0; 4];
        for step in 0..3000 {
            let plan = mixer.plan(&ask(Per::Batch), &mut Streams::new(5).draws("mix", "m", 0, step)).unwrap();
            counts[plan.structure as usize] += 1;
        }
        // 3000 draws of one in three: five standard errors are 129.
        assert_eq!(counts[1], 0);
        assert!(
            [0, 2, 3].into_iter().all(|stage: usize| (871..=1129).contains(&counts[stage])),
            "{counts:?}"
        );
    }

    #[test]
    fn a_hidden_mix_has_its_images_and_lambda_as_its_mask() {
        let images = wild(&[3, 2, 4, 5], 0.1, Kind::Float);
        for (lambda, wanted) in
            [(Value::Float(0.25), vec![0.25f32]), (Value::Floats(vec![0.25, 0.5, 1.0]), vec![0.25, 0.5, 1.0])]
        {
            let plan = Plan::given(0.0, &[2, 0, 1]).with("lambda", lambda).structured(2);
            let mixed =
                ManifoldMix::default().mix(&MixInput::of(&images), &plan.on(Device::Cpu).unwrap()).unwrap();
            assert_eq!(mixed.hidden, Some(Hidden { stage: 2 }));
            assert!(mixed.images.equal(&images));
            assert!(mixed.mask.unwrap().equal(&Tensor::from_slice(&wanted).reshape([-1, 1, 1, 1])));
        }
        // At stage 0 it is MixUp.
        let plan = Plan::given(0.25, &[2, 0, 1]).on(Device::Cpu).unwrap();
        let mixed = ManifoldMix::default().mix(&MixInput::of(&images), &plan).unwrap();
        let wanted = MixUp {}.mix(&MixInput::of(&images), &plan).unwrap();
        assert!(mixed.hidden.is_none() && mixed.mask.is_none() && mixed.images.equal(&wanted.images));
    }

    #[test]
    fn what_it_needs_is_the_deepest_stage_and_no_stage_is_refused() {
        for (stages, deepest) in [(vec![0, 1, 2], Some(2)), (vec![3, 1], Some(3)), (vec![0], None)] {
            assert_eq!(MixerConfig::needs(&ManifoldMix { stages }).hidden, deepest);
        }
        let message = ManifoldMix { stages: vec![] }.validate().unwrap_err().to_string();
        assert!(message.contains("stages is [], expected one stage or more"), "{message}");
    }
}
