//! What is changed before a verdict, with its values from before: a step that is skipped or fails leaves nothing behind.

use admix_torch::{Kind, Tensor, duplicate};

use crate::Result;

/// Tensors of the state and room for a copy of each. Nothing here waits for the device.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    live: Vec<Tensor>,
    copies: Vec<Tensor>,
}

impl Kept {
    /// Of these tensors, as they are now.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn of(live: Vec<Tensor>) -> Result<Self> {
        let copies = live.iter().map(duplicate).collect::<Result<_, _>>()?;
        Ok(Self { live, copies })
    }

    /// Copies the values of now, for [`put_back`](Self::put_back) or [`put_back_where`](Self::put_back_where).
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn keep(&self) -> Result<()> {
        Ok(admix_torch::copy_all(&self.copies, &self.live)?)
    }

    /// The values of the last [`keep`](Self::keep).
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn put_back(&self) -> Result<()> {
        Ok(admix_torch::copy_all(&self.live, &self.copies)?)
    }

    /// The same where `flag`, a 0-dim float32 on the device, is not 0. Once for each [`keep`](Self::keep).
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn put_back_where(&self, flag: &Tensor) -> Result<()> {
        Ok(admix_torch::copy_where(&self.live, &self.copies, flag)?)
    }

    /// Sets `flag` to 1 where a value is not finite now.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn judge(&self, flag: &Tensor) -> Result<()> {
        let float = |tensor: &&Tensor| {
            matches!(tensor.kind(), Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double)
        };
        let floats: Vec<Tensor> = self.live.iter().filter(float).map(Tensor::shallow_clone).collect();
        Ok(admix_torch::nonfinite(&floats, flag)?)
    }

    /// The copies: they stay in their places.
    pub(crate) fn copies(&self) -> impl Iterator<Item = Tensor> {
        self.copies.iter().map(Tensor::shallow_clone)
    }
}
