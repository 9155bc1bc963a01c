//! Decoupled mixup: beside the shares, each source is told apart from all classes that are not in the image.
//!
//! Formula  MCE + eta mean over samples of sum_s -log(e^z_s / sum over classes k that no other source has of e^z_k), MCE the
//!          mixup cross-entropy. A source without a share has no term.
//! Source   Liu et al., NeurIPS 2023, arXiv:2203.10761, Eq. 5 and 6.
//! Input    `logits [N, K]`; the target. Output: a scalar. Finite for finite logits.

use admix_api::loss;
use admix_api::prelude::*;
use admix_api::ranges::at_least;

use super::targets::{ClassWeight, Targets};

admix_api::settings! {
    /// Recipe: `DecoupledMixup(eta: 0.1)`.
    pub struct DecoupledMixup {
        /// Weight of the decoupled term, at least 0.
        pub eta: f64 = 0.1,
    }
}

impl Loss for DecoupledMixup {
    fn arguments(&self) -> Vec<Argument> {
        ClassWeight::None.arguments()
    }

    fn loss(&self, input: &LossInput) -> Result<Tensor> {
        let targets = Targets::of(input, ClassWeight::None)?;
        let (logits, labels) = (&targets.logits, targets.labels);
        let mixed = targets.at_labels(&logits.f_log_softmax(1, None)?)?.f_mul(&targets.shares)?.f_neg()?;
        // [N, S, K]: the classes of a source, and those of the others beside it.
        let classes = Tensor::f_arange(logits.size2()?.1, (Kind::Int64, logits.device()))?;
        let own = labels.f_unsqueeze(2)?.f_eq_tensor(&classes)?;
        let present = targets.shares.f_gt(0.0)?;
        let there = own.f_logical_and(&present.f_unsqueeze(2)?)?.f_any_dim(1, true)?;
        let others = there.f_logical_and(&own.f_logical_not()?)?;
        let alone = logits.f_unsqueeze(1)?.f_masked_fill(&others, f64::NEG_INFINITY)?;
        let apart = alone.f_logsumexp([2i64].as_slice(), false)?.f_sub(&targets.at_labels(logits)?)?;
        let apart = apart.f_mul(&present.f_to_kind(logits.kind())?)?;
        targets.mean(&mixed.f_add(&apart.f_mul_scalar(self.eta)?)?)
    }
}

impl LossConfig for DecoupledMixup {
    fn validate(&self) -> Result<()> {
        at_least("eta", self.eta, 0.0)
    }

    fn build(&self) -> Result<Box<dyn Loss>> {
        Ok(Box::new(self.clone()))
    }
}

loss! {
    DecoupledMixup, "decoupled_mixup", "mixup cross-entropy, and each source against the classes that are not in the image",
    source: "Liu et al., NeurIPS 2023, arXiv:2203.10761, Eq. 5 and 6"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(eta: f64, labels: [i64; 2], lambda: f64) -> f64 {
        let logits = Tensor::from_slice(&[1f64, 2.0, 4.0]).reshape([1, 3]);
        let target = LossInput::default()
            .with("logits", logits)
            .with("target.labels", Tensor::from_slice(&labels).reshape([1, 2]))
            .with("target.shares", Tensor::from_slice(&[lambda, 1.0 - lambda]).reshape([1, 2]));
        DecoupledMixup { eta }.loss(&target).unwrap().double_value(&[])
    }

    #[test]
    fn each_source_is_held_against_the_classes_that_no_other_source_has() {
        let log_sum = |all: &[f64]| all.iter().map(|z| z.exp()).sum::<f64>().ln();
        let whole = log_sum(&[1.0, 2.0, 4.0]);
        let mixed = 0.25 * (whole - 1.0) + 0.75 * (whole - 4.0);
        // Source 0 beside class 1, without class 2; source 2 beside class 1, without class 0.
        let apart = (log_sum(&[1.0, 2.0]) - 1.0) + (log_sum(&[2.0, 4.0]) - 4.0);
        assert!((value(0.0, [0, 2], 0.25) - mixed).abs() < 1e-12);
        assert!((value(0.5, [0, 2], 0.25) - (mixed + 0.5 * apart)).abs() < 1e-12);
        // A source without a share has no term and hides no class.
        assert!((value(0.5, [0, 2], 1.0) - 1.5 * (whole - 1.0)).abs() < 1e-12);
        // Two sources of one class hide nothing from each other.
        assert!((value(0.5, [1, 1], 0.25) - (whole - 2.0) * (1.0 + 0.5 * 2.0)).abs() < 1e-12);
    }
}
