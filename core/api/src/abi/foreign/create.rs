//! Building an instance in a library: the parameters and buffers that it asks the host for, and its log.

use std::ffi::c_void;

use admix_torch::{Device, handles};

use super::call::Foreign;
use crate::abi::manifest::Functions;
use crate::abi::{raw, text};
use crate::{Error, Hints, Init, MixerContext, Path, Result};

/// What `create` may ask the host for.
pub(super) struct Building<'a> {
    pub(super) path: Option<&'a Path>,
    pub(super) label: &'a str,
}

impl Building<'_> {
    fn path(&self) -> Result<&Path> {
        self.path.ok_or_else(|| Error::plugin(self.label.to_string(), "a loss has no parameters of its own"))
    }
}

/// Answers a request of `create`: an error goes back into the library's own sink.
fn answer(errors: *const raw::Errors, outcome: Result<()>) -> i32 {
    let Err(error) = outcome else { return raw::OK };
    let message = error.to_string();
    // SAFETY: a sink of the library, valid for the call.
    unsafe {
        if let Some(errors) = errors.as_ref()
            && let Some(report) = errors.report
        {
            report(errors.host, raw::Text::of(""), raw::Text::of(&message));
        }
    }
    raw::FAILED
}

/// # Safety
/// `shape` points to `dims` numbers.
unsafe fn shape_of<'a>(shape: *const i64, dims: usize) -> Result<&'a [i64]> {
    // SAFETY: by the contract of this function.
    let shape = if shape.is_null() { &[] } else { unsafe { std::slice::from_raw_parts(shape, dims) } };
    if shape.iter().all(|size| *size > 0) {
        return Ok(shape);
    }
    Err(Error::shape("a new tensor", shape.to_vec(), "sizes from 1"))
}

#[allow(clippy::too_many_arguments, reason = "the ABI's signature")]
unsafe extern "C" fn parameter(
    host: *mut c_void,
    name: raw::Text,
    shape: *const i64,
    dims: usize,
    init: u32,
    value: f64,
    decay: u32,
    out: *mut raw::TensorPtr,
    errors: *const raw::Errors,
) -> i32 {
    let make = || -> Result<()> {
        // SAFETY: the `Building` of the `create` that is going on; the library's slices live for the call.
        let (host, shape) = unsafe { (&*host.cast::<Building<'_>>(), shape_of(shape, dims)?) };
        let init = match init {
            0 => Init::Constant(value),
            1 => Init::Normal(value),
            2 if shape.len() >= 2 => Init::HeFanOut,
            3 => Init::Uniform(value),
            other => {
                return Err(Error::range(
                    "a parameter's init",
                    format!("{other} for {} dimensions", shape.len()),
                    "0 constant, 1 normal, 2 He (two dimensions or more), 3 uniform",
                ));
            }
        };
        let tensor = host.path()?.parameter(&text(name), shape, init, Hints { weight_decay: decay != 0 })?;
        // SAFETY: an out-pointer of the library.
        unsafe { *out = handles::give(tensor) };
        Ok(())
    };
    answer(errors, make())
}

unsafe extern "C" fn buffer(
    host: *mut c_void,
    name: raw::Text,
    shape: *const i64,
    dims: usize,
    value: f64,
    out: *mut raw::TensorPtr,
    errors: *const raw::Errors,
) -> i32 {
    let make = || -> Result<()> {
        // SAFETY: as in `parameter`.
        let (host, shape) = unsafe { (&*host.cast::<Building<'_>>(), shape_of(shape, dims)?) };
        let tensor = host.path()?.buffer(&text(name), shape, value)?;
        // SAFETY: an out-pointer of the library.
        unsafe { *out = handles::give(tensor) };
        Ok(())
    };
    answer(errors, make())
}

unsafe extern "C" fn adopt(
    host: *mut c_void,
    name: raw::Text,
    tensor: raw::TensorPtr,
    trained: u32,
    decay: u32,
    errors: *const raw::Errors,
) -> i32 {
    let take_in = || -> Result<()> {
        // SAFETY: as in `parameter`; the tensor is borrowed.
        let (host, tensor) = unsafe { (&*host.cast::<Building<'_>>(), handles::borrow(tensor)) };
        let tensor = tensor.ok_or_else(|| {
            Error::plugin(host.label.to_string(), format!("handed over no tensor as `{}`", text(name)))
        })?;
        let hints = (trained != 0).then_some(Hints { weight_decay: decay != 0 });
        host.path()?.adopt(&text(name), &tensor, hints)
    };
    answer(errors, take_in())
}

unsafe extern "C" fn say(_: *mut c_void, level: i32, message: raw::Text) {
    let message = text(message);
    match level {
        1 => tracing::error!(target: "plugin", "{message}"),
        2 => tracing::warn!(target: "plugin", "{message}"),
        3 => tracing::info!(target: "plugin", "{message}"),
        _ => tracing::debug!(target: "plugin", "{message}"),
    }
}

impl Foreign {
    pub(super) fn create(
        &self,
        settings: &str,
        device: Device,
        host: &mut Building<'_>,
        context: &MixerContext,
    ) -> Result<*mut c_void> {
        if context.mean.len() != context.std.len() {
            let (mean, std) = (context.mean.len(), context.std.len());
            return Err(self.error(format!("it cannot be built for {mean} means and {std} deviations")));
        }
        let (device_type, device_index) = match device {
            Device::Cuda(index) => (1, index as i32),
            _ => (0, -1),
        };
        let build = raw::Build {
            size: size_of::<raw::Build>(),
            host: std::ptr::from_mut(host).cast(),
            feature_channels: context.feature_channels.unwrap_or(0),
            device_type,
            device_index,
            parameter: Some(parameter),
            buffer: Some(buffer),
            adopt: Some(adopt),
            log: raw::Log { host: std::ptr::null_mut(), say: Some(say) },
            mean: context.mean.as_ptr(),
            std: context.std.as_ptr(),
            channels: context.mean.len(),
            classes: context.classes,
        };
        let (create, data) = match &self.plugin.functions {
            Functions::Mixer(mixer) => (mixer.create, self.plugin.data),
            Functions::Loss(loss) => (loss.create, self.plugin.data),
        };
        let mut this = std::ptr::null_mut();
        self.call("create", device, &[], |errors| {
            // SAFETY: the library's function with its own data; `build` lives for the call.
            create.map_or(raw::FAILED, |create| unsafe {
                create(data, raw::Text::of(settings), &build, &mut this, errors)
            })
        })?;
        Ok(this)
    }
}
