//! Inter-Intra: MixUp within a cluster, CutMix between clusters, decided for each pair by its pseudo labels.
//!
//! Source  AMix paper, section 3.1 (the row "MoCo.V2 (C) + Inter-Intra"): pairs of one cluster by MixUp with a large alpha,
//!         pairs of two by CutMix with a small one. No code of the authors is public and no alphas are printed: the defaults
//!         here are an assumption.
//! Input   images `[N, C, H, W]`, float; pseudo labels `[N]` int64.
//! Output  images, same shape and kind; mask `[N, 1, H, W]`: lambda everywhere where a pair is of one cluster, else the
//!         zeros and ones of a box; each sample is credited with the mean of its own mask.
//! Plan    `lambda` that of MixUp; `inter_lambda` that of CutMix, with its box `r1`, `r2`, `c1`, `c2` (rows, then columns,
//!         half open) and `credit` the area that the box leaves.
//! Errors  no pseudo labels, or of another shape; a plan without a box. Never changes its input.
//!
//! Where all samples have one label, as before the first clustering, it is MixUp.

use admix_api::mixer;
use admix_api::prelude::*;
use admix_api::ranges::expect;

use super::cutmix::{CutMix, bounds_of, inside};

admix_api::settings! {
    /// Recipe: `InterIntra(intra_alpha: 2.0, inter_alpha: 0.2)`. The host's `alpha` plays no part: there are two.
    pub struct InterIntra {
        /// lambda ~ Beta(alpha, alpha) of MixUp for a pair of one cluster; above 0. An assumption, as the paper prints none;
        /// 1, 2 and 4 are worth trying.
        pub intra_alpha: f64 = 2.0,
        /// lambda ~ Beta(alpha, alpha) of CutMix for a pair of two clusters; above 0. An assumption; 0.2, 0.5 and 1 are worth
        /// trying.
        pub inter_alpha: f64 = 0.2,
    }
}

impl Mixer for InterIntra {
    fn needs(&self) -> Needs {
        MixerConfig::needs(self)
    }

    fn plan(&self, ask: &Ask, draws: &mut Draws) -> Result<Plan> {
        let with = |alpha| Ask { pairing: Pairing { alpha, ..ask.pairing.clone() }, ..ask.clone() };
        let plan = Plan::draw(&with(self.intra_alpha), draws)?;
        // One pairing: of the second draw lambda alone counts.
        let alone = Pairing { alpha: self.inter_alpha, partner: Partner::Flip, ..ask.pairing.clone() };
        let inter = Plan::draw(&Ask { pairing: alone, ..ask.clone() }, draws)?;
        let plan = plan.with("inter_lambda", inter.value("lambda")?.clone());
        let per = if inter.is_per_sample() { Per::Sample } else { Per::Batch };
        let lambdas = inter.lambdas(if per == Per::Sample { ask.batch } else { 1 })?;
        let boxes = CutMix::default().boxes(&lambdas, (ask.height, ask.width), draws);
        Ok(CutMix::boxed(plan, &boxes, per, (ask.height, ask.width)))
    }

    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        let (n, _, height, width) = input.nchw()?;
        let pseudo = input
            .pseudo
            .ok_or_else(|| Error::missing("inter_intra", "pseudo", "pass `pseudo: labels` to the mix"))?;
        if pseudo.size() != [n] {
            return Err(Error::shape("the pseudo labels for inter_intra", pseudo.size(), format!("[{n}]")));
        }
        let partner = plan.partner()?;
        // t_i = [c_i == c_p(i)]
        let same = pseudo.f_eq_tensor(&pseudo.f_index_select(0, &partner)?)?;
        let kept = inside(&bounds_of(plan)?, (height, width))?.f_logical_not()?.f_to_kind(Kind::Float)?;
        let plane = plan.lambda_over_images(Kind::Float)?;
        let mask = plane.f_where_self(&same.f_reshape([-1, 1, 1, 1])?, &kept)?;
        let mask = mask.f_expand([n, 1, height, width], false)?;
        let lambda = plan.lambda()?.f_where_self(&same, &plan.get("credit")?)?;
        let weight = mask.f_to_kind(input.images.kind())?;
        let images = input.partners(&partner)?.f_lerp_tensor(input.images, &weight)?;
        Ok(Mixed::pair(images, partner, lambda).masked(mask))
    }
}

impl MixerConfig for InterIntra {
    fn needs(&self) -> Needs {
        Needs { pseudo: true, ..Needs::images() }
    }

    fn validate(&self) -> Result<()> {
        for (what, alpha) in [("intra_alpha", self.intra_alpha), ("inter_alpha", self.inter_alpha)] {
            let good = alpha > 0.0 && alpha.is_finite();
            expect(what, alpha, good, "a number above 0 (lambda ~ Beta(alpha, alpha))")?;
        }
        Ok(())
    }

    fn ignores(&self) -> &'static [&'static str] {
        &["alpha"]
    }

    fn build(&self, _path: &Path, _context: &MixerContext) -> Result<Box<dyn Mixer>> {
        Ok(Box::new(self.clone()))
    }
}

