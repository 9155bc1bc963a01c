//! Targets of classification losses: labels `[N, S]` with shares `[N, S]` whose rows sum to 1.
//! Hard labels are S = 1, a mix of pairs is S = 2.

use admix_api::prelude::*;

/// What weights of the classes do, when a script passes them as the last argument `class_weight`, `[K]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ClassWeight {
    /// There are none: the loss takes no such argument.
    #[default]
    None,
    /// The weighted mean: the sum of weighted terms over the sum of their weights. A common factor cancels.
    WeightedMean,
    /// The sum of weighted terms over N, as in the authors' code.
    OverSamples,
}

impl ClassWeight {
    /// `first`, and the weights if there are any.
    pub(crate) fn arguments(self) -> Vec<Argument> {
        let mut all = vec![Argument::Tensor("logits"), Argument::Target];
        if self != ClassWeight::None {
            all.push(Argument::Tensor("class_weight"));
        }
        all
    }
}

/// Logits in float32 or better, and the targets that they are held against.
pub(crate) struct Targets<'a> {
    pub(crate) logits: Tensor,
    pub(crate) labels: &'a Tensor,
    /// `[N, S]`, times the classes' weights if there are any.
    pub(crate) shares: Tensor,
    /// What a sum over samples is divided by: N, or the sum of weights.
    over: Option<Tensor>,
}

impl<'a> Targets<'a> {
    pub(crate) fn of(input: &'a LossInput, weighting: ClassWeight) -> Result<Self> {
        let logits = float32_or_better(input.get("logits")?)?;
        let labels = input.get("target.labels")?;
        let mut shares = input.get("target.shares")?.shallow_clone();
        if logits.dim() != 2 || labels.dim() != 2 || logits.size()[0] != labels.size()[0] {
            return Err(Error::shape(
                "the logits of a classification loss",
                logits.size(),
                format!("[N, K] for targets of shape {:?}", labels.size()),
            ));
        }
        let mut over = None;
        if weighting != ClassWeight::None {
            let each = input.get("class_weight")?.f_index_select(0, &labels.f_reshape([-1])?)?;
            shares = shares.f_mul(&each.f_reshape(labels.size())?)?;
            if weighting == ClassWeight::WeightedMean {
                over = Some(shares.f_sum(None)?);
            }
        }
        Ok(Self { logits, labels, shares, over })
    }

    /// The shares as a dense target `[N, K]`; the shares of equal labels add up.
    pub(crate) fn dense(&self) -> Result<Tensor> {
        let shares = self.shares.f_to_kind(self.logits.kind())?;
        Ok(self.logits.f_zeros_like()?.f_scatter_add(1, self.labels, &shares)?)
    }

    /// The entries `[N, S]` of `[N, K]` at the labels.
    pub(crate) fn at_labels(&self, of: &Tensor) -> Result<Tensor> {
        Ok(of.f_gather(1, self.labels, false)?)
    }

    /// Sum over everything, divided by N or by the sum of weights.
    pub(crate) fn mean(&self, terms: &Tensor) -> Result<Tensor> {
        let sum = terms.f_sum(None)?;
        Ok(match &self.over {
            Some(weights) => sum.f_div(weights)?,
            None => sum.f_mul_scalar(1.0 / self.logits.size()[0] as f64)?,
        })
    }
}

/// Half precision is widened, float32 and float64 stay.
pub(crate) fn float32_or_better(tensor: &Tensor) -> Result<Tensor> {
    Ok(match tensor.kind() {
        Kind::Float | Kind::Double => tensor.shallow_clone(),
        _ => tensor.f_to_kind(Kind::Float)?,
    })
}
