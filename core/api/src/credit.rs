//! How the label of a mix is shared between its sources.

use admix_torch::{Kind, Tensor};

use crate::{Error, Result};

/// How the label is shared between the sources of a mixed image.
#[derive(Debug)]
pub enum Credit {
    /// Two sources: the own image with `lambda` (0-dim or `[N]`), its partner with the rest.
    Pair {
        /// `[N]` int64.
        partner: Tensor,
        /// The own share **as credited to the label**.
        lambda: Tensor,
    },
    /// Any number of sources.
    Shares {
        /// `[N, S]` int64.
        sources: Tensor,
        /// `[N, S]` float32; rows sum to 1.
        shares: Tensor,
    },
    /// Any number of sources whose weights are no shares of a whole, as SnapMix's.
    Weights {
        /// `[N, S]` int64.
        sources: Tensor,
        /// `[N, S]` float32, from 0.
        weights: Tensor,
    },
}

impl Credit {
    /// `sources [N, S]` int64 and `shares [N, S]` float32, rows of which sum to 1 unless they are [`Credit::Weights`].
    ///
    /// # Errors
    /// libtorch refused.
    pub fn shares(&self) -> Result<(Tensor, Tensor)> {
        match self {
            Credit::Shares { sources, shares } | Credit::Weights { sources, weights: shares } => {
                Ok((sources.shallow_clone(), shares.shallow_clone()))
            }
            Credit::Pair { partner, lambda } => {
                let n = partner.size1()?;
                let own = Tensor::f_arange(n, (Kind::Int64, partner.device()))?;
                let sources = Tensor::f_stack(&[own, partner.shallow_clone()], 1)?;
                let lambda = lambda.f_expand([n], false)?;
                let rest = lambda.f_neg()?.f_add_scalar(1.0)?;
                Ok((sources, Tensor::f_stack(&[lambda, rest], 1)?))
            }
        }
    }

    /// The same by other handles on the tensors.
    #[must_use]
    pub fn shallow_clone(&self) -> Self {
        let same = Tensor::shallow_clone;
        match self {
            Credit::Pair { partner, lambda } => Credit::Pair { partner: same(partner), lambda: same(lambda) },
            Credit::Shares { sources, shares } => {
                Credit::Shares { sources: same(sources), shares: same(shares) }
            }
            Credit::Weights { sources, weights } => {
                Credit::Weights { sources: same(sources), weights: same(weights) }
            }
        }
    }

    /// The share of each sample's own image, `[N]` float32: 0 where it has none.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn own_share(&self) -> Result<Tensor> {
        let (sources, shares) = self.shares()?;
        let own = Tensor::f_arange(sources.size2()?.0, (Kind::Int64, sources.device()))?.f_unsqueeze(1)?;
        let is_own = sources.f_eq_tensor(&own)?.f_to_kind(shares.kind())?;
        Ok(shares.f_mul(&is_own)?.f_sum_dim_intlist([1i64].as_slice(), false, None)?)
    }

    /// The keys of the sources, `[N, S, D]` from keys `[N, D]` in the batch's order, and the shares `[N, S]`.
    ///
    /// # Errors
    /// Keys that are not `[N, D]`.
    pub fn contrast(&self, keys: &Tensor) -> Result<(Tensor, Tensor)> {
        let (_, depth) =
            keys.size2().map_err(|_| Error::shape("the keys of a contrast", keys.size(), "[N, D]"))?;
        let (sources, shares) = self.shares()?;
        let (n, each) = sources.size2()?;
        let chosen = keys.f_index_select(0, &sources.f_reshape([-1])?)?.f_reshape([n, each, depth])?;
        Ok((chosen, shares))
    }
}