mixer! {
    InterIntra, "inter_intra", "MixUp within a cluster, CutMix between clusters",
    source: "AMix paper, section 3.1; its alphas are an assumption",
    pairing: Pairing { partner: Partner::Derangement, ..Pairing::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mixers::{CutBox, MixUp};
    use admix_api::Streams;
    use admix_api::contract::wild;

    fn mix(images: &Tensor, pseudo: &[i64], plan: &Plan) -> Mixed {
        let pseudo = Tensor::from_slice(pseudo);
        let input = MixInput { pseudo: Some(&pseudo), ..MixInput::of(images) };
        InterIntra::default().mix(&input, &plan.on(Device::Cpu).unwrap()).unwrap()
    }

    /// Three images of 0, 8 and 16, two rows of two pixels; the box is the first column.
    fn by_hand() -> (Tensor, Plan) {
        let images = Tensor::from_slice(&[0f32, 8.0, 16.0]).reshape([3, 1, 1, 1]).expand([3, 1, 2, 2], false);
        let boxes = [CutBox { r1: 0, r2: 2, c1: 0, c2: 1 }];
        let plan = CutMix::boxed(Plan::given(0.75, &[1, 2, 0]), &boxes, Per::Batch, (2, 2));
        (images.contiguous(), plan)
    }

    #[test]
    fn pairs_of_one_cluster_are_blended_and_the_others_are_pasted() {
        let (images, plan) = by_hand();
        // Of 0 and 1 one cluster: 0.75 * 0 + 0.25 * 8 = 2. The others: the first column is the partner's.
        let mixed = mix(&images, &[5, 5, 7], &plan);
        let wanted = [[2f32, 2.0, 2.0, 2.0], [16.0, 8.0, 16.0, 8.0], [0.0, 16.0, 0.0, 16.0]].concat();
        assert!(mixed.images.equal(&Tensor::from_slice(&wanted).reshape([3, 1, 2, 2])), "{}", mixed.images);
        let mask = [[0.75f32; 4], [0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0]].concat();
        assert!(mixed.mask.unwrap().equal(&Tensor::from_slice(&mask).reshape([3, 1, 2, 2])));
        let (sources, shares) = mixed.credit.shares().unwrap();
        assert!(shares.select(1, 0).equal(&Tensor::from_slice(&[0.75f32, 0.5, 0.5])), "{shares}");
        assert!(sources.select(1, 1).equal(&Tensor::from_slice(&[1i64, 2, 0])));
    }

    #[test]
    fn one_cluster_is_mixup_and_clusters_of_one_are_cutmix_bit_for_bit() {
        let images = wild(&[5, 3, 9, 6], 0.1, Kind::Float);
        for per in [Per::Batch, Per::Sample] {
            let pairing = Pairing { per, partner: Partner::Derangement, ..Pairing::default() };
            let ask =
                Ask { batch: 5, height: 9, width: 6, pairing, lambda: None, quiet: false, progress: 0.0 };
            for step in 0..6 {
                let mut draws = Streams::new(4).draws("mix", "t", 0, step);
                let plan = InterIntra::default().plan(&ask, &mut draws).unwrap();
                let slots = plan.on(Device::Cpu).unwrap();
                let whole = MixUp {}.mix(&MixInput::of(&images), &slots).unwrap();
                let pasted = CutMix::default().mix(&MixInput::of(&images), &slots).unwrap();
                for (pseudo, other) in [([2; 5], whole), ([0, 1, 2, 3, 4], pasted)] {
                    let mixed = mix(&images, &pseudo, &plan);
                    assert!(mixed.images.equal(&other.images), "{per:?}, step {step}, {pseudo:?}");
                    let shares = |mixed: &Mixed| mixed.credit.shares().unwrap().1;
                    assert!(shares(&mixed).equal(&shares(&other)), "{per:?}, step {step}, {pseudo:?}");
                }
            }
        }
    }

    #[test]
    fn each_lambda_is_drawn_with_its_own_alpha() {
        let config = InterIntra { intra_alpha: 4.0, inter_alpha: 0.2 };
        let pairing = Pairing { per: Per::Sample, ..Pairing::default() };
        let ask =
            Ask { batch: 4000, height: 8, width: 8, pairing, lambda: None, quiet: false, progress: 0.0 };
        let plan = config.plan(&ask, &mut Streams::new(1).draws("mix", "t", 0, 0)).unwrap();
        let variance = |name: &str| match plan.value(name).unwrap() {
            Value::Floats(all) => all.iter().map(|l| (l - 0.5).powi(2)).sum::<f64>() / all.len() as f64,
            other => panic!("{other:?}"),
        };
        // Beta(a, a) has the variance 1 / (4 (2 a + 1)): 0.0278 and 0.1786.
        assert!((variance("lambda") - 1.0 / 36.0).abs() < 0.003, "{}", variance("lambda"));
        assert!((variance("inter_lambda") - 1.0 / 5.6).abs() < 0.008, "{}", variance("inter_lambda"));
    }

    #[test]
    fn what_is_missing_or_out_of_range_is_named() {
        let (images, plan) = by_hand();
        let plan = plan.on(Device::Cpu).unwrap();
        let message = InterIntra::default().mix(&MixInput::of(&images), &plan).unwrap_err().to_string();
        assert!(message.contains("pseudo"), "{message}");
        let short = Tensor::from_slice(&[1i64, 2]);
        let input = MixInput { pseudo: Some(&short), ..MixInput::of(&images) };
        let message = InterIntra::default().mix(&input, &plan).unwrap_err().to_string();
        assert!(message.contains("pseudo labels") && message.contains("[3]"), "{message}");
        for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let wrong = InterIntra { inter_alpha: alpha, ..InterIntra::default() };
            assert!(wrong.validate().unwrap_err().to_string().contains("inter_alpha"));
            let wrong = InterIntra { intra_alpha: alpha, ..InterIntra::default() };
            assert!(wrong.validate().unwrap_err().to_string().contains("intra_alpha"));
        }
    }
}
