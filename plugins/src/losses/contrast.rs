//! What contrastive losses read: embeddings `[N, D]`, and the keys that they stand for, `[N, S, D]` with shares `[N, S]`.

use admix_api::prelude::*;

use super::targets::float32_or_better;

/// Embeddings in float32 or better, their keys, and the shares of these.
pub(crate) struct Contrast {
    pub(crate) embedding: Tensor,
    keys: Tensor,
    shares: Tensor,
}

impl Contrast {
    pub(crate) const ARGUMENTS: [Argument; 2] = [Argument::Tensor("embedding"), Argument::Contrast];

    pub(crate) fn of(input: &LossInput) -> Result<Self> {
        let embedding = float32_or_better(input.get("embedding")?)?;
        let keys = input.get("contrast.keys")?.f_to_kind(embedding.kind())?;
        let shares = input.get("contrast.shares")?.f_to_kind(embedding.kind())?;
        let fits = embedding.dim() == 2
            && keys.dim() == 3
            && (keys.size()[0], keys.size()[2]) == (embedding.size()[0], embedding.size()[1]);
        if !fits {
            return Err(Error::shape(
                "the embeddings of a contrastive loss",
                embedding.size(),
                format!("[N, D] for keys [N, S, D] of shape {:?}", keys.size()),
            ));
        }
        Ok(Self { embedding, keys, shares })
    }

    /// The same with embeddings times `factor`, and so all products: fewer values than the products with a queue are.
    pub(crate) fn scaled(self, factor: f64) -> Result<Self> {
        Ok(Self { embedding: self.embedding.f_mul_scalar(factor)?, ..self })
    }

    /// The dot product of each embedding with each of its keys, `[N, S]`.
    pub(crate) fn products(&self) -> Result<Tensor> {
        Ok(self.keys.f_matmul(&self.embedding.f_unsqueeze(2)?)?.f_squeeze_dim(2)?)
    }

    /// The dot product of each embedding `[N, D]` with each of these columns `[D, K]`.
    pub(crate) fn against(&self, columns: &Tensor) -> Result<Tensor> {
        if columns.dim() != 2 || columns.size()[0] != self.embedding.size()[1] {
            return Err(Error::shape(
                "what embeddings are told apart from, the queue or the keys of the batch,",
                columns.size(),
                format!("[D, K] for embeddings of shape {:?}", self.embedding.size()),
            ));
        }
        Ok(self.embedding.f_matmul(&columns.f_to_kind(self.embedding.kind())?)?)
    }

    /// The dot product of each embedding with each of the columns `[N, D, M]` that it has for itself, `[N, M]`.
    pub(crate) fn against_own(&self, columns: &Tensor) -> Result<Tensor> {
        let size = columns.size();
        if size.len() != 3 || size[..2] != self.embedding.size()[..] {
            return Err(Error::shape(
                "the negatives of a contrastive loss",
                size,
                format!("[N, D, M] for embeddings of shape {:?}", self.embedding.size()),
            ));
        }
        let columns = columns.f_to_kind(self.embedding.kind())?;
        Ok(self.embedding.f_unsqueeze(1)?.f_matmul(&columns)?.f_squeeze_dim(1)?)
    }

    /// Terms `[N, S]` weighted by their shares: the mean over samples.
    pub(crate) fn mean(&self, terms: &Tensor) -> Result<Tensor> {
        let samples = self.embedding.size()[0] as f64;
        Ok(terms.f_mul(&self.shares)?.f_sum(None)?.f_mul_scalar(1.0 / samples)?)
    }
}
