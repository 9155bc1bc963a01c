//! The table of functions of every loss of a library.

use std::ffi::c_void;

use admix_torch::handles;

use super::call::{config, destroy, entry, guarded, known, put, slice};
use crate::abi::{log, raw, text};
use crate::{Argument, Loss, LossInput};

pub(super) static LOSS: raw::Loss = raw::Loss {
    size: size_of::<raw::Loss>(),
    check: Some(check_loss),
    create: Some(create_loss),
    destroy: Some(destroy_loss),
    loss: Some(loss),
};

unsafe extern "C-unwind" fn check_loss(
    data: *const c_void,
    settings: raw::Text,
    resolved: *const raw::Texts,
    arguments: *const raw::Texts,
    errors: *const raw::Errors,
) -> i32 {
    guarded(errors, || {
        // SAFETY: the host hands back the descriptor's data.
        let config = config::<dyn Loss>(unsafe { entry(data) }, settings)?;
        put(resolved, &config.resolved().to_string());
        for argument in config.build()?.arguments() {
            put(
                arguments,
                match argument {
                    Argument::Tensor(name) => name,
                    Argument::Target => "target",
                    Argument::Contrast => "contrast",
                    Argument::Mix => "mix",
                },
            );
        }
        Ok(())
    })
}

unsafe extern "C-unwind" fn create_loss(
    data: *const c_void,
    settings: raw::Text,
    build: *const raw::Build,
    this: *mut *mut c_void,
    errors: *const raw::Errors,
) -> i32 {
    guarded(errors, || {
        // SAFETY: a structure that is valid for the call.
        log::forward(unsafe { known(build) }.log);
        // SAFETY: the host hands back the descriptor's data.
        let loss: Box<dyn Loss> = config::<dyn Loss>(unsafe { entry(data) }, settings)?.build()?;
        // SAFETY: an out-pointer of the host.
        unsafe { *this = Box::into_raw(Box::new(loss)).cast() };
        Ok(())
    })
}

unsafe extern "C-unwind" fn destroy_loss(this: *mut c_void) {
    // SAFETY: made by `create_loss`, ended once.
    unsafe { destroy::<Box<dyn Loss>>(this) };
}

unsafe extern "C-unwind" fn loss(
    this: *mut c_void,
    inputs: *const raw::Named,
    count: usize,
    value: *mut raw::TensorPtr,
    errors: *const raw::Errors,
) -> i32 {
    guarded(errors, || {
        // SAFETY: our loss; the host's list and tensors are valid for the call.
        let (loss, inputs) = unsafe { (&**this.cast::<Box<dyn Loss>>(), slice(inputs, count)) };
        let mut input = LossInput::default();
        for one in inputs {
            let name = text(one.name);
            // SAFETY: as above.
            let (tensor, weight) = unsafe { (handles::borrow(one.tensor), handles::borrow(one.weight)) };
            input = match (tensor, weight) {
                (Some(labels), Some(shares)) if name == "target" => {
                    input.with("target.labels", labels).with("target.shares", shares)
                }
                (Some(keys), Some(shares)) if name == "contrast" => {
                    input.with("contrast.keys", keys).with("contrast.shares", shares)
                }
                (Some(tensor), _) => input.with(&name, tensor),
                (None, _) => input,
            };
        }
        let result = loss.loss(&input)?;
        // SAFETY: an out-pointer of the host.
        unsafe { *value = handles::give(result) };
        Ok(())
    })
}
