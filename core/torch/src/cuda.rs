//! Opening libtorch's CUDA part at run time: one binary, linked to the CPU part only, for machines with and
//! without a GPU.

use std::ffi::{CString, c_int};
use std::path::{Path, PathBuf};
use std::ptr;

use tch::Device;

use crate::cuda_state::CudaState;
use crate::shim::{self, check, take_text};
use crate::{Error, Result};

/// What a run wants from CUDA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing.
    Cpu,
    /// A GPU if there is one.
    Auto,
    /// A GPU, or an error.
    Cuda,
}

/// Loads libtorch's CUDA part if it is wanted and this machine has a driver.
///
/// Must run before any other libtorch call of the process, since libtorch asks once and for all whether CUDA
/// is there. A later call is harmless but comes too late.
///
/// Errors: the library is there but does not load; [`Wanted::Cuda`] and no GPU can be used.
pub fn open_cuda(wanted: Wanted) -> Result<CudaState> {
    let state = match wanted {
        Wanted::Cpu => CudaState::Cpu,
        Wanted::Auto | Wanted::Cuda => open_in(&libtorch_folder()?)?,
    };
    match state {
        CudaState::Opened { devices: 1.. } => Ok(state),
        state if wanted == Wanted::Cuda => Err(Error::NoCuda { state }),
        state => Ok(state),
    }
}

fn open_in(folder: &Path) -> Result<CudaState> {
    if !shim::admix_has_cuda_driver() {
        return Ok(CudaState::NoDriver);
    }
    let path = folder.join("libtorch_cuda.so");
    if !path.exists() {
        return Ok(CudaState::NoLibrary { looked_in: folder.to_path_buf() });
    }
    open_library(&path)?;
    Ok(CudaState::Opened { devices: usize::try_from(tch::Cuda::device_count()).unwrap_or(0) })
}

fn open_library(path: &Path) -> Result<()> {
    let fail = |reason: String| Error::OpenCuda { path: path.to_path_buf(), reason };
    let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|error| fail(error.to_string()))?;
    // SAFETY: `name` is NUL-terminated and lives for the call. The library stays open for the life of the
    // process.
    check(unsafe { shim::admix_open_library(name.as_ptr()) }).map_err(|error| fail(error.to_string()))
}

/// Where libtorch's CPU part was loaded from.
pub(crate) fn libtorch_folder() -> Result<PathBuf> {
    let mut folder = ptr::null_mut();
    // SAFETY: the out-pointer is valid for the call, which hands over a text.
    check(unsafe { shim::admix_libtorch_folder(&mut folder) })?;
    Ok(PathBuf::from(take_text(folder)))
}

/// The most memory libtorch had in use on a CUDA device at once, in bytes, since the start or
/// [`reset_cuda_peak`].
///
/// `None` for other devices, and before the first allocation on CUDA. Read from the allocator's books: no
/// sync.
pub fn cuda_peak_bytes(device: Device) -> Option<u64> {
    let Device::Cuda(index) = device else { return None };
    let mut bytes = -1;
    // SAFETY: the out-pointer is valid for the call.
    check(unsafe { shim::admix_cuda_peak_bytes(index as c_int, &mut bytes) }).ok()?;
    u64::try_from(bytes).ok()
}

/// Starts [`cuda_peak_bytes`] anew from what is in use now; nothing happens for other devices.
///
/// Errors: a CUDA device that is not there.
pub fn reset_cuda_peak(device: Device) -> Result<()> {
    match device {
        Device::Cuda(index) => check(shim::admix_reset_cuda_peak(index as c_int)),
        _ => Ok(()),
    }
}

/// Waits until a CUDA device has done everything it was asked for; nothing happens for other devices.
///
/// For measuring: a training step never calls it. Errors: a CUDA device that is not there, and errors of the work that
/// was waited for.
pub fn synchronize(device: Device) -> Result<()> {
    match device {
        Device::Cuda(index) => check(shim::admix_synchronize(index as c_int)),
        _ => Ok(()),
    }
}

/// Whether float32 products and convolutions on CUDA may round what they multiply to 10 bits of mantissa (TF32), in this
/// process from now on. libtorch's own default is yes for convolutions, no for products.
///
/// Errors: libtorch refused.
pub fn set_tf32(allowed: bool) -> Result<()> {
    check(shim::admix_set_tf32(allowed))
}

/// Whether both may.
///
/// Errors: libtorch refused.
pub fn tf32() -> Result<bool> {
    let mut allowed = false;
    // SAFETY: the out-pointer is valid for the call.
    check(unsafe { shim::admix_tf32(&mut allowed) })?;
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_on_the_cpu_opens_nothing() -> Result<()> {
        assert_eq!(open_cuda(Wanted::Cpu)?, CudaState::Cpu);
        Ok(())
    }

    #[test]
    fn libtorch_is_found_where_it_was_loaded_from() -> Result<()> {
        assert!(libtorch_folder()?.join("libtorch_cpu.so").exists());
        Ok(())
    }

    #[test]
    fn a_cpu_has_nothing_to_wait_for_and_a_missing_gpu_is_an_error() {
        assert!(synchronize(Device::Cpu).is_ok());
        assert!(synchronize(Device::Cuda(1 << 6)).is_err());
    }

    #[test]
    fn tf32_is_allowed_for_products_and_convolutions_together() -> Result<()> {
        set_tf32(true)?;
        assert!(tf32()?);
        set_tf32(false)?;
        assert!(!tf32()?);
        Ok(())
    }

    #[test]
    fn a_missing_library_is_told_with_its_remedy() {
        let state = CudaState::NoLibrary { looked_in: "/opt/torch/lib".into() };
        let text = Error::NoCuda { state }.to_string();
        assert_eq!(
            text,
            "CUDA was asked for, but libtorch has no CUDA part in /opt/torch/lib: get it with `cargo xtask setup --cuda`"
        );
    }

    #[test]
    fn a_library_that_does_not_load_is_named() {
        let text = open_library(Path::new("/nowhere/libtorch_cuda.so")).expect_err("no file").to_string();
        assert!(text.starts_with("cannot open /nowhere/libtorch_cuda.so: "), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }

    #[test]
    fn the_cpu_has_no_cuda_peak() -> Result<()> {
        assert_eq!(cuda_peak_bytes(Device::Cpu), None);
        reset_cuda_peak(Device::Cpu)
    }

    #[test]
    fn a_machine_without_a_driver_says_so_or_finds_its_gpu() {
        match open_cuda(Wanted::Cuda) {
            Ok(state) => assert!(matches!(state, CudaState::Opened { devices: 1.. })),
            Err(error) => assert!(error.to_string().contains("cargo xtask setup --cuda"), "{error}"),
        }
    }
}
