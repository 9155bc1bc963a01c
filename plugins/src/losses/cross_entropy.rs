//! Cross-entropy of logits against labels or against the target of a mix.
//!
//! Formula  mean over samples of sum_s share_s (-log softmax(logits)[label_s]); with smoothing e, each share is
//!          (1 - e) on its label and e / K on every class.
//! Source   Zhang et al., ICLR 2018 (the mix); Szegedy et al., CVPR 2016, section 7 (smoothing).
//! Input    `logits [N, K]`; the target. Output: a scalar. Finite for finite logits.

use admix_api::loss;
use admix_api::prelude::*;

use super::targets::{ClassWeight, Targets};
use admix_api::ranges::within;

/// Recipe: `CrossEntropy(smoothing: 0.1)`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CrossEntropy {
    /// Share of the target that is spread evenly over all classes, in [0, 1].
    pub smoothing: f64,
    /// Whether a third argument `class_weight` is taken, and what it does.
    pub class_weight: ClassWeight,
}

impl Loss for CrossEntropy {
    fn arguments(&self) -> Vec<Argument> {
        self.class_weight.arguments()
    }

    fn loss(&self, input: &LossInput) -> Result<Tensor> {
        let targets = Targets::of(input, self.class_weight)?;
        let likelihood = targets.logits.f_log_softmax(1, None)?;
        let mut each = targets.at_labels(&likelihood)?;
        if self.smoothing > 0.0 {
            let spread = likelihood.f_mean_dim(1, true, None)?;
            each = each.f_mul_scalar(1.0 - self.smoothing)?.f_add(&spread.f_mul_scalar(self.smoothing)?)?;
        }
        Ok(targets.mean(&each.f_mul(&targets.shares)?)?.f_neg()?)
    }
}

impl LossConfig for CrossEntropy {
    fn validate(&self) -> Result<()> {
        within("smoothing", self.smoothing, 0.0, 1.0)
    }

    fn build(&self) -> Result<Box<dyn Loss>> {
        LossConfig::validate(self)?;
        Ok(Box::new(self.clone()))
    }
}

loss! {
    CrossEntropy, "cross_entropy", "cross-entropy against labels or a mix's target",
    source: "Zhang et al., ICLR 2018; smoothing: Szegedy et al., CVPR 2016, section 7"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits() -> Tensor {
        // softmax: (1/2, 1/4, 1/4) and (1/4, 1/4, 1/2)
        Tensor::from_slice(&[2f64.ln(), 0.0, 0.0, 0.0, 0.0, 2f64.ln()]).reshape([2, 3])
    }

    #[test]
    fn hard_labels_give_the_mean_negative_log_likelihood() {
        let input = LossInput::default()
            .with("logits", logits())
            .with_labels(&Tensor::from_slice(&[0i64, 1]))
            .unwrap();
        let loss = CrossEntropy::default().loss(&input).unwrap().double_value(&[]);
        assert!((loss - (2f64.ln() + 4f64.ln()) / 2.0).abs() < 1e-12);
    }

    #[test]
    fn smoothing_spreads_the_target_over_all_classes() {
        let labels = Tensor::from_slice(&[0i64, 1]);
        let input = LossInput::default().with("logits", logits()).with_labels(&labels).unwrap();
        let smooth = CrossEntropy { smoothing: 0.3, ..CrossEntropy::default() };
        // Row 0: 0.8 ln 2 + 0.2 ln 4. Row 1: 0.8 ln 4 + 0.1 (ln 4 + ln 2).
        let (two, four) = (2f64.ln(), 4f64.ln());
        let wanted = (0.8 * two + 0.2 * four + 0.8 * four + 0.1 * (four + two)) / 2.0;
        assert!((smooth.loss(&input).unwrap().double_value(&[]) - wanted).abs() < 1e-12);
    }

    #[test]
    fn a_weighted_mean_forgets_a_common_factor_of_the_weights() {
        let labels = Tensor::from_slice(&[0i64, 1]);
        let with = |weights: [f64; 3], class_weight| {
            let input = LossInput::default()
                .with("logits", logits())
                .with("class_weight", Tensor::from_slice(&weights))
                .with_labels(&labels)
                .unwrap();
            CrossEntropy { class_weight, ..CrossEntropy::default() }.loss(&input).unwrap().double_value(&[])
        };
        let (two, four) = (2f64.ln(), 4f64.ln());
        let mean = with([3.0, 1.0, 9.0], ClassWeight::WeightedMean);
        assert!((mean - (3.0 * two + four) / 4.0).abs() < 1e-12);
        assert!((mean - with([6.0, 2.0, 18.0], ClassWeight::WeightedMean)).abs() < 1e-12);
        assert!((with([3.0, 1.0, 9.0], ClassWeight::OverSamples) - (3.0 * two + four) / 2.0).abs() < 1e-12);
    }
}
