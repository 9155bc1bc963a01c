//! Thread-local modes of libtorch as guards: gradient recording, autocast, and a snapshot of both.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ptr;

use tch::{Device, Kind};

use crate::shim::{self, check};
use crate::{Error, Result};

/// Guards belong to their thread.
type NotSend = PhantomData<*mut ()>;

/// Whether operations on this thread record a graph.
pub fn grad_enabled() -> bool {
    shim::admix_grad_enabled()
}

/// Stops recording graphs on this thread until the guard is dropped.
#[must_use = "gradients come back when the guard is dropped"]
pub fn no_grad() -> GradGuard {
    GradGuard::set(false)
}

/// Records graphs on this thread until the guard is dropped, also inside [`no_grad`].
#[must_use = "the former mode comes back when the guard is dropped"]
pub fn with_grad() -> GradGuard {
    GradGuard::set(true)
}

/// Sets the gradient mode of this thread; restores the former one on drop.
///
/// Autocast's cache of cast weights follows the mode: a weight cast without a graph is never kept, since a
/// later pass with a graph would find it and leave that weight without a gradient.
#[derive(Debug)]
pub struct GradGuard {
    was_enabled: bool,
    was_caching: bool,
    _thread: NotSend,
}

impl GradGuard {
    fn set(enabled: bool) -> Self {
        let guard = GradGuard {
            was_enabled: shim::admix_grad_enabled(),
            was_caching: shim::admix_autocast_cache(),
            _thread: PhantomData,
        };
        shim::admix_set_grad_enabled(enabled);
        shim::admix_set_autocast_cache(enabled);
        guard
    }
}

impl Drop for GradGuard {
    fn drop(&mut self) {
        shim::admix_set_grad_enabled(self.was_enabled);
        shim::admix_set_autocast_cache(self.was_caching);
    }
}

/// Runs matrix products and convolutions in a lower precision, or forbids that, until dropped.
///
/// Guards nest; leaving the outermost one forgets the cast weights, so the region must end before weights
/// change.
#[derive(Debug)]
pub struct Autocast {
    device_type: c_int,
    was_enabled: bool,
    was_dtype: c_int,
    _thread: NotSend,
}

impl Autocast {
    /// Switches autocast on for the device's type, to `kind` (`BFloat16` or `Half`).
    ///
    /// Errors: another `kind`; a device other than CPU and CUDA.
    pub fn enter(device: Device, kind: Kind) -> Result<Autocast> {
        let dtype = match kind {
            Kind::Half => 5,
            Kind::BFloat16 => 15,
            kind => return Err(Error::AutocastKind { kind }),
        };
        Self::set(device, true, dtype)
    }

    /// Switches autocast off for the device's type, for work that must stay in float32.
    ///
    /// Errors: a device other than CPU and CUDA.
    pub fn off(device: Device) -> Result<Autocast> {
        Self::set(device, false, 0)
    }

    fn set(device: Device, enabled: bool, dtype: c_int) -> Result<Autocast> {
        let device_type = match device {
            Device::Cpu => 0,
            Device::Cuda(_) => 1,
            device => return Err(Error::Device { call: "autocast", device }),
        };
        let (mut was_enabled, mut was_dtype) = (false, 0);
        // SAFETY: both out-pointers are valid for the call.
        check(unsafe {
            shim::admix_autocast_enter(device_type, enabled, dtype, &mut was_enabled, &mut was_dtype)
        })?;
        Ok(Autocast { device_type, was_enabled, was_dtype, _thread: PhantomData })
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        // A destructor cannot report; the call fails only for an unknown device type, which `set` refused.
        drop(check(shim::admix_autocast_exit(self.device_type, self.was_enabled, self.was_dtype)));
    }
}

/// A snapshot of this thread's gradient mode, autocast (CPU and CUDA: on or off, dtype, cache, depth) and
/// dispatch keys.
///
/// Dropping it brings all of that back, whatever foreign code did in between, e.g. a plugin that panicked.
#[derive(Debug)]
#[must_use = "the state is restored when this is dropped"]
pub struct ThreadState {
    state: *mut c_void,
}

impl ThreadState {
    /// Takes the snapshot.
    pub fn save() -> ThreadState {
        let mut state = ptr::null_mut();
        // SAFETY: the out-pointer is valid for the call. It fails only without memory, and then `state` stays
        // null.
        drop(check(unsafe { shim::admix_state_save(&mut state) }));
        ThreadState { state }
    }
}

