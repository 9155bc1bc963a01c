//! How lambda enters the Mix Block.

use admix_api::prelude::*;

/// The strength of adaptive lambda encoding (AMix paper, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Gamma {
    /// A trained scalar that starts at 0, is kept in [0, 1] and has no weight decay (the paper).
    Learnable,
    /// The same, but it starts at this number, in [0, 1].
    LearnableFrom(f64),
    /// A fixed number (the authors' code: 1).
    Constant(f64),
}

/// A polynomial of lambda in front of the encoding. Not in the paper; in the authors' recipes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Rescale {
    /// lambda as it is.
    Off,
    /// (4/3 l^3 - 2 l^2 + c l) / (c - 2/3) with c = k + 1, k >= 0; odd-symmetric about 1/2. Small k flattens the middle.
    Polynomial(f64),
}

impl Rescale {
    /// lambda, rescaled.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn apply(self, lambda: &Tensor) -> Result<Tensor> {
        let Rescale::Polynomial(k) = self else { return Ok(lambda.shallow_clone()) };
        let c = k + 1.0;
        let inner = lambda.f_mul_scalar(4.0 / 3.0)?.f_sub_scalar(2.0)?;
        let outer = inner.f_mul(lambda)?.f_add_scalar(c)?.f_mul(lambda)?;
        Ok(outer.f_mul_scalar(1.0 / (c - 2.0 / 3.0))?)
    }
}

/// How lambda enters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Encoding {
    /// Not at all (AutoMix on small images).
    None,
    /// As one more constant channel: lambda beside the own map, 1 - lambda beside the partner's (AutoMix).
    Plane,
    /// z_i = (1 + gamma l) x_i and z_j = (1 + gamma (1 - l)) x_j (AMix).
    Scale(Gamma, Rescale),
}

/// The trained part of an encoding, and what it does to maps.
#[derive(Debug)]
pub(super) enum Encoder {
    None,
    Plane,
    Scale(Strength, Rescale),
}

#[derive(Debug)]
pub(super) enum Strength {
    Learnable(Tensor),
    Constant(f64),
}

/// What lambda does to the two maps of this draw. All are 0-dim or `[N, 1, 1, 1]`.
pub(super) struct Encoded {
    /// lambda as the block sees it.
    pub(super) lambda: Tensor,
    /// (own, partner): constant channels.
    pub(super) planes: Option<(Tensor, Tensor)>,
    /// (own, partner): factors.
    pub(super) factors: Option<(Tensor, Tensor)>,
}

impl Encoder {
    pub(super) fn new(encoding: Encoding, path: &Path) -> Result<Self> {
        Ok(match encoding {
            Encoding::None => Encoder::None,
            Encoding::Plane => Encoder::Plane,
            Encoding::Scale(Gamma::Constant(value), rescale) => {
                Encoder::Scale(Strength::Constant(value), rescale)
            }
            Encoding::Scale(gamma @ (Gamma::Learnable | Gamma::LearnableFrom(_)), rescale) => {
                let start = if let Gamma::LearnableFrom(start) = gamma { start } else { 0.0 };
                let hints = Hints { weight_decay: false };
                let gamma = path.parameter("gamma", &[], Init::Constant(start), hints)?;
                Encoder::Scale(Strength::Learnable(gamma), rescale)
            }
        })
    }

    /// Constant channels that each map gets.
    pub(super) fn channels(&self) -> i64 {
        i64::from(matches!(self, Encoder::Plane))
    }

    pub(super) fn encode(&self, lambda: &Tensor) -> Result<Encoded> {
        let rest = |of: &Tensor| -> Result<Tensor> { Ok(of.f_neg()?.f_add_scalar(1.0)?) };
        Ok(match self {
            Encoder::None => Encoded { lambda: lambda.shallow_clone(), planes: None, factors: None },
            Encoder::Plane => Encoded {
                lambda: lambda.shallow_clone(),
                planes: Some((lambda.shallow_clone(), rest(lambda)?)),
                factors: None,
            },
            Encoder::Scale(strength, rescale) => {
                let lambda = rescale.apply(lambda)?;
                let factor = |share: &Tensor| -> Result<Tensor> {
                    let scaled = match strength {
                        Strength::Learnable(gamma) => share.f_mul(gamma)?,
                        Strength::Constant(value) => share.f_mul_scalar(*value)?,
                    };
                    Ok(scaled.f_add_scalar(1.0)?)
                };
                let factors = Some((factor(&lambda)?, factor(&rest(&lambda)?)?));
                Encoded { lambda, planes: None, factors }
            }
        })
    }

    /// Puts gamma back into [0, 1], in place.
    pub(super) fn project(&self) -> Result<()> {
        if let Encoder::Scale(Strength::Learnable(gamma), _) = self {
            let _no_graph = no_grad();
            drop(gamma.shallow_clone().f_clamp_(0.0, 1.0)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_polynomial_keeps_both_ends_and_the_middle() {
        for k in [0.0, 0.25, 1.0, 7.0] {
            let lambda = Tensor::from_slice(&[0f64, 0.5, 1.0, 0.3, 0.7]);
            let out = Vec::<f64>::try_from(Rescale::Polynomial(k).apply(&lambda).unwrap()).unwrap();
            for (found, wanted) in out.iter().zip([0.0, 0.5, 1.0]) {
                assert!((found - wanted).abs() < 1e-12, "k = {k}: {out:?}");
            }
            assert!((out[3] + out[4] - 1.0).abs() < 1e-12, "odd about 1/2");
        }
        let flat = Rescale::Polynomial(0.25).apply(&Tensor::from(0.3f64)).unwrap().double_value(&[]);
        assert!((flat - 0.396).abs() < 1e-3, "{flat}");
    }
}
