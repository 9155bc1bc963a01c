//! @TYPE@: squared distance between the probabilities and the shares of a (mixed) label.
//!
//! Formula  mean over samples of sum over classes (softmax(logits) - share)^2, the Brier score.
//! Source   say here where it comes from: paper, equation.
//! Input    `logits [N, K]`; labels or a mix's target. Output: a scalar in [0, 2].

use admix_api::loss;
use admix_api::prelude::*;

admix_api::settings! {
    /// Recipe: `@TYPE@(scale: 0.5)`.
    pub struct @TYPE@ {
        /// The value is multiplied by this; above 0.
        pub scale: f64 = 1.0,
    }
}

impl Loss for @TYPE@ {
    fn arguments(&self) -> Vec<Argument> {
        vec![Argument::Tensor("logits"), Argument::Target]
    }

    fn loss(&self, input: &LossInput) -> Result<Tensor> {
        let probabilities = input.get("logits")?.f_softmax(1, None)?;
        let probabilities = match probabilities.kind() {
            Kind::Float | Kind::Double => probabilities,
            _ => probabilities.f_to_kind(Kind::Float)?,
        };
        let (labels, shares) = (input.get("target.labels")?, input.get("target.shares")?);
        let shares = shares.f_to_kind(probabilities.kind())?;
        let target = probabilities.f_zeros_like()?.f_scatter_add(1, labels, &shares)?;
        let each = probabilities.f_sub(&target)?.f_square()?.f_sum_dim_intlist(1i64, false, None)?;
        Ok(each.f_mean(None)?.f_mul_scalar(self.scale)?)
    }
}

impl LossConfig for @TYPE@ {
    fn validate(&self) -> Result<()> {
        if self.scale > 0.0 && self.scale.is_finite() {
            return Ok(());
        }
        Err(Error::range("scale", self.scale, "a number above 0"))
    }

    fn build(&self) -> Result<Box<dyn Loss>> {
        Ok(Box::new(self.clone()))
    }
}

loss! {
    @TYPE@, "@NAME@", "squared distance between probabilities and shares",
    source: "paper, equation"
}

admix_api::export_plugins! { @TYPE@ }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undecided_logits_cost_what_the_formula_says() {
        let input = LossInput::default()
            .with("logits", Tensor::zeros([2, 4], (Kind::Double, Device::Cpu)))
            .with_labels(&Tensor::from_slice(&[0i64, 3]))
            .expect("labels");
        let value = @TYPE@ { scale: 2.0 }.loss(&input).expect("a value").double_value(&[]);
        // (3/4)^2 + 3 (1/4)^2 = 3/4.
        assert!((value - 1.5).abs() < 1e-12, "{value}");
    }
}
