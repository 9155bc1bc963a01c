//! How a mix of a library mixes maps.

use std::ffi::c_void;
use std::rc::Rc;

use admix_torch::{Device, Tensor, handles};

use super::call::Foreign;
use crate::Result;
use crate::abi::raw;

/// What a library makes of maps, with what it has kept for that.
#[derive(Debug)]
pub(super) struct ForeignMap {
    foreign: Rc<Foreign>,
    state: *mut c_void,
    mix: raw::MixMap,
    free: Option<raw::Destroy>,
}

impl ForeignMap {
    /// Takes over what the library gave; `None` where it gave nothing.
    ///
    /// # Safety
    /// The state is in no other hands, and goes with the functions beside it.
    pub(super) unsafe fn take(foreign: &Rc<Foreign>, out: &raw::Mixed) -> Option<Self> {
        let mix = out.mix_map?;
        Some(Self { foreign: foreign.clone(), state: out.map, mix, free: out.free_map })
    }

    /// The mix of maps `[N, D, h, w]`.
    ///
    /// # Errors
    /// The library refused, or gave nothing.
    pub(super) fn mix(&self, device: Device, own: &Tensor, partners: &Tensor) -> Result<Tensor> {
        let mut out = std::ptr::null_mut();
        let given = [handles::pointer(own), handles::pointer(partners)];
        let outcome = self.foreign.call("mix_map", device, &[own, partners], |errors| {
            // SAFETY: the library's function with its own state; the tensors live for the call.
            unsafe { (self.mix)(self.state, given[0], given[1], &mut out, errors) }
        });
        // SAFETY: an owned tensor of the library, or null.
        let mixed = unsafe { handles::take(out) };
        outcome?;
        mixed.ok_or_else(|| self.foreign.error("`mix_map` gave no map"))
    }
}

impl Drop for ForeignMap {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: the library's state, ended once.
            self.foreign.destroy(|| unsafe { free(self.state) });
        }
    }
}