impl Drop for ThreadState {
    fn drop(&mut self) {
        if !self.state.is_null() {
            // SAFETY: `state` came from `admix_state_save` on this thread (raw pointers are not Send) and is
            // used once.
            drop(check(unsafe { shim::admix_state_restore(self.state) }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;
    use tch::Tensor;

    fn matmul_kind() -> Kind {
        let x = Tensor::ones([2, 2], (Kind::Float, Device::Cpu));
        x.matmul(&x).kind()
    }

    #[test]
    fn grad_guards_nest_and_restore() {
        assert!(grad_enabled());
        {
            let _off = no_grad();
            assert!(!grad_enabled());
            {
                let _on = with_grad();
                assert!(grad_enabled());
            }
            assert!(!grad_enabled());
        }
        assert!(grad_enabled());
    }

    #[test]
    fn a_grad_guard_restores_after_a_panic() {
        let outcome = catch_unwind(|| {
            let _off = no_grad();
            std::panic::resume_unwind(Box::new("out"));
        });
        assert!(outcome.is_err() && grad_enabled());
    }

    #[test]
    fn bf16_autocast_changes_what_a_matmul_returns_on_a_cpu() -> Result<()> {
        assert_eq!(matmul_kind(), Kind::Float);
        {
            let _bf16 = Autocast::enter(Device::Cpu, Kind::BFloat16)?;
            assert_eq!(matmul_kind(), Kind::BFloat16);
            {
                let _off = Autocast::off(Device::Cpu)?;
                assert_eq!(matmul_kind(), Kind::Float);
            }
            {
                let _half = Autocast::enter(Device::Cpu, Kind::Half)?;
                assert_eq!(matmul_kind(), Kind::Half);
            }
            assert_eq!(matmul_kind(), Kind::BFloat16);
        }
        assert_eq!(matmul_kind(), Kind::Float);
        Ok(())
    }

    #[test]
    fn autocast_restores_after_a_panic() {
        let outcome = catch_unwind(|| {
            let _bf16 = Autocast::enter(Device::Cpu, Kind::BFloat16);
            std::panic::resume_unwind(Box::new("out"));
        });
        assert!(outcome.is_err());
        assert_eq!(matmul_kind(), Kind::Float);
    }

    #[test]
    fn autocast_refuses_full_precision() {
        let text = Autocast::enter(Device::Cpu, Kind::Float).expect_err("not lower").to_string();
        assert_eq!(text, "autocast runs in BFloat16 or Half, not in Float");
    }

    #[test]
    fn a_weight_used_without_a_graph_first_still_gets_its_gradient_under_autocast() -> Result<()> {
        let weight = Tensor::ones([2, 2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let x = Tensor::ones([2, 2], (Kind::Float, Device::Cpu));
        let loss = {
            let _bf16 = Autocast::enter(Device::Cpu, Kind::BFloat16)?;
            {
                let _quiet = no_grad();
                drop(x.f_matmul(&weight)?);
            }
            x.f_matmul(&weight)?.f_sum(Kind::Float)?
        };
        crate::backward(&loss)?;
        assert!(crate::grad_of(&weight).is_some());
        Ok(())
    }

    #[test]
    fn weights_changed_between_two_autocast_regions_are_cast_anew() -> Result<()> {
        let weight = Tensor::ones([1, 1], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let product = || -> Result<f64> {
            let _bf16 = Autocast::enter(Device::Cpu, Kind::BFloat16)?;
            Ok(weight.f_matmul(&Tensor::ones([1, 1], (Kind::Float, Device::Cpu)))?.double_value(&[0, 0]))
        };
        assert_eq!(product()?, 1.0);
        {
            let _quiet = no_grad();
            drop(weight.shallow_clone().f_fill_(3.0)?);
        }
        assert_eq!(product()?, 3.0);
        Ok(())
    }

    #[test]
    fn a_thread_state_undoes_what_leaked_guards_left_behind() -> Result<()> {
        {
            let _state = ThreadState::save();
            std::mem::forget(no_grad());
            std::mem::forget(Autocast::enter(Device::Cpu, Kind::BFloat16)?);
            std::mem::forget(Autocast::enter(Device::Cuda(0), Kind::Half)?);
            assert!(!grad_enabled());
            assert_eq!(matmul_kind(), Kind::BFloat16);
        }
        assert!(grad_enabled() && shim::admix_autocast_cache());
        assert_eq!(matmul_kind(), Kind::Float);
        Ok(())
    }

    #[test]
    fn a_thread_state_keeps_the_modes_of_its_owner() -> Result<()> {
        let _off = no_grad();
        let _bf16 = Autocast::enter(Device::Cpu, Kind::BFloat16)?;
        {
            let _state = ThreadState::save();
            std::mem::forget(with_grad());
            std::mem::forget(Autocast::off(Device::Cpu)?);
        }
        assert!(!grad_enabled());
        assert_eq!(matmul_kind(), Kind::BFloat16);
        Ok(())
    }
}
