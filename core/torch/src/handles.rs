//! Tensors as the pointers that cross a plugin's boundary: `at::Tensor*`.

use std::ffi::{CStr, c_void};

use tch::Tensor;

use crate::shim;

/// The `at::Tensor*` of a tensor, borrowed: valid as long as the tensor.
pub fn pointer(tensor: &Tensor) -> *mut c_void {
    tensor.as_ptr().cast_mut().cast()
}

/// Gives a tensor away as an owned `at::Tensor*`; the receiver deletes it.
pub fn give(mut tensor: Tensor) -> *mut c_void {
    let pointer = tensor.as_mut_ptr().cast();
    std::mem::forget(tensor);
    pointer
}

/// A tensor that shares the values of a borrowed one; none for a null pointer or an undefined tensor.
///
/// # Safety
/// `tensor` is null or an `at::Tensor*` of this process's libtorch, valid for the call.
pub unsafe fn borrow(tensor: *mut c_void) -> Option<Tensor> {
    if tensor.is_null() {
        return None;
    }
    // SAFETY: by the contract of this function.
    let shared = unsafe { Tensor::clone_from_ptr(tensor.cast()) };
    shared.defined().then_some(shared)
}

/// Takes over an owned tensor; none for a null pointer or an undefined tensor, which is deleted.
///
/// # Safety
/// As [`borrow`], and nobody else deletes it.
pub unsafe fn take(tensor: *mut c_void) -> Option<Tensor> {
    if tensor.is_null() {
        return None;
    }
    // SAFETY: by the contract of this function.
    let own = unsafe { Tensor::from_ptr(tensor.cast()) };
    own.defined().then_some(own)
}

/// How often a tensor's values were written in place, as autograd counts it.
pub fn writes(tensor: &Tensor) -> i64 {
    tensor.f_internal_version().unwrap_or_default()
}

/// The version of libtorch that this code was built with: "2.11.0".
pub fn libtorch_version() -> &'static str {
    // SAFETY: a string constant of the shim.
    let text = unsafe { CStr::from_ptr(shim::admix_libtorch_version()) };
    text.to_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_given_and_taken_back_is_the_same_and_writes_are_counted() {
        let tensor = Tensor::from_slice(&[1f32, 2.0]);
        // SAFETY: pointers of live tensors.
        let shared = unsafe { borrow(pointer(&tensor)) }.expect("a tensor");
        let before = writes(&tensor);
        drop(shared.shallow_clone().fill_(3.0));
        assert!(writes(&tensor) > before && tensor.double_value(&[0]) == 3.0);
        let pointer = give(shared);
        // SAFETY: given away above, taken once.
        let back = unsafe { take(pointer) }.expect("a tensor");
        assert_eq!(back.data_ptr(), tensor.data_ptr());
        // SAFETY: null is allowed.
        assert!(unsafe { take(std::ptr::null_mut()) }.is_none());
        assert!(libtorch_version().starts_with("2."));
    }
}
