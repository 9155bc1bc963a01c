//! The collectives of a group: by Gloo through host memory, and between GPUs by NCCL.

use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};

use tch::{Device, Tensor};

use super::error::GroupError;
use super::membership::Membership;
use super::store::{Store, milliseconds};
use crate::cuda_object::cuda_object;
use crate::shim::{self, check, expect_owned, handle};
use crate::{Error, Result};

/// What all processes have joined: a backend for tensors in host memory, and one for those of a GPU where the group is on GPUs.
/// The host agrees on what it does without waiting for a device.
#[derive(Debug)]
pub(super) struct Collectives {
    // Closed first: what it closes, it may tell by the host's.
    device: Option<Backend>,
    host: Backend,
}

impl Collectives {
    /// Joins; waits for all.
    pub(super) fn join(store: &Store, member: &Membership) -> Result<Self> {
        let device = match member.device {
            Device::Cuda(index) => Some(Backend::nccl(store, member, index)?),
            _ => None,
        };
        Ok(Self { device, host: Backend::gloo(store, member)? })
    }

    fn of(&self, tensor: &Tensor) -> *mut c_void {
        let device = self.device.as_ref().filter(|_| tensor.device().is_cuda());
        device.unwrap_or(&self.host).0.as_ptr()
    }

    /// Adds up the tensors of all in place, or takes the largest of each value.
    pub(super) fn all_reduce(&self, tensor: &Tensor, largest: bool) -> Result<()> {
        // SAFETY: the group is open; the tensor is borrowed for the call, which ends when its memory is written.
        check(unsafe { shim::admix_group_all_reduce(self.of(tensor), handle(tensor), largest) })
    }

    pub(super) fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<()> {
        // SAFETY: as above.
        check(unsafe { shim::admix_group_broadcast(self.of(tensor), handle(tensor), root as c_int) })
    }

    pub(super) fn all_gather(&self, tensor: &Tensor) -> Result<Tensor> {
        let mut result = ptr::null_mut();
        // SAFETY: as above; the out-pointer is valid for the call.
        check(unsafe { shim::admix_group_all_gather(self.of(tensor), handle(tensor), &mut result) })?;
        expect_owned(result)
    }

    pub(super) fn barrier(&self) -> Result<()> {
        // SAFETY: the group is open.
        check(unsafe { shim::admix_group_barrier(self.host.0.as_ptr()) })
    }

    /// Breaks off what is under way on a GPU, where a process is gone: nothing else would end it.
    pub(super) fn abort(&self) {
        if let Some(device) = &self.device {
            // SAFETY: the group is open. An error changes nothing: it is closed next.
            let _ = check(unsafe { shim::admix_group_abort(device.0.as_ptr()) });
        }
    }
}

/// A c10d backend that all processes have joined.
#[derive(Debug)]
struct Backend(NonNull<c_void>);

// SAFETY: a c10d backend may be used from any thread, from one at a time: no reference to this is shared, as it is not Sync.
unsafe impl Send for Backend {}

impl Backend {
    fn gloo(store: &Store, member: &Membership) -> Result<Self> {
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
        NonNull::new(group).map(Self).ok_or_else(|| Error::torch("no group was joined"))
    }

    fn nccl(store: &Store, member: &Membership, device: usize) -> Result<Self> {
        let needs = |why: String| GroupError::Start(format!("processes on GPUs need NCCL, and {why}"));
        let object = cuda_object().map_err(|error| needs(error.to_string()))?;
        let join = object.nccl_join.ok_or_else(|| {
            needs("libadmix_cuda.so was compiled without it: run `cargo xtask setup --cuda`".into())
        })?;
        let (rank, processes) = (member.rank as c_int, member.processes as c_int);
        let mut group = ptr::null_mut();
        // SAFETY: as above; the store's type is libtorch's own.
        check(unsafe {
            join(store.pointer(), rank, processes, milliseconds(member), device as c_int, &mut group)
        })?;
        NonNull::new(group).map(Self).ok_or_else(|| Error::torch("no group was joined"))
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: joined once, closed once; no call is under way, as each waits for its end.
        unsafe { shim::admix_group_close(self.0.as_ptr()) };
    }
}
