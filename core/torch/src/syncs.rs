//! Counting what makes the host wait for a device.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr;

use crate::graphs::FailOnSyncs;
use crate::shim::{self, check, take_text};

/// Counts, while it lives, operations that make the host wait for a device or read values from it.
///
/// It counts by name, so a CPU run shows what a GPU run would wait for: `item` and all that call it,
/// `is_nonzero`, `equal`, `allclose`, `nonzero`, `masked_select`, boolean indexing, the `unique` family,
/// `bincount`, and blocking copies between devices. A counted operation counts once, whatever it calls.
/// Scalars that libtorch's CPU kernels read inside this crate's fused optimisers are not counted: on CUDA the
/// device reads them. Follows this thread and its backward passes; nests. It does not see copies out of a CPU
/// tensor, such as tch's `Vec::try_from(&tensor)`, which on CUDA is a counted copy.
#[derive(Debug)]
pub struct SyncCounter {
    /// Null if counting could not be started (out of memory).
    session: *mut c_void,
}

impl SyncCounter {
    /// Starts counting on this thread.
    pub fn start() -> SyncCounter {
        let mut session = ptr::null_mut();
        // SAFETY: the out-pointer is valid for the call; on an error `session` stays null.
        drop(check(unsafe { shim::admix_syncs_start(&mut session) }));
        SyncCounter { session }
    }

    /// How many such operations ran since the start, without those [`apart`].
    pub fn count(&self) -> u64 {
        if self.session.is_null() {
            return 0;
        }
        // SAFETY: `session` lives until drop.
        unsafe { shim::admix_syncs_count(self.session) }
    }

    /// How many of them ran in work that may wait: see [`apart`].
    pub fn count_apart(&self) -> u64 {
        if self.session.is_null() {
            return 0;
        }
        // SAFETY: `session` lives until drop.
        unsafe { shim::admix_syncs_apart(self.session) }
    }

    /// The names of those that [`count`](Self::count) counts in order, such as `aten::item`; a name as often as it ran.
    pub fn names(&self) -> Vec<String> {
        if self.session.is_null() {
            return Vec::new();
        }
        let mut names = ptr::null_mut();
        // SAFETY: `session` lives until drop; the out-pointer is valid; on an error `names` stays null.
        drop(check(unsafe { shim::admix_syncs_names(self.session, &mut names) }));
        take_text(names).lines().map(str::to_owned).collect()
    }
}

/// Work of this thread that may wait for the device, such as a solver on the host, until dropped: see [`apart`].
#[derive(Debug)]
pub struct Apart {
    /// Waiting was to fail before.
    failing: bool,
    _thread: PhantomData<*mut ()>,
}

/// Counters count what follows apart, until the guard is dropped, and [`FailOnSyncs`] lets it wait. Costs next to nothing.
#[must_use = "what follows is counted as before when the guard is dropped"]
pub fn apart() -> Apart {
    shim::admix_set_apart(1);
    Apart { failing: FailOnSyncs::pause(), _thread: PhantomData }
}

impl Drop for Apart {
    fn drop(&mut self) {
        shim::admix_set_apart(-1);
        if self.failing {
            FailOnSyncs::go_on();
        }
    }
}

