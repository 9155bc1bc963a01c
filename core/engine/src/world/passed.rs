//! What the passes of a step hand on to its end, where processes exchange it in between.

use admix_torch::Tensor;

use crate::Result;

/// The gradients of all parameters, and the keys that wait for each queue.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// By parameter.
    pub(super) gradients: Vec<Option<Tensor>>,
    /// By queue.
    pub(super) keys: Vec<Vec<Tensor>>,
}

impl Passed {
    fn all(&self) -> impl Iterator<Item = &Tensor> {
        self.gradients.iter().flatten().chain(self.keys.iter().flatten())
    }

    /// Every tensor, by name.
    pub(crate) fn named(&self) -> impl Iterator<Item = (String, Tensor)> {
        self.all().enumerate().map(|(number, tensor)| (format!("passed.{number}"), tensor.shallow_clone()))
    }

    /// Whether another one has values at the same places.
    pub(crate) fn fits(&self, other: &Self) -> bool {
        let shapes = |of: &Self| -> Vec<_> { of.all().map(Tensor::size).collect() };
        let there = |of: &Self| -> Vec<_> { of.gradients.iter().map(Option::is_some).collect() };
        let counts = |of: &Self| -> Vec<_> { of.keys.iter().map(Vec::len).collect() };
        there(self) == there(other) && counts(self) == counts(other) && shapes(self) == shapes(other)
    }

    /// Takes over the values of one that fits, in place.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn overwrite(&self, other: &Self) -> Result<()> {
        let _guard = admix_torch::no_grad();
        for (own, new) in self.all().zip(other.all()).filter(|(own, new)| own.data_ptr() != new.data_ptr()) {
            own.shallow_clone().f_copy_(new)?;
        }
        Ok(())
    }
}
