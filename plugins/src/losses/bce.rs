//! BCE: the local part of a contrastive mix, between the keys of its sources alone.
//!
//! Formula  `Softmax` (default): sum_s share_s (-log P_s), P the softmax of z.k_s / T over the sources of the mix.
//!          `Literal`: sum_s share_s R_s as printed, R_s = z.k_s / sum_r z.k_r, without temperature; minimising it pushes
//!          the wrong way. `NegativeLog`: sum_s share_s (-log R_s), R_s no smaller than 1e-12. Mean over samples.
//! Source   AMix paper, Eq. 6 (the literal forms); the authors' code (the softmax).
//! Input    `embedding [N, D]` and a mix's keys, of unit length as a rule (the loss does not normalise). Output: a scalar.
//!          Finite for finite inputs; a sum of products closer to 0 than 1e-12 counts as 1e-12 in the literal forms.

use admix_api::loss;
use admix_api::prelude::*;

use super::contrast::Contrast;
use admix_api::ranges::at_least;

/// Which formula.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum BceForm {
    /// The logarithm of a softmax over the sources.
    #[default]
    Softmax,
    /// The ratio of dot products, as printed.
    Literal,
    /// Minus the logarithm of that ratio.
    NegativeLog,
}

admix_api::settings! {
    /// Recipe: `Bce(temperature: 0.2)`.
    pub struct Bce {
        /// T of the softmax, above 0. The literal forms have none.
        pub temperature: f64 = 0.2,
        /// Which formula.
        pub form: BceForm = BceForm::Softmax,
    }
}

impl Loss for Bce {
    fn arguments(&self) -> Vec<Argument> {
        Contrast::ARGUMENTS.to_vec()
    }

    fn loss(&self, input: &LossInput) -> Result<Tensor> {
        let contrast = Contrast::of(input)?;
        let products = contrast.products()?;
        let each = match self.form {
            BceForm::Softmax => {
                products.f_mul_scalar(1.0 / self.temperature)?.f_log_softmax(1, None)?.f_neg()?
            }
            BceForm::Literal => ratio(&products)?,
            BceForm::NegativeLog => ratio(&products)?.f_clamp_min(TINY)?.f_log()?.f_neg()?,
        };
        contrast.mean(&each)
    }
}

const TINY: f64 = 1e-12;

fn ratio(products: &Tensor) -> Result<Tensor> {
    let sum = products.f_sum_dim_intlist(1i64, true, None)?;
    let large = sum.f_abs()?.f_ge(TINY)?;
    let sum = sum.f_where_self(&large, &sum.f_full_like(TINY)?)?;
    Ok(products.f_div(&sum)?)
}

impl LossConfig for Bce {
    fn validate(&self) -> Result<()> {
        at_least("temperature", self.temperature, 1e-6)
    }

    fn build(&self) -> Result<Box<dyn Loss>> {
        LossConfig::validate(self)?;
        Ok(Box::new(self.clone()))
    }
}

loss! {
    Bce, "bce", "binary cross-entropy between the keys of the two sources",
    source: "AMix paper, Eq. 6; the authors' code"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_keys_of_the_sources_count() {
        // Products of embedding 0: 3 with its own key, 1 with the partner's.
        let keys = Tensor::from_slice(&[3f64, 9.0, 1.0, 5.0]).reshape([2, 2]);
        let credit = Credit::Pair { partner: Tensor::from_slice(&[1i64, 0]), lambda: Tensor::from(0.25f64) };
        let z = Tensor::from_slice(&[1f64, 0.0, 1.0, 0.0]).reshape([2, 2]);
        let input = LossInput::default().with("embedding", z).with_contrast(&credit, &keys).unwrap();
        let value = |form| {
            let loss = Bce { temperature: 0.5, form };
            loss.loss(&input).unwrap().double_value(&[])
        };
        // Embedding 1 has the products 1 and 3: own share with the smaller one.
        let p = 6f64.exp() / (6f64.exp() + 2f64.exp());
        let pair = |own: f64, other: f64| 0.25 * own + 0.75 * other;
        let softmax = -(pair(p.ln(), (1.0 - p).ln()) + pair((1.0 - p).ln(), p.ln())) / 2.0;
        assert!((value(BceForm::Softmax) - softmax).abs() < 1e-9);
        let literal = (pair(0.75, 0.25) + pair(0.25, 0.75)) / 2.0;
        assert!((value(BceForm::Literal) - literal).abs() < 1e-12);
        let log = -(pair(0.75f64.ln(), 0.25f64.ln()) + pair(0.25f64.ln(), 0.75f64.ln())) / 2.0;
        assert!((value(BceForm::NegativeLog) - log).abs() < 1e-12);
    }
}
