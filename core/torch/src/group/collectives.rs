//! The collectives of one backend, tensor by tensor.

use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};

use tch::Tensor;

use super::membership::Membership;
use super::store::{Store, milliseconds};
use crate::shim::{self, check, expect_owned, handle};
use crate::{Error, Result};

/// A c10d backend that all processes have joined.
#[derive(Debug)]
pub(super) struct Collectives(NonNull<c_void>);

// SAFETY: a c10d backend may be used from any thread, from one at a time: no reference to this is shared, as it is not Sync.
unsafe impl Send for Collectives {}

impl Collectives {
    /// Joins by Gloo; waits for all.
    pub(super) fn gloo(store: &Store, member: &Membership) -> Result<Self> {
        let mut group = ptr::null_mut();
        // SAFETY: the store is open, and c10d keeps its own reference to it; the out-pointer is valid for the call.
        check(unsafe {
            shim::admix_gloo_join(
                store.pointer(),
                member.rank as c_int,
                member.processes as c_int,
                milliseconds(member),
                member.on_loopback(),
                &mut group,
            )
        })?;
        NonNull::new(group).map(Collectives).ok_or_else(|| Error::torch("no group was joined"))
    }

    /// Adds up the tensors of all in place, or takes the largest of each value.
    pub(super) fn all_reduce(&self, tensor: &Tensor, largest: bool) -> Result<()> {
        // SAFETY: the group is open; the tensor is borrowed for the call, which ends when its memory is written.
        check(unsafe { shim::admix_group_all_reduce(self.0.as_ptr(), handle(tensor), largest) })
    }

    pub(super) fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<()> {
        // SAFETY: as above.
        check(unsafe { shim::admix_group_broadcast(self.0.as_ptr(), handle(tensor), root as c_int) })
    }

    pub(super) fn all_gather(&self, tensor: &Tensor) -> Result<Tensor> {
        let mut result = ptr::null_mut();
        // SAFETY: as above; the out-pointer is valid for the call.
        check(unsafe { shim::admix_group_all_gather(self.0.as_ptr(), handle(tensor), &mut result) })?;
        expect_owned(result)
    }

    pub(super) fn barrier(&self) -> Result<()> {
        // SAFETY: the group is open.
        check(unsafe { shim::admix_group_barrier(self.0.as_ptr()) })
    }
}

impl Drop for Collectives {
    fn drop(&mut self) {
        // SAFETY: joined by `gloo`, closed once; no call is under way, as each waits for its end.
        unsafe { shim::admix_group_close(self.0.as_ptr()) };
    }
}
