//! pBCE: the local part of mixup cross-entropy, between the classes of the sources alone.
//!
//! Formula  `Log` (default): -lambda log P2(a) - (1 - lambda) log P2(b), P2 the softmax over the logits of the two classes.
//!          `LiteralFull`: lambda P(a) + (1 - lambda) P(b) as printed, P the softmax over all classes; `LiteralPair`: the same
//!          with P2. Minimising a literal form pushes the wrong way; they are here to reproduce numbers.
//! Source   AMix paper, section 3.3, L_pBCE.
//! Input    `logits [N, K]`; the target. Output: a scalar, mean over samples. A pair of one class costs log 2 and has no
//!          gradient. Finite for finite logits.

use admix_api::loss;
use admix_api::prelude::*;

use super::targets::{ClassWeight, Targets};

/// Which formula.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum PBceForm {
    /// The logarithm of the softmax over the classes of the sources.
    #[default]
    Log,
    /// As printed, softmax over all classes.
    LiteralFull,
    /// As printed, softmax over the classes of the sources.
    LiteralPair,
}

/// Recipe: `PBce()`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PBce {
    /// Which formula.
    pub form: PBceForm,
}

impl Loss for PBce {
    fn arguments(&self) -> Vec<Argument> {
        vec![Argument::Tensor("logits"), Argument::Target]
    }

    fn loss(&self, input: &LossInput) -> Result<Tensor> {
        let targets = Targets::of(input, ClassWeight::None)?;
        let each = match self.form {
            PBceForm::Log => targets.at_labels(&targets.logits)?.f_log_softmax(1, None)?.f_neg()?,
            PBceForm::LiteralPair => targets.at_labels(&targets.logits)?.f_softmax(1, None)?,
            PBceForm::LiteralFull => targets.at_labels(&targets.logits.f_softmax(1, None)?)?,
        };
        targets.mean(&each.f_mul(&targets.shares)?)
    }
}

impl LossConfig for PBce {
    fn build(&self) -> Result<Box<dyn Loss>> {
        Ok(Box::new(self.clone()))
    }
}

loss! {
    PBce, "pbce", "binary cross-entropy between the classes of the two sources",
    source: "AMix paper, section 3.3, L_pBCE"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_classes_of_the_sources_count() {
        // Logits of the own class 0 and the partner's class 2 are ln 3 and 0: P2 = (3/4, 1/4).
        let credit = Credit::Pair { partner: Tensor::from_slice(&[1i64, 0]), lambda: Tensor::from(0.25f32) };
        let logits = Tensor::from_slice(&[3f64.ln(), 50.0, 0.0, 0.0, -7.0, 3f64.ln()]).reshape([2, 3]);
        let input = LossInput::default()
            .with("logits", logits)
            .with_target(&credit, &Tensor::from_slice(&[0i64, 2]))
            .unwrap();
        let value = |form| PBce { form }.loss(&input).unwrap().double_value(&[]);
        let wanted = -(0.25 * 0.75f64.ln() + 0.75 * 0.25f64.ln());
        assert!((value(PBceForm::Log) - wanted).abs() < 1e-12);
        assert!((value(PBceForm::LiteralPair) - (0.25 * 0.75 + 0.75 * 0.25)).abs() < 1e-12);
    }
}
