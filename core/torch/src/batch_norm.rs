//! Batch normalisation, residual and ReLU as one operation on the CPU.

use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use tch::Tensor;

use crate::Result;
use crate::shim::{self, check, handle, owned};

static FUSED: AtomicBool = AtomicBool::new(true);

/// Whether fused operations take the place of plain ones, in the whole process, where they can. They do unless told.
pub fn set_fused(allowed: bool) {
    FUSED.store(allowed, Ordering::Relaxed);
}

/// What [`set_fused`] said.
pub fn fused() -> bool {
    FUSED.load(Ordering::Relaxed)
}

/// A batch normalisation of `[N, C, H, W]` over all but the channels.
#[derive(Debug, Clone, Copy)]
pub struct BatchNorm<'a> {
    /// Weight and bias, both `[C]`.
    pub affine: Option<(&'a Tensor, &'a Tensor)>,
    /// Running mean, `[C]`.
    pub running_mean: &'a Tensor,
    /// Running variance, `[C]`.
    pub running_var: &'a Tensor,
    /// By the batch's own mean and biased variance, which move the buffers (the variance unbiased); else by the buffers.
    pub train: bool,
    /// Share of the batch in the buffers then, in [0, 1]; with 0 they keep their bits.
    pub momentum: f64,
    /// What is added to a variance.
    pub epsilon: f64,
    /// Groups of samples, one after the other, with statistics of their own in train mode; divides N. The buffers move
    /// towards the mean of what the groups measure.
    pub groups: i64,
}

impl BatchNorm<'_> {
    /// `relu(norm(x) + aside)`, without what is not asked for, in one operation; `None` where only plain operations can do
    /// it: not on the CPU, channels not innermost, no 32- or 64-bit floats, or [`set_fused`] forbids it.
    ///
    /// `aside` has the shape of `x`, `[N, C, H, W]`. The backward pass keeps `x`, and with `relu` the result, which must not
    /// change in place then. Mean and variance of parts of the batch are measured in two passes and joined in double
    /// precision (Chan et al. 1979), in an order that the number of threads does not change. There is no second derivative.
    ///
    /// # Errors
    /// No room for the result.
    pub fn fused(&self, x: &Tensor, aside: Option<&Tensor>, relu: bool) -> Result<Option<Tensor>> {
        if !fused() {
            return Ok(None);
        }
        let groups = if self.train { self.groups } else { 1 };
        let pointer = |tensor: Option<&Tensor>| tensor.map_or(ptr::null_mut(), handle);
        let (weight, bias) = self.affine.unzip();
        let mut result = ptr::null_mut();
        // SAFETY: all tensors are borrowed for the call, null stands for those that are not there, and the out-pointer is
        // valid. The shim checks shapes and dtypes before it reads memory.
        check(unsafe {
            shim::admix_fused_batch_norm(
                handle(x),
                pointer(aside),
                pointer(weight),
                pointer(bias),
                handle(self.running_mean),
                handle(self.running_var),
                self.train,
                self.momentum,
                self.epsilon,
                groups,
                relu,
                &mut result,
            )
        })?;
        Ok(owned(result))
    }
}
