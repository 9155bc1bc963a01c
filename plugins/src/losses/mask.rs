//! The mask loss of the Mix Block: the mean of the mask should be lambda, and the mask should not be flat.
//!
//! Formula  With mu_i and var_i the mean and variance of the own image's mask of sample i over its pixels, margin e and
//!          factor f (AMix paper, section 3.2, L_mean and L_var):
//!          `L1`         mean_i max(|lambda_i - mu_i| - e, 0)
//!          `L2`         mean_i max((lambda_i - mu_i)^2 - e^2, 0)
//!          `Sparsity`   mean_i max(mean over pixels of m (1 - m) - e, 0)
//!          `L1Variance` L1 - f mean_i var_i, `L2Variance` likewise.
//!          With `mean: Batch` (the authors' code) mu and var are taken over all pixels of the batch at once.
//!          The paper prints `+ L_var` while asking for sparsity; adding it drives masks to constants, so it is
//!          subtracted, as in the authors' code.
//! Source   AMix paper, section 3.2; the AutoMix paper for L1.
//! Input    a mix with a mask. Output: a scalar, possibly negative; the weight (beta = 0.1) belongs to the method.

use admix_api::loss;
use admix_api::prelude::*;

use super::targets::float32_or_better;
use admix_api::ranges::at_least;

/// Where the values that are not given come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum MaskPreset {
    /// Means of each sample, variance once.
    #[default]
    Default,
    /// The authors' code: means over the whole batch, variance twice.
    Code,
}

/// Which terms the loss has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MaskMode {
    /// Distance of the mean from lambda (AutoMix).
    L1,
    /// Squared distance of the mean from lambda.
    L2,
    /// Distance of the pixels from 0 and 1.
    Sparsity,
    /// `L1` less the variance (AMix).
    L1Variance,
    /// `L2` less the variance.
    L2Variance,
}

/// What means and variances run over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mean {
    /// The pixels of each sample (the paper).
    Sample,
    /// All pixels of the batch (the authors' code).
    Batch,
}

settings_with_preset! {
    /// Recipe: `Mask(mode: L1Variance)`.
    Mask as "Mask", preset MaskPreset {
        /// Which terms the loss has. AMix: L1Variance; AutoMix: L1.
        mode: MaskMode,
        /// What means and variances run over.
        mean: Mean,
        /// Weight of the variance, which is subtracted: 1; the authors' code has 2. Unitless; negative adds it.
        variance_factor: f64,
        /// How far the mean may be from lambda at no cost, in [0, 1] (paper: 0.1).
        margin: f64,
    }
}

impl Mask {
    /// The values of a preset.
    pub fn preset(preset: MaskPreset) -> Self {
        let (mean, variance_factor) = match preset {
            MaskPreset::Default => (Mean::Sample, 1.0),
            MaskPreset::Code => (Mean::Batch, 2.0),
        };
        Self { preset, mode: MaskMode::L1Variance, mean, variance_factor, margin: 0.1 }
    }
}

impl Loss for Mask {
    fn arguments(&self) -> Vec<Argument> {
        vec![Argument::Mix]
    }

    fn loss(&self, input: &LossInput) -> Result<Tensor> {
        let mask = float32_or_better(input.get("mask")?)?;
        let lambda = input.get("lambda")?;
        let over: &[i64] = match self.mean {
            Mean::Sample => &[1, 2, 3],
            Mean::Batch => &[0, 1, 2, 3],
        };
        if self.mode == MaskMode::Sparsity {
            let uncertain = mask.f_neg()?.f_add_scalar(1.0)?.f_mul(&mask)?.f_mean_dim(over, false, None)?;
            return Ok(uncertain.f_sub_scalar(self.margin)?.f_relu()?.f_mean(None)?);
        }
        let (variance, mean) = mask.f_var_mean_correction(over, 0, false)?;
        let lambda = match self.mean {
            Mean::Batch if lambda.dim() > 0 => lambda.f_mean(None)?,
            _ => lambda.shallow_clone(),
        };
        let gap = mean.f_sub(&lambda)?;
        let off = match self.mode {
            MaskMode::L2 | MaskMode::L2Variance => gap.f_square()?.f_sub_scalar(self.margin * self.margin)?,
            _ => gap.f_abs()?.f_sub_scalar(self.margin)?,
        };
        let off = off.f_relu()?;
        let each = match self.mode {
            MaskMode::L1Variance | MaskMode::L2Variance => {
                off.f_sub(&variance.f_mul_scalar(self.variance_factor)?)?
            }
            _ => off,
        };
        Ok(each.f_mean(None)?)
    }
}

