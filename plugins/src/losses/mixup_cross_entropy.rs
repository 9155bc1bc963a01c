//! Mixup cross-entropy: each source of a mix is credited with its share.
//!
//! Formula  lambda CE(logits, y) + (1 - lambda) CE(logits, y[partner]), mean over samples (AMix paper, Eq. 3).
//!          `Hard` and `Soft` are equal in value; `Sigmoid` replaces the softmax by a sigmoid for each class, summed
//!          over classes: sum_k w_k (t_k log(1 + e^-l_k) + (1 - t_k) log(1 + e^l_k)), t the mixed one-hot target.
//! Source   Zhang et al., ICLR 2018, arXiv:1710.09412; the AMix paper, Eq. 3; `negative_weight` the authors' code.
//! Input    `logits [N, K]`; the target. Output: a scalar. Finite for finite logits.

use admix_api::loss;
use admix_api::prelude::*;

use super::targets::{ClassWeight, Targets};
use admix_api::ranges::{at_least, expect};

/// How the target enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Form {
    /// The shares weigh one cross-entropy for each source.
    #[default]
    Hard,
    /// One cross-entropy against the dense mixed target; the same value.
    Soft,
    /// Multi-label binary cross-entropy against the dense mixed target, summed over classes.
    Sigmoid,
}

admix_api::settings! {
    /// Recipe: `MixupCrossEntropy(form: Hard)`.
    pub struct MixupCrossEntropy {
        /// How the target enters.
        pub form: Form = Form::Hard,
        /// Weight of the classes that no source has, at least 0 (the authors' code: 0.5). Acts with `Sigmoid` only: under a
        /// softmax the terms of such classes are 0 already.
        pub negative_weight: f64 = 1.0,
        /// Whether a third argument `class_weight` is taken, and what it does. Not with `Sigmoid`.
        pub class_weight: ClassWeight = ClassWeight::None,
    }
}

impl Loss for MixupCrossEntropy {
    fn arguments(&self) -> Vec<Argument> {
        self.class_weight.arguments()
    }

    fn loss(&self, input: &LossInput) -> Result<Tensor> {
        let targets = Targets::of(input, self.class_weight)?;
        let terms = match self.form {
            Form::Hard => {
                targets.at_labels(&targets.logits.f_log_softmax(1, None)?)?.f_mul(&targets.shares)?.f_neg()?
            }
            Form::Soft => targets.logits.f_log_softmax(1, None)?.f_mul(&targets.dense()?)?.f_neg()?,
            Form::Sigmoid => {
                let target = targets.dense()?;
                // (1 - t) l - log sigmoid(l) is the binary cross-entropy, finite for every l.
                let rest = target.f_neg()?.f_add_scalar(1.0)?;
                let each = rest.f_mul(&targets.logits)?.f_sub(&targets.logits.f_log_sigmoid()?)?;
                if self.negative_weight == 1.0 {
                    each
                } else {
                    let absent = target.f_eq(0.0)?;
                    each.f_mul_scalar(self.negative_weight)?.f_where_self(&absent, &each)?
                }
            }
        };
        targets.mean(&terms)
    }
}

impl LossConfig for MixupCrossEntropy {
    fn validate(&self) -> Result<()> {
        at_least("negative_weight", self.negative_weight, 0.0)?;
        let good = self.form != Form::Sigmoid || self.class_weight == ClassWeight::None;
        expect("class_weight", format!("{:?}", self.class_weight), good, "None where form is Sigmoid")
    }

    fn build(&self) -> Result<Box<dyn Loss>> {
        LossConfig::validate(self)?;
        Ok(Box::new(self.clone()))
    }
}

loss! {
    MixupCrossEntropy, "mixup_cross_entropy", "cross-entropy shared between the sources of a mix",
    source: "AMix paper, Eq. 3; Zhang et al., ICLR 2018"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(lambda: f32) -> LossInput {
        let credit = Credit::Pair { partner: Tensor::from_slice(&[1i64, 0]), lambda: Tensor::from(lambda) };
        // softmax: (1/2, 1/4, 1/4) and (1/4, 1/4, 1/2); labels 0 and 2.
        let logits = Tensor::from_slice(&[2f64.ln(), 0.0, 0.0, 0.0, 0.0, 2f64.ln()]).reshape([2, 3]);
        LossInput::default()
            .with("logits", logits)
            .with_target(&credit, &Tensor::from_slice(&[0i64, 2]))
            .unwrap()
    }

    fn value(loss: MixupCrossEntropy, input: &LossInput) -> f64 {
        loss.loss(input).unwrap().double_value(&[])
    }

    #[test]
    fn both_sources_are_credited_with_their_share() {
        // Each row: 0.25 * ln 2 for its own label and 0.75 * ln 4 for the partner's.
        let wanted = 0.25 * 2f64.ln() + 0.75 * 4f64.ln();
        for form in [Form::Hard, Form::Soft] {
            let loss = MixupCrossEntropy { form, ..MixupCrossEntropy::default() };
            assert!((value(loss, &input(0.25)) - wanted).abs() < 1e-12, "{form:?}");
        }
    }

    #[test]
    fn absent_classes_count_less_only_under_a_sigmoid() {
        let loss = |form, negative_weight| MixupCrossEntropy { form, negative_weight, ..Default::default() };
        let input = input(0.25);
        assert_eq!(value(loss(Form::Soft, 0.5), &input), value(loss(Form::Soft, 1.0), &input));
        // Class 1 has target 0 and logit 0 in both rows: its term is ln 2.
        let lost = value(loss(Form::Sigmoid, 1.0), &input) - value(loss(Form::Sigmoid, 0.5), &input);
        assert!((lost - 0.5 * 2f64.ln()).abs() < 1e-12);
        // Row 0: targets (1/4, 0, 3/4), logits (ln 2, 0, 0): 3/4 ln 3 + 1/4 ln 1.5 + ln 2 + ln 2.
        let wanted = 0.75 * 3f64.ln() + 0.25 * 1.5f64.ln() + 2.0 * 2f64.ln();
        assert!((value(loss(Form::Sigmoid, 1.0), &input) - wanted).abs() < 1e-12);
    }

    #[test]
    fn huge_logits_stay_finite() {
        let credit = Credit::Pair { partner: Tensor::from_slice(&[0i64]), lambda: Tensor::from(0.5f32) };
        let input = LossInput::default()
            .with("logits", Tensor::from_slice(&[1e30f32, -1e30]).reshape([1, 2]))
            .with_target(&credit, &Tensor::from_slice(&[1i64]))
            .unwrap();
        for form in [Form::Hard, Form::Soft, Form::Sigmoid] {
            assert!(value(MixupCrossEntropy { form, ..Default::default() }, &input).is_finite(), "{form:?}");
        }
    }
}
