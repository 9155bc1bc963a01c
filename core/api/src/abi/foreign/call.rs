//! Calls into a library, watched: what goes wrong there becomes an error with the plugin's name.

use std::ffi::c_void;

use admix_torch::{Device, Tensor, ThreadState, handles, rng_fingerprint, trail};

use crate::abi::manifest::Plugin;
use crate::abi::{raw, text};
use crate::{Error, Result};

/// A plugin of a library.
#[derive(Debug)]
pub(in crate::abi) struct Foreign {
    /// For messages: mixer `grid_mix` (plugins/libgrid.so).
    pub label: String,
    /// What the manifest says.
    pub plugin: Plugin,
}

/// A sink for errors: the last one counts.
#[derive(Debug, Default)]
struct Said {
    setting: String,
    message: String,
}

unsafe extern "C" fn report(host: *mut c_void, setting: raw::Text, message: raw::Text) {
    // SAFETY: the `Said` of the call that is going on.
    let said = unsafe { &mut *host.cast::<Said>() };
    said.setting = text(setting).into_owned();
    // One line, whatever the library says.
    said.message = text(message).lines().next().unwrap_or_default().trim().to_string();
}

impl Foreign {
    /// Ends an instance.
    pub(super) fn destroy(&self, end: impl FnOnce()) {
        let _here = trail::enter(format_args!("`destroy` of {}", self.label));
        let _state = ThreadState::save();
        if let Err(thrown) = admix_torch::caught(end) {
            tracing::error!("{}: `destroy` threw an exception across the boundary: {thrown}", self.label);
        }
    }

    pub(super) fn error(&self, message: impl Into<String>) -> Error {
        Error::plugin(self.label.clone(), message)
    }

    /// Calls a function of the library. `inputs` are the tensors that it is given.
    pub(super) fn call(
        &self,
        what: &str,
        device: Device,
        inputs: &[&Tensor],
        body: impl FnOnce(*const raw::Errors) -> i32,
    ) -> Result<()> {
        let mut said = Said::default();
        let errors = raw::Errors { host: std::ptr::from_mut(&mut said).cast(), report: Some(report) };
        let generators = || -> Result<(u64, u64)> {
            // A GPU's generator tells nothing while a step is captured; the steps before told whether the library draws.
            let own = if device == Device::Cpu { 0 } else { rng_fingerprint(device).unwrap_or(0) };
            Ok((rng_fingerprint(Device::Cpu)?, own))
        };
        let before = generators()?;
        let writes: Vec<i64> = inputs.iter().map(|tensor| handles::writes(tensor)).collect();
        let status = {
            let _here = trail::enter(format_args!("`{what}` of {}", self.label));
            let _state = ThreadState::save();
            admix_torch::caught(|| body(&errors))
        };
        if let Some(stream) = admix_torch::closed_stream() {
            return Err(self.error(format!("`{what}` closed the program's {stream}; leave it open")));
        }
        let status = status.map_err(|thrown| {
            self.error(format!(
                "`{what}` threw an exception across the boundary: {thrown}; catch it there, and report it as an error"
            ))
        })?;
        let Said { setting, message } = said;
        let message = if message.is_empty() { format!("`{what}` failed without a message") } else { message };
        match status {
            raw::OK => {}
            raw::BAD_SETTING if !setting.is_empty() => return Err(Error::Setting { setting, message }),
            _ => return Err(self.error(message)),
        }
        if generators()? != before {
            let remedy = match what {
                "create" => "let the host make and fill parameters",
                _ => "draw in `plan`, from the draws it is given",
            };
            return Err(self.error(format!(
                "`{what}` drew from libtorch's global generator, which no seed of a recipe reaches; {remedy}"
            )));
        }
        if inputs.iter().zip(writes).any(|(tensor, before)| handles::writes(tensor) != before) {
            return Err(
                self.error(format!("`{what}` wrote into a tensor that it was given; work on a copy of it"))
            );
        }
        Ok(())
    }
}

impl raw::Named {
    /// A tensor of the host, borrowed for a call.
    pub(super) fn of(name: &str, tensor: &Tensor) -> Self {
        let tensor = handles::pointer(tensor);
        Self { name: raw::Text::of(name), tensor, weight: std::ptr::null_mut() }
    }
}
