//! Errors of this crate: one line each, without C++ stacks.

use crate::cuda_state::CudaState;

/// What went wrong in libtorch or in opening it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// libtorch refused a call; its first message, on one line.
    #[error("{message}")]
    Torch {
        /// libtorch's own words.
        message: String,
    },
    /// A device type this crate has no call for (anything but CPU and CUDA).
    #[error("{call} works on cpu and cuda, not on {device:?}")]
    Device {
        /// The function that was called.
        call: &'static str,
        /// The device it was called with.
        device: tch::Device,
    },
    /// Autocast to a dtype that is no lower-precision float.
    #[error("autocast runs in BFloat16 or Half, not in {kind:?}")]
    AutocastKind {
        /// The dtype asked for.
        kind: tch::Kind,
    },
    /// CUDA was demanded and cannot be had.
    #[error("CUDA was asked for, but {state}")]
    NoCuda {
        /// What is missing, with the remedy.
        state: CudaState,
    },
    /// libtorch's CUDA library is there but does not load.
    #[error("cannot open {path}: {reason}; reinstall it with `cargo xtask setup --cuda`")]
    OpenCuda {
        /// The library.
        path: std::path::PathBuf,
        /// The loader's words.
        reason: String,
    },
    /// The shared object with the calls of CUDA graphs is missing, or cannot be used.
    #[error(
        "CUDA graphs need an object that is not there or cannot be used: {}{reason}; make it with `cargo xtask setup --cuda`, \
         or name it in ADMIX_CUDA_OBJECT",
        if path.as_os_str().is_empty() { String::new() } else { format!("{}: ", path.display()) }
    )]
    CudaObject {
        /// The object; empty if none was found.
        path: std::path::PathBuf,
        /// Why not.
        reason: String,
    },
    /// A figure of the operating system could not be read.
    #[error("cannot read {field} from /proc/self/status: {reason}")]
    ProcStatus {
        /// The line looked for.
        field: &'static str,
        /// Why not.
        reason: String,
    },
}

/// The result of every fallible call here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error from libtorch's message, cut before its C++ stack and put on one line.
    pub(crate) fn torch(message: &str) -> Self {
        let message = message.split("\nException raised from").next().unwrap_or_default();
        let lines: Vec<_> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        Error::Torch { message: lines.join(" ") }
    }
}

impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Self {
        match error {
            tch::TchError::Torch(message) => Error::torch(&message),
            other => Error::torch(&other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, Tensor};

    fn zeros(shape: &[i64]) -> Tensor {
        Tensor::zeros(shape, (Kind::Float, Device::Cpu))
    }

    #[test]
    fn a_tch_error_becomes_one_line_without_a_stack() {
        let error = zeros(&[2, 3]).f_matmul(&zeros(&[2, 3])).map_err(Error::from).expect_err("shapes differ");
        let text = error.to_string();
        assert!(text.contains("mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"), "{text}");
        assert!(!text.contains('\n') && !text.contains("Exception raised from"), "{text}");
    }

    #[test]
    fn a_shim_error_becomes_one_line_without_a_stack() {
        let text = crate::backward(&zeros(&[])).expect_err("no graph").to_string();
        assert!(text.contains("does not require grad"), "{text}");
        assert!(!text.contains('\n') && !text.contains("Exception raised from"), "{text}");
    }
}