impl LossConfig for Mask {
    fn validate(&self) -> Result<()> {
        at_least("margin", self.margin, 0.0)?;
        at_least("variance_factor", self.variance_factor, f64::MIN)
    }

    fn build(&self) -> Result<Box<dyn Loss>> {
        LossConfig::validate(self)?;
        Ok(Box::new(self.clone()))
    }
}

loss! {
    Mask, "mask", "the mean of a mix's mask should be lambda, and the mask not flat",
    source: "AMix paper, section 3.2, L_mean and L_var"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(loss: &Mask, mask: &Tensor, lambda: Tensor) -> f64 {
        let input = LossInput::default().with("mask", mask.shallow_clone()).with("lambda", lambda);
        loss.loss(&input).unwrap().double_value(&[])
    }

    /// Two samples of two pixels: means 0.5 and 0.2, variances 0.25 and 0.01.
    fn mask() -> Tensor {
        Tensor::from_slice(&[0f64, 1.0, 0.1, 0.3]).reshape([2, 1, 1, 2])
    }

    #[test]
    fn each_sample_has_its_own_mean_and_variance() {
        let of = |mode| Mask { mode, ..Mask::default() };
        let lambda = || Tensor::from(0.5f64);
        // |0.5 - 0.5| and |0.5 - 0.2| - 0.1 = 0.2; the mean is 0.1. Variance 0.13.
        assert!((value(&of(MaskMode::L1), &mask(), lambda()) - 0.1).abs() < 1e-12);
        assert!((value(&of(MaskMode::L1Variance), &mask(), lambda()) + 0.03).abs() < 1e-12);
        // 0.09 - 0.01 = 0.08; the mean is 0.04.
        assert!((value(&of(MaskMode::L2), &mask(), lambda()) - 0.04).abs() < 1e-12);
        assert!((value(&of(MaskMode::L2Variance), &mask(), lambda()) + 0.09).abs() < 1e-12);
        // m (1 - m): 0, 0 and 0.09, 0.21; means 0 and 0.15.
        assert!((value(&of(MaskMode::Sparsity), &mask(), lambda()) - 0.025).abs() < 1e-12);
    }

    #[test]
    fn each_sample_may_have_its_own_lambda() {
        let l1 = Mask { mode: MaskMode::L1, margin: 0.0, ..Mask::default() };
        let found = value(&l1, &mask(), Tensor::from_slice(&[0.4f64, 0.6]));
        assert!((found - (0.1 + 0.4) / 2.0).abs() < 1e-12);
        let code = Mask { mode: MaskMode::L1, margin: 0.0, ..Mask::preset(MaskPreset::Code) };
        // The batch mean 0.35 against the mean lambda 0.4, not against 0.2 and 0.6 in turn.
        assert!((value(&code, &mask(), Tensor::from_slice(&[0.2f64, 0.6])) - 0.05).abs() < 1e-12);
    }

    #[test]
    fn the_code_takes_one_mean_for_the_batch_and_the_variance_twice() {
        let code = Mask::preset(MaskPreset::Code);
        // mean 0.35; squares of -0.35, 0.65, -0.25, -0.05 have the mean 0.1525; |0.5 - 0.35| - 0.1 = 0.05
        assert!((value(&code, &mask(), Tensor::from(0.5f64)) - (0.05 - 2.0 * 0.1525)).abs() < 1e-12);
    }

    #[test]
    fn what_a_recipe_gives_wins_over_the_preset() {
        let given: Mask =
            serde_json::from_value(serde_json::json!({"preset": "Code", "margin": 0.2})).unwrap();
        assert_eq!(given, Mask { margin: 0.2, ..Mask::preset(MaskPreset::Code) });
        assert!(serde_json::from_value::<Mask>(serde_json::json!({"margn": 0.2})).is_err());
    }
}
