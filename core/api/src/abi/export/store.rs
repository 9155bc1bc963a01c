//! The host's parameters and buffers, as a store that a mixer builds itself in.

use std::cell::RefCell;
use std::ffi::c_void;
use std::rc::Rc;

use admix_torch::{Device, Tensor, handles};

use crate::abi::{raw, text};
use crate::params::HostStore;
use crate::{Error, Hints, Init, Result, Store};

/// The host's store, as long as `create` runs.
pub(super) fn store(build: raw::Build) -> Store {
    Store::hosted(device(&build), Rc::new(Hosted { build, errors: RefCell::default() }))
}

fn device(build: &raw::Build) -> Device {
    if build.device_type == 1 { Device::Cuda(build.device_index.max(0) as usize) } else { Device::Cpu }
}

/// The host's store, as long as `create` runs.
#[derive(Debug)]
struct Hosted {
    build: raw::Build,
    errors: RefCell<String>,
}

impl Hosted {
    fn call(&self, body: impl FnOnce(*const raw::Errors) -> i32) -> Result<()> {
        unsafe extern "C" fn report(host: *mut c_void, _: raw::Text, message: raw::Text) {
            // SAFETY: the cell below, valid for the call.
            unsafe { &*host.cast::<RefCell<String>>() }.replace(text(message).into_owned());
        }
        let errors =
            raw::Errors { host: std::ptr::from_ref(&self.errors).cast_mut().cast(), report: Some(report) };
        if body(&errors) == raw::OK {
            return Ok(());
        }
        Err(Error::plugin("host", self.errors.take()))
    }

    fn made(&self, tensor: raw::TensorPtr) -> Result<Tensor> {
        // SAFETY: an owned tensor of the host.
        unsafe { handles::take(tensor) }.ok_or_else(|| Error::plugin("host", "made no tensor"))
    }
}

impl HostStore for Hosted {
    fn parameter(&self, name: &str, shape: &[i64], init: Init, hints: &Hints) -> Result<Tensor> {
        let (init, value) = match init {
            Init::Constant(value) => (0, value),
            Init::Normal(std) => (1, std),
            Init::HeFanOut => (2, 0.0),
            Init::Uniform(bound) => (3, bound),
        };
        let mut out = std::ptr::null_mut();
        let Some(make) = self.build.parameter else { return self.made(out) };
        // SAFETY: the host's function with its own pointer, during `create`.
        self.call(|errors| unsafe {
            let decay = hints.weight_decay.into();
            make(
                self.build.host,
                raw::Text::of(name),
                shape.as_ptr(),
                shape.len(),
                init,
                value,
                decay,
                &mut out,
                errors,
            )
        })?;
        self.made(out)
    }

    fn buffer(&self, name: &str, shape: &[i64], value: f64) -> Result<Tensor> {
        let mut out = std::ptr::null_mut();
        let Some(make) = self.build.buffer else { return self.made(out) };
        // SAFETY: the host's function with its own pointer, during `create`.
        self.call(|errors| unsafe {
            make(self.build.host, raw::Text::of(name), shape.as_ptr(), shape.len(), value, &mut out, errors)
        })?;
        self.made(out)
    }

    fn adopt(&self, name: &str, tensor: &Tensor, hints: Option<&Hints>) -> Result<()> {
        let Some(adopt) = self.build.adopt else { return self.made(std::ptr::null_mut()).map(drop) };
        // SAFETY: the host's function with its own pointer, during `create`; the tensor is borrowed.
        self.call(|errors| unsafe {
            let decay = hints.is_some_and(|hints| hints.weight_decay).into();
            let trained = hints.is_some().into();
            adopt(self.build.host, raw::Text::of(name), handles::pointer(tensor), trained, decay, errors)
        })
    }
}
