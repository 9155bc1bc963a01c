//! Batches on their way from host memory to a device.

use std::ffi::c_int;
use std::ptr;

use tch::{Device, Tensor};

use crate::shim::{self, check, expect_owned, handle};
use crate::{Error, Result};

/// A tensor in host memory on a device. On the CPU it is the tensor itself.
///
/// To a CUDA device it is copied on a stream of its own, so that the copy of the next batch runs while the device computes
/// on this one. What is asked for afterwards waits for the copy on the device; the host waits for nothing if the memory is
/// pinned (a [`HostBlock`](crate::HostBlock)), which may be dropped at once.
///
/// # Errors
/// A tensor that is on a GPU already, a device that is not there or is neither, or no room on it.
pub fn upload_aside(host: &Tensor, device: Device) -> Result<Tensor> {
    if host.device() != Device::Cpu {
        return Err(Error::torch(&format!(
            "a tensor in host memory is copied, not one on {:?}",
            host.device()
        )));
    }
    match device {
        Device::Cpu => Ok(host.shallow_clone()),
        Device::Cuda(index) => {
            let index = c_int::try_from(index).unwrap_or(c_int::MAX);
            let mut result = ptr::null_mut();
            // SAFETY: the tensor is borrowed and the out-pointer valid for the call.
            check(unsafe { shim::admix_upload_aside(handle(host), index, &mut result) })?;
            expect_owned(result)
        }
        other => Err(Error::torch(&format!("copies go to the CPU and to CUDA devices, not to {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_cpu_a_batch_is_there_already_and_a_missing_gpu_is_an_error() -> Result<()> {
        let host = Tensor::from_slice(&[3u8, 1, 2]);
        assert_eq!(upload_aside(&host, Device::Cpu)?.data_ptr(), host.data_ptr());
        let error = upload_aside(&host, Device::Cuda(usize::MAX)).expect_err("no such device").to_string();
        assert!(!error.contains('\n'), "{error}");
        assert!(upload_aside(&host, Device::Mps).is_err());
        Ok(())
    }
}
