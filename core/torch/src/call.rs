//! Calls of native code that nobody vouches for.

use std::ffi::c_void;

use crate::shim::{admix_call, take_text};

/// A call that is still to be made, or its result.
struct Call<F, R> {
    body: Option<F>,
    result: Option<R>,
}

/// Makes a call of functions with the ABI `C-unwind`, which may throw C++ exceptions. The call must not panic.
///
/// # Errors
/// What was thrown, in one line.
pub fn caught<R>(body: impl FnOnce() -> R) -> Result<R, String> {
    /// # Safety
    /// `call` is a `Call<F, R>`.
    unsafe extern "C-unwind" fn run<F: FnOnce() -> R, R>(call: *mut c_void) {
        // SAFETY: by the contract of this function; nobody else holds it.
        let call = unsafe { &mut *call.cast::<Call<F, R>>() };
        call.result = call.body.take().map(|body| body());
    }

    fn of<F: FnOnce() -> R, R>(_: &Call<F, R>) -> unsafe extern "C-unwind" fn(*mut c_void) {
        run::<F, R>
    }

    let mut call = Call { body: Some(body), result: None };
    let run = of(&call);
    // SAFETY: the function takes the pointer for what it is, and both live for the call.
    let thrown = unsafe { admix_call(run, std::ptr::from_mut(&mut call).cast()) };
    match call.result {
        Some(result) if thrown.is_null() => Ok(result),
        _ => Err(crate::first_words(&take_text(thrown))),
    }
}
