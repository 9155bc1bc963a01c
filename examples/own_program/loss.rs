//! Brier: the squared distance between the predicted probabilities and the target.

use admix_api::prelude::*;

admix_api::settings! {
    /// Recipe: `Brier()`. Has no settings.
    pub struct Brier {}
}

admix_api::loss! { Brier, "brier", "squared distance of probabilities from the target", source: "Brier 1950" }

impl LossConfig for Brier {
    fn build(&self) -> Result<Box<dyn Loss>> {
        Ok(Box::new(self.clone()))
    }
}

impl Loss for Brier {
    fn arguments(&self) -> Vec<Argument> {
        vec![Argument::Tensor("logits"), Argument::Target]
    }

    fn loss(&self, input: &LossInput) -> Result<Tensor> {
        let logits = input.get("logits")?;
        let kind = if logits.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        let predicted = logits.f_softmax(1, kind)?;
        // Hard labels are one label a sample, a mix of pairs two: `[N, S]` with shares `[N, S]`.
        let (labels, shares) = (input.get("target.labels")?, input.get("target.shares")?.f_to_kind(kind)?);
        let target = predicted.f_zeros_like()?.f_scatter_add(1, labels, &shares)?;
        let squares = predicted.f_sub(&target)?.f_square()?;
        Ok(squares.f_sum_dim_intlist(1i64, false, None)?.f_mean(None)?)
    }
}
