//! What is done to the mask of an image that trains the encoder only: its mean is moved to lambda, and masks too close to
//! one source become plain MixUp. No gradient passes here.
//!
//! The rule is the authors' code with the image's own lambda: m0 > lambda on average: m0 lambda / mu; below: the complement
//! likewise. The paper's printed rule (section 3.2) makes the mean mu^2 / lambda, further from lambda.

use admix_api::prelude::*;

use admix_api::ranges::within;

/// What happens to pairs of one pseudo label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum SameCluster {
    /// Nothing.
    #[default]
    Keep,
    /// Their mask is the constant lambda, always (the authors' "auto_label"). Needs pseudo labels.
    Blend,
}

/// Settings of adjusting.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Adjust {
    /// How often the mean is moved, in [0, 1]; one coin for the batch.
    pub probability: f64,
    /// Samples whose mean is within this distance of lambda are left alone, in [0, 1].
    pub margin: f64,
    /// Where lambda or 1 - lambda is at most this, the mask is the constant lambda, in [0, 0.5]; 0 is never.
    pub lam_margin: f64,
    /// What happens to pairs of one pseudo label.
    pub same_cluster: SameCluster,
}

impl Adjust {
    /// Checks the ranges.
    ///
    /// # Errors
    /// A value out of range.
    pub fn validate(&self) -> Result<()> {
        within("adjust", self.probability, 0.0, 1.0)?;
        within("adjust_margin", self.margin, 0.0, 1.0)?;
        within("lam_margin", self.lam_margin, 0.0, 0.5)
    }

    /// The plan with the coin, if there is anything to toss for.
    pub(super) fn plan(&self, plan: Plan, draws: &mut Draws) -> Plan {
        if self.tosses() {
            let heads = draws.coin(self.probability);
            plan.with("adjust", Value::Float(f64::from(u8::from(heads))))
        } else {
            plan
        }
    }

    pub(super) fn tosses(&self) -> bool {
        self.probability > 0.0 && self.probability < 1.0
    }

