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
    /// From a group of processes.
    #[error(transparent)]
    Group(#[from] crate::group::GroupError),
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
    /// An error from libtorch's message, in a line.
    pub(crate) fn torch(message: &str) -> Self {
        Error::Torch { message: first_words(message) }
    }
}

/// libtorch's message on one line, without the C++ stack that it goes on with. Of memory that was not there, what to do.
pub fn first_words(message: &str) -> String {
    let ends = ["\nException raised from", "frame #0:", "\\nException raised from"];
    let end = ends.iter().filter_map(|end| message.find(end)).min().unwrap_or(message.len());
    let lines: Vec<_> = message[..end].lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let line = lines.join(" ");
    let is_memory = ["can't allocate memory", "out of memory", "std::bad_alloc"];
    if !is_memory.iter().any(|words| line.contains(words)) {
        return line;
    }
    // CUDA's goes on with advice for Python programs.
    let said = line.split(" If reserved but").next().unwrap_or(&line).trim_end_matches(['.', ' ']);
    let said = match said.split_once("you tried to allocate ").and_then(|(_, rest)| rest.split_once(" bytes"))
    {
        Some((bytes, _)) => format!("libtorch asked for {bytes} bytes more"),
        None => said.to_string(),
    };
    format!(
        "there is not enough memory ({said}): take a smaller `batch` or network, or raise the limit (ulimit -v)"
    )
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
    fn memory_that_is_not_there_is_told_in_a_line_with_a_remedy() {
        let host = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to \
                    allocate 324 bytes. Error code 12 (Cannot allocate memory)\nframe #0: c10::ThrowEnforceNotMet";
        let cuda = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 is full. If reserved but unallocated memory is \
                    large try setting PYTORCH_ALLOC_CONF";
        for (message, said) in [
            (host, "libtorch asked for 324 bytes more"),
            (cuda, "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 is full"),
            ("std::bad_alloc", "std::bad_alloc"),
        ] {
            let told = first_words(message);
            assert!(
                told.starts_with(&format!("there is not enough memory ({said}): take a smaller `batch`")),
                "{told}"
            );
        }
    }

    #[test]
    fn a_shim_error_becomes_one_line_without_a_stack() {
        let text = crate::backward(&zeros(&[])).expect_err("no graph").to_string();
        assert!(text.contains("does not require grad"), "{text}");
        assert!(!text.contains('\n') && !text.contains("Exception raised from"), "{text}");
    }
}