impl Drop for SyncCounter {
    fn drop(&mut self) {
        if !self.session.is_null() {
            // SAFETY: `session` came from `admix_syncs_start` on this thread (raw pointers are not Send) and
            // is used last here.
            drop(check(unsafe { shim::admix_syncs_stop(self.session) }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AdamWOptions, Result, SgdOptions, ema, fused_adamw, fused_sgd, grad_norm, nonfinite, scalar,
    };
    use tch::{Device, Kind, Tensor};

    fn ones() -> Tensor {
        Tensor::ones([4], (Kind::Float, Device::Cpu))
    }

    fn read(x: &Tensor) {
        assert!(x.double_value(&[0]).is_finite());
    }

    #[test]
    fn a_value_read_by_the_host_counts_once() {
        let x = ones();
        let syncs = SyncCounter::start();
        read(&x);
        assert_eq!(syncs.names(), ["aten::item"]);
        assert_eq!(syncs.count(), 1);
    }

    #[test]
    fn arithmetic_does_not_count() {
        let x = ones();
        let syncs = SyncCounter::start();
        drop((&x + &x).sum(Kind::Float));
        assert_eq!(syncs.count(), 0);
    }

    #[test]
    fn data_dependent_shapes_count_once_each() {
        let x = ones();
        let syncs = SyncCounter::start();
        drop(x.nonzero());
        drop(x.masked_select(&x.gt(0.5)));
        drop(x.index(&[Some(x.gt(0.5))]));
        assert!(x.equal(&x));
        let names = ["aten::nonzero", "aten::masked_select", "aten::nonzero", "aten::equal"];
        assert_eq!(syncs.names(), names);
    }

    #[test]
    fn a_whole_update_does_not_count() -> Result<()> {
        let (params, grads, state) = ([ones()], [ones()], [ones()]);
        let (moments, steps) = ([ones()], [scalar(0.0, Device::Cpu)]);
        let (lr, flag) = (scalar(0.1, Device::Cpu), scalar(0.0, Device::Cpu));
        let sgd = SgdOptions { momentum: 0.9, weight_decay: 0.1, nesterov: true };
        let trust = crate::TrustOptions { trust: 0.001, weight_decay: 0.1, eps: 1e-8 };
        let adamw = AdamWOptions { betas: (0.9, 0.99), eps: 1e-8, weight_decay: 0.1 };

        let syncs = SyncCounter::start();
        nonfinite(&grads, &flag)?;
        drop(grad_norm(&grads)?);
        fused_sgd(&params, &grads, &state, &sgd, &lr, Some(&flag))?;
        drop(crate::trust_scaled(&params, &grads, &trust)?);
        fused_adamw(&params, &grads, &state, &moments, &steps, &adamw, &lr, Some(&flag))?;
        ema(&params, &grads, &lr, Some(&flag))?;
        crate::copy_where(&params, &grads, &flag)?;
        assert_eq!(syncs.names(), Vec::<String>::new());
        read(&params[0]);
        assert_eq!(syncs.count(), 1, "counting goes on after the fused calls");
        Ok(())
    }

    #[test]
    fn a_backward_pass_is_watched_but_clean() -> Result<()> {
        let x = ones().set_requires_grad(true);
        let syncs = SyncCounter::start();
        crate::backward(&(&x * &x).sum(Kind::Float))?;
        assert_eq!(syncs.count(), 0);
        Ok(())
    }

    #[test]
    fn counting_goes_on_after_a_counted_operation_failed() {
        let x = ones();
        let syncs = SyncCounter::start();
        assert!(x.f_masked_select(&ones()).is_err(), "a mask is boolean");
        assert!(x.f_is_nonzero().is_err(), "four values are not one");
        let failed = syncs.count();
        read(&x);
        assert_eq!(syncs.count(), failed + 1);
    }

    #[test]
    fn counters_nest_and_stop() {
        let x = ones();
        let outer = SyncCounter::start();
        {
            let inner = SyncCounter::start();
            read(&x);
            assert_eq!(inner.count(), 1);
        }
        read(&x);
        assert_eq!(outer.count(), 2);
        drop(outer);
        let fresh = SyncCounter::start();
        assert_eq!(fresh.count(), 0);
    }

    #[test]
    fn work_that_may_wait_is_counted_apart() {
        let x = ones();
        let syncs = SyncCounter::start();
        {
            let _outer = apart();
            read(&x);
            drop(apart());
            read(&x);
        }
        read(&x);
        assert_eq!((syncs.count(), syncs.count_apart(), syncs.names().len()), (1, 2, 1));
    }

    #[test]
    fn work_that_may_wait_does_not_fail_under_the_watch_of_cuda() {
        // Without the object there is no watch, and nothing is to be paused.
        let guard = FailOnSyncs::start();
        assert!(FailOnSyncs::start().is_err(), "there is one at a time");
        {
            let outer = apart();
            let inner = apart();
            assert_eq!((outer.failing, inner.failing), (guard.is_ok(), guard.is_ok()));
        }
        drop(guard);
        assert!(!apart().failing);
    }

    #[test]
    fn another_thread_is_another_count() {
        let syncs = SyncCounter::start();
        let read = std::thread::spawn(|| ones().double_value(&[0])).join();
        assert_eq!((read.ok(), syncs.count()), (Some(1.0), 0));
    }
}