    /// The adjusted mask. `mask [N, 1, H, W]` is the own image's; `lambda` 0-dim or `[N, 1, 1, 1]`; `coin` 0-dim, 1 where
    /// this batch is adjusted (none: it is, unless the probability is 0); `same [N]` bool, the pairs of one pseudo label.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn apply(
        &self,
        mask: &Tensor,
        lambda: &Tensor,
        coin: Option<&Tensor>,
        same: Option<&Tensor>,
    ) -> Result<Tensor> {
        let lambda = lambda.f_to_kind(mask.kind())?;
        let mut out = mask.shallow_clone();
        if self.probability > 0.0 {
            let mean = mask.f_mean_dim([1, 2, 3].as_slice(), true, None)?.f_clamp(1e-8, 1.0 - 1e-8)?;
            let rest = |t: &Tensor| -> Result<Tensor> { Ok(t.f_neg()?.f_add_scalar(1.0)?) };
            // Both cases are `shift + scale m0`: scale the own mask, or scale its complement.
            let above = mean.f_ge_tensor(&lambda)?;
            let complement = rest(&lambda)?.f_div(&rest(&mean)?)?;
            let mut scale = lambda.f_div(&mean)?.f_where_self(&above, &complement)?;
            let mut moved = mean.f_sub(&lambda)?.f_abs()?.f_gt(self.margin)?;
            if let Some(coin) = coin {
                moved = moved.f_logical_and(&coin.f_gt(0.5)?)?;
            }
            scale = scale.f_where_self(&moved, &scale.f_ones_like()?)?;
            let shift = rest(&scale)?.f_mul(&above.f_logical_not()?.f_to_kind(mask.kind())?)?;
            out = shift.f_addcmul(mask, &scale)?;
        }
        let mut flat = same.map(|same| same.f_reshape([-1, 1, 1, 1])).transpose()?;
        if self.lam_margin > 0.0 {
            let distance = lambda.f_minimum(&lambda.f_neg()?.f_add_scalar(1.0)?)?;
            let edge = distance.f_le(self.lam_margin)?;
            flat = Some(match flat {
                Some(same) => same.f_logical_or(&edge)?,
                None => edge,
            });
        }
        Ok(match flat {
            Some(flat) => lambda.f_where_self(&flat, &out)?,
            None => out,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(mask: &Tensor) -> Vec<f64> {
        Vec::try_from(mask.mean_dim([1i64, 2, 3].as_slice(), false, Kind::Double)).unwrap()
    }

    fn mask() -> Tensor {
        // Means 0.5, 0.2, 0 and 1.
        Tensor::from_slice(&[0f32, 1.0, 0.1, 0.3, 0.0, 0.0, 1.0, 1.0]).reshape([4, 1, 1, 2])
    }

    #[test]
    fn the_mean_of_every_mask_becomes_lambda() {
        let always = Adjust { probability: 1.0, ..Adjust::default() };
        for lambda in [0.0f32, 0.2, 0.35, 0.5, 1.0] {
            let out = always.apply(&mask(), &Tensor::from(lambda), None, None).unwrap();
            assert!(mean(&out).iter().all(|m| (m - f64::from(lambda)).abs() < 1e-6), "{lambda}: {out}");
            assert!(
                out.min().double_value(&[]) >= 0.0 && out.max().double_value(&[]) <= 1.0,
                "{lambda}: {out}"
            );
        }
        let each = Tensor::from_slice(&[0.9f32, 0.1, 0.4, 0.7]).reshape([4, 1, 1, 1]);
        let out = always.apply(&mask(), &each, None, None).unwrap();
        assert!(mean(&out).iter().zip([0.9, 0.1, 0.4, 0.7]).all(|(m, l)| (m - l).abs() < 1e-6), "{out}");
    }

    #[test]
    fn only_the_larger_side_shrinks() {
        let always = Adjust { probability: 1.0, ..Adjust::default() };
        let out = always.apply(&mask(), &Tensor::from(0.25f32), None, None).unwrap();
        // Mean 0.5 above 0.25: halved. Mean 0.2 below: 1 - (1 - m) 0.75 / 0.8.
        let wanted = [0.0, 0.5, 1.0 - 0.9 * 0.9375, 1.0 - 0.7 * 0.9375];
        for (i, wanted) in wanted.into_iter().enumerate() {
            assert!((out.reshape([-1]).double_value(&[i as i64]) - wanted).abs() < 1e-6, "{out}");
        }
    }

    #[test]
    fn tails_a_small_gap_and_probability_zero_change_nothing() {
        let often = Adjust { probability: 0.5, ..Adjust::default() };
        let lambda = Tensor::from(0.3f32);
        let tails = often.apply(&mask(), &lambda, Some(&Tensor::from(0f32)), None).unwrap();
        assert!(tails.equal(&mask()));
        assert!(!often.apply(&mask(), &lambda, Some(&Tensor::from(1f32)), None).unwrap().equal(&mask()));
        assert!(Adjust::default().apply(&mask(), &lambda, None, None).unwrap().equal(&mask()));
        let lenient = Adjust { probability: 1.0, margin: 0.15, ..Adjust::default() };
        let out = lenient.apply(&mask(), &lambda, None, None).unwrap();
        assert!(out.get(1).equal(&mask().get(1)) && !out.get(0).equal(&mask().get(0)));
    }

    #[test]
    fn near_one_source_and_within_a_cluster_the_mask_is_lambda() {
        let edge = Adjust { lam_margin: 0.08, ..Adjust::default() };
        let lambda = Tensor::from_slice(&[0.08f32, 0.5, 0.93, 0.09]).reshape([4, 1, 1, 1]);
        let out = edge.apply(&mask(), &lambda, None, None).unwrap();
        for (sample, flat) in [(0, true), (1, false), (2, true), (3, false)] {
            let wanted = if flat { lambda.get(sample).expand([1, 1, 2], false) } else { mask().get(sample) };
            assert!(out.get(sample).equal(&wanted), "sample {sample}: {out}");
        }
        let same = Tensor::from_slice(&[false, true, false, false]);
        let out = Adjust::default().apply(&mask(), &Tensor::from(0.4f32), None, Some(&same)).unwrap();
        assert!(out.get(1).equal(&Tensor::full([1, 1, 2], 0.4f64, (Kind::Float, Device::Cpu))));
        assert!(out.get(0).equal(&mask().get(0)));
    }
}
