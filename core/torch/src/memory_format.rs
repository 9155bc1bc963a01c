//! Memory formats: the same values in another order in memory.

use std::ptr;

use tch::Tensor;

use crate::Result;
use crate::shim::{self, check, expect_owned, handle};

/// `[N, C, H, W]` (or `[N, C, D, H, W]`) with the channels innermost in memory; the tensor itself if they are
/// already.
///
/// Values, shape and graph are kept. Errors: another rank.
pub fn channels_last(tensor: &Tensor) -> Result<Tensor> {
    let mut result = ptr::null_mut();
    // SAFETY: the tensor is borrowed and the out-pointer valid for the call.
    check(unsafe { shim::admix_channels_last(handle(tensor), &mut result) })?;
    expect_owned(result)
}

/// Whether the channels lie innermost in memory; false for ranks other than 4 and 5, and for sparse tensors.
pub fn is_channels_last(tensor: &Tensor) -> bool {
    let mut result = false;
    // SAFETY: the tensor is borrowed and the out-pointer valid for the call; on an error `result` stays false.
    check(unsafe { shim::admix_is_channels_last(handle(tensor), &mut result) }).is_ok() && result
}

/// A copy without graph, which lies in memory as the tensor does. (`detach_copy` lays channels outermost.)
///
/// Errors: no room for it.
pub fn duplicate(tensor: &Tensor) -> Result<Tensor> {
    let tensor = tensor.f_detach()?;
    let mut copy = tensor.f_empty_like()?;
    copy.f_copy_(&tensor)?;
    Ok(copy)
}

/// Makes `target` refer to the memory of `value`, as its own identity: every holder of `target` sees it.
///
/// For changing the layout or device of a parameter that others already hold. Errors: an incompatible dtype
/// or layout.
pub fn set_data(target: &Tensor, value: &Tensor) -> Result<()> {
    // SAFETY: both tensors are borrowed for the call; libtorch counts the references to the shared memory.
    check(unsafe { shim::admix_set_data(handle(target), handle(value)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn channels_last_keeps_values_and_changes_strides() -> Result<()> {
        let x = Tensor::randn([2, 3, 4, 5], (Kind::Float, Device::Cpu));
        let y = channels_last(&x)?;
        assert!(x.equal(&y) && is_channels_last(&y) && !is_channels_last(&x));
        assert_eq!(y.stride(), [60, 1, 15, 3]);
        Ok(())
    }

    #[test]
    fn a_duplicate_has_the_order_in_memory_and_no_graph() -> Result<()> {
        let x =
            channels_last(&Tensor::randn([2, 3, 4, 5], (Kind::Float, Device::Cpu)))?.set_requires_grad(true);
        let y = duplicate(&x)?;
        assert!(x.equal(&y) && is_channels_last(&y) && !y.requires_grad() && y.data_ptr() != x.data_ptr());
        assert!(!is_channels_last(&duplicate(&x.detach().contiguous())?));
        Ok(())
    }

    #[test]
    fn channels_last_wants_images() {
        let x = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
        let text = channels_last(&x).expect_err("rank 2").to_string();
        assert_eq!(text, "channels_last needs [N, C, H, W] or [N, C, D, H, W], got [2, 3]");
        assert!(!is_channels_last(&x));
    }

    #[test]
    fn set_data_reaches_every_holder() -> Result<()> {
        let weight = Tensor::randn([2, 3, 4, 5], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let holder = weight.shallow_clone();
        set_data(&weight, &channels_last(&weight.detach())?)?;
        assert!(is_channels_last(&holder) && holder.requires_grad() && holder.is_leaf());
        Ok(())
    }
}
