//! A sum over processes that gradients pass.

use std::ffi::{CString, c_void};
use std::ptr;

use tch::Tensor;

use super::Group;
use crate::shim::{self, Fault, Handle, check, expect_owned, handle};
use crate::{Result, handles};

impl Group {
    /// The sum of a tensor over all processes, with a graph where the tensor has one: its gradient is the sum over processes
    /// too, so that each process has the gradient of the sum of all losses. The backward passes of all processes come
    /// here in the same order.
    ///
    /// Errors: as [`all_reduce`](Self::all_reduce). This group must be open when the graph is passed.
    pub fn sum(&self, tensor: &Tensor) -> Result<Tensor> {
        self.accept("sum", std::slice::from_ref(tensor))?;
        let mut summed = ptr::null_mut();
        // SAFETY: the tensor is borrowed for the call. The graph keeps the group's address: its owner keeps the group in its
        // place, and ends it after the last backward pass, for which all wait. Nobody else uses the group meanwhile.
        check(unsafe {
            shim::admix_group_sum(ptr::from_ref(self).cast(), reduce, handle(tensor), &mut summed)
        })?;
        expect_owned(summed)
    }
}

/// Adds up a tensor over all processes in place, for the shim.
unsafe extern "C" fn reduce(group: *const c_void, tensor: Handle) -> Fault {
    // SAFETY: the shim hands back the group of `sum`, and a tensor that is valid for the call.
    let (group, tensor) = unsafe { (&*group.cast::<Group>(), handles::borrow(tensor.cast())) };
    let done = tensor.map_or(Ok(()), |tensor| group.all_reduce(&[tensor]));
    let text = |error: crate::Error| CString::new(error.to_string().replace('\0', "")).unwrap_or_default();
    // SAFETY: a text that ends with 0; the shim frees the copy.
    done.map_or_else(|error| unsafe { shim::admix_copy(text(error).as_ptr()) }, |()| ptr::null_mut())
}
