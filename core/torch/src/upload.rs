//! From host memory to a device.

use std::ffi::c_int;
use std::ptr;

use tch::{Device, Tensor};

use crate::shim::{self, Fault, Handle, check, expect_owned, handle};
use crate::{Error, Result};

/// A tensor in host memory on a device; the host waits for nothing that the device was asked for. On the CPU it is the
/// tensor itself.
///
/// # Errors
/// A tensor that is on a GPU already, a device that is not there or is neither, or no room on it.
pub fn upload(host: &Tensor, device: Device) -> Result<Tensor> {
    // SAFETY: as `copied` says.
    copied(host, device, |host, index, result| unsafe { shim::admix_upload(host, index, result) })
}

/// As [`upload`], for whole batches: copied on a stream of its own, so that the copy of the next batch runs while the device
/// computes on this one. What is asked for afterwards waits for the copy on the device; the host does not, if the memory is
/// pinned (a [`HostBlock`](crate::HostBlock)), which may be dropped at once.
///
/// # Errors
/// As [`upload`].
pub fn upload_aside(host: &Tensor, device: Device) -> Result<Tensor> {
    // SAFETY: as `copied` says.
    copied(host, device, |host, index, result| unsafe { shim::admix_upload_aside(host, index, result) })
}

/// `copy` is given a borrowed tensor, the number of a CUDA device, and a place for the copy that is valid for the call.
fn copied(
    host: &Tensor,
    device: Device,
    copy: impl FnOnce(Handle, c_int, *mut Handle) -> Fault,
) -> Result<Tensor> {
    if host.device() != Device::Cpu {
        return Err(Error::torch(&format!(
            "a tensor in host memory is copied, not one on {:?}",
            host.device()
        )));
    }
    match device {
        Device::Cpu => Ok(host.shallow_clone()),
        Device::Cuda(index) => {
            let mut result = ptr::null_mut();
            check(copy(handle(host), c_int::try_from(index).unwrap_or(c_int::MAX), &mut result))?;
            expect_owned(result)
        }
        other => Err(Error::torch(&format!("copies go to the CPU and to CUDA devices, not to {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_cpu_a_tensor_is_there_already_and_a_missing_gpu_is_an_error() -> Result<()> {
        let host = Tensor::from_slice(&[3u8, 1, 2]);
        for upload in [upload, upload_aside] {
            assert_eq!(upload(&host, Device::Cpu)?.data_ptr(), host.data_ptr());
            let error = upload(&host, Device::Cuda(usize::MAX)).expect_err("no such device").to_string();
            assert!(!error.contains('\n'), "{error}");
            assert!(upload(&host, Device::Mps).is_err());
        }
        Ok(())
    }
}
