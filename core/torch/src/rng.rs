//! libtorch's default generators and threads. Admix draws from none of them; these calls save, restore and
//! watch them.

use std::ffi::c_int;
use std::ptr;

use tch::{Device, Tensor};

use crate::shim::{self, check, expect_owned, handle};
use crate::{Error, Result};

/// The state of the default CPU generator: uint8 `[bytes]`.
pub fn cpu_rng_state() -> Result<Tensor> {
    let mut state = ptr::null_mut();
    // SAFETY: the out-pointer is valid for the call.
    check(unsafe { shim::admix_cpu_rng_state(&mut state) })?;
    expect_owned(state)
}

/// Brings back a state of [`cpu_rng_state`]. Errors: a tensor that is none.
pub fn set_cpu_rng_state(state: &Tensor) -> Result<()> {
    // SAFETY: the tensor is borrowed for the call.
    check(unsafe { shim::admix_set_cpu_rng_state(handle(state)) })
}

/// A hash of the state of the device's default generator: another value after any draw from it.
///
/// Costs about a microsecond, reads no device memory, and cannot be asked while a CUDA graph is captured.
/// Errors: a CUDA device that is not there; a device other than CPU and CUDA.
pub fn rng_fingerprint(device: Device) -> Result<u64> {
    let index = match device {
        Device::Cpu => -1,
        Device::Cuda(index) => index as c_int,
        device => return Err(Error::Device { call: "rng_fingerprint", device }),
    };
    let mut fingerprint = 0;
    // SAFETY: the out-pointer is valid for the call.
    check(unsafe { shim::admix_rng_fingerprint(index, &mut fingerprint) })?;
    Ok(fingerprint)
}

/// Threads libtorch uses inside one CPU operation; values below 1 count as 1.
pub fn set_threads(n: usize) {
    tch::set_num_threads(i32::try_from(n.max(1)).unwrap_or(i32::MAX));
}

/// The number [`set_threads`] sets.
pub fn threads() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tch::Kind;

    /// The generator is one per process: tests here that compare its states run one at a time, and in a
    /// draw-free window.
    static ALONE: Mutex<()> = Mutex::new(());

    fn draw() -> Tensor {
        Tensor::rand([4], (Kind::Float, Device::Cpu))
    }

    #[test]
    fn a_restored_state_gives_the_same_draws_again() -> Result<()> {
        let _alone = ALONE.lock().expect("no test panicked");
        // Tests of other modules draw at the same time: try until none fell in between.
        for _ in 0..1000 {
            let state = cpu_rng_state()?;
            let first = draw();
            set_cpu_rng_state(&state)?;
            if first.equal(&draw()) {
                return Ok(());
            }
        }
        panic!("the state was restored 1000 times and the draws never came back");
    }

    #[test]
    fn a_draw_changes_the_fingerprint() -> Result<()> {
        let _alone = ALONE.lock().expect("no test panicked");
        let before = rng_fingerprint(Device::Cpu)?;
        drop(draw());
        assert_ne!(before, rng_fingerprint(Device::Cpu)?);
        Ok(())
    }

    #[test]
    fn without_a_draw_the_fingerprint_stays() -> Result<()> {
        let _alone = ALONE.lock().expect("no test panicked");
        for _ in 0..1000 {
            if rng_fingerprint(Device::Cpu)? == rng_fingerprint(Device::Cpu)? {
                return Ok(());
            }
        }
        panic!("the fingerprint never stayed");
    }

    #[test]
    fn a_wrong_state_is_an_error() {
        assert!(set_cpu_rng_state(&Tensor::from_slice(&[1u8, 2, 3])).is_err());
    }

    #[test]
    fn there_is_at_least_one_thread() {
        assert!(threads() >= 1);
    }
}
