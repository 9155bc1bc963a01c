//! A loss of a library.

use std::ffi::c_void;
use std::rc::Rc;

use admix_torch::{Device, Tensor, handles};

use super::call::Foreign;
use crate::abi::manifest::Functions;
use crate::abi::raw;
use crate::{Argument, Loss, LossInput, Result};

/// A loss of a library.
#[derive(Debug)]
pub(super) struct ForeignLoss {
    pub(super) foreign: Rc<Foreign>,
    pub(super) this: *mut c_void,
    pub(super) arguments: Vec<Argument>,
}

impl Drop for ForeignLoss {
    fn drop(&mut self) {
        if let Functions::Loss(raw::Loss { destroy: Some(destroy), .. }) = self.foreign.plugin.functions {
            // SAFETY: our instance, ended once.
            self.foreign.destroy(|| unsafe { destroy(self.this) });
        }
    }
}

impl Loss for ForeignLoss {
    fn arguments(&self) -> Vec<Argument> {
        self.arguments.clone()
    }

    fn loss(&self, input: &LossInput) -> Result<Tensor> {
        let Functions::Loss(raw::Loss { loss: Some(loss), .. }) = self.foreign.plugin.functions else {
            return Err(self.foreign.error("it has no `loss`"));
        };
        let mut list = Vec::new();
        let mut watched = Vec::new();
        for (name, tensor) in input.tensors() {
            watched.push(tensor);
            match name {
                "target.labels" => {
                    let weight = input.get("target.shares")?;
                    list.push(raw::Named {
                        weight: handles::pointer(weight),
                        ..raw::Named::of("target", tensor)
                    });
                }
                "contrast.keys" => {
                    let weight = input.get("contrast.shares")?;
                    list.push(raw::Named {
                        weight: handles::pointer(weight),
                        ..raw::Named::of("contrast", tensor)
                    });
                }
                "target.shares" | "contrast.shares" => {}
                _ => list.push(raw::Named::of(name, tensor)),
            }
        }
        let device = watched.first().map_or(Device::Cpu, |tensor| tensor.device());
        let mut value = std::ptr::null_mut();
        let outcome = self.foreign.call("loss", device, &watched, |errors| {
            // SAFETY: our instance; list and tensors live for the call.
            unsafe { loss(self.this, list.as_ptr(), list.len(), &mut value, errors) }
        });
        // SAFETY: an owned tensor of the library, or null.
        let value = unsafe { handles::take(value) };
        outcome?;
        let value = value.ok_or_else(|| self.foreign.error("`loss` returned nothing"))?;
        if !value.size().is_empty() || !value.is_floating_point() || value.device() != device {
            return Err(self.foreign.error(format!(
                "`loss` returned {:?} of shape {:?} on {:?}, expected one floating number on {device:?}",
                value.kind(),
                value.size(),
                value.device()
            )));
        }
        Ok(value)
    }
}
