//! CUDA graphs: work of the device that is captured once and done again with one call; and watching the device.
//!
//! The calls live in a shared object of their own (`cuda/graphs.cpp`). Where it is missing, opening says so.

use std::ffi::{c_int, c_void};
use std::ptr;

use crate::cuda_object::{CudaObject, cuda_object};
use crate::shim::check;
use crate::{Error, Result};

/// A captured graph of a [`CudaGraphs`], or of another recorder of the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GraphId(pub usize);

/// The captured graphs of one CUDA device, which share their memory.
///
/// Graphs of one object are replayed one after the other, on this thread's current stream. What a graph leaves in its
/// own memory is written over by the next one: copy it first. Inputs and state must lie outside, made before.
#[derive(Debug)]
pub struct CudaGraphs {
    object: &'static CudaObject,
    /// Owned.
    handle: *mut c_void,
    /// Owned.
    graphs: Vec<*mut c_void>,
}

impl CudaGraphs {
    /// No graphs yet, of the device of this number.
    ///
    /// Errors: the shared object is missing or does not load; there is no such device.
    pub fn open(device: usize) -> Result<Self> {
        let object = cuda_object()?;
        let mut handle = ptr::null_mut();
        // SAFETY: the out-pointer is valid for the call.
        check(unsafe { (object.graphs_new)(number(device), &mut handle) })?;
        Ok(Self { object, handle, graphs: Vec::new() })
    }

    /// Captures what `work` asks of the device: nothing of it is executed. `work` runs on the host in full, and must
    /// have run before, so that libraries have made their choices.
    ///
    /// What it makes lies in the memory of the graphs. The device is waited for once, before.
    ///
    /// Errors: those of `work`; something that cannot be captured, such as waiting for the device. The capture has ended then.
    pub fn capture<E: From<Error>>(&mut self, work: impl FnOnce() -> Result<(), E>) -> Result<GraphId, E> {
        // SAFETY: `handle` lives until drop.
        check(unsafe { (self.object.capture_begin)(self.handle) })?;
        let mut open = Open { graphs: self, ended: false };
        work()?;
        open.ended = true;
        let mut graph = ptr::null_mut();
        // SAFETY: `handle` lives until drop; the out-pointer is valid for the call. After an error no capture is open.
        check(unsafe { (open.graphs.object.capture_end)(open.graphs.handle, &mut graph) })?;
        open.graphs.graphs.push(graph);
        Ok(GraphId(open.graphs.graphs.len() - 1))
    }

    /// Does the work of a graph again, behind what was asked of the device before. Does not wait for it.
    ///
    /// Errors: no such graph; CUDA refused.
    pub fn replay(&self, graph: GraphId) -> Result<()> {
        let graph = self.graphs.get(graph.0).ok_or_else(|| Error::torch("no such graph was captured"))?;
        // SAFETY: a graph lives until drop.
        check(unsafe { (self.object.graph_replay)(*graph) })
    }
}

impl Drop for CudaGraphs {
    fn drop(&mut self) {
        for graph in self.graphs.drain(..) {
            // SAFETY: it came from `capture_end`, and is used last here.
            unsafe { (self.object.graph_free)(graph) };
        }
        // SAFETY: it came from `graphs_new`, and is used last here.
        unsafe { (self.object.graphs_free)(self.handle) };
    }
}

/// A capture that is going on: ends with its owner, by an error or a panic too.
struct Open<'a> {
    graphs: &'a mut CudaGraphs,
    ended: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // SAFETY: `handle` lives as long as its owner, which is borrowed.
            unsafe { (self.graphs.object.capture_abandon)(self.graphs.handle) };
        }
    }
}

/// Measures time on a CUDA device between two places of this thread's current stream.
#[derive(Debug)]
pub struct DeviceTimer {
    object: &'static CudaObject,
    /// Owned.
    handle: *mut c_void,
}

impl DeviceTimer {
    /// A timer of the current device.
    ///
    /// Errors: the shared object is missing or does not load; CUDA refused.
    pub fn new() -> Result<Self> {
        let object = cuda_object()?;
        let mut handle = ptr::null_mut();
        // SAFETY: the out-pointer is valid for the call.
        check(unsafe { (object.timer_new)(&mut handle) })?;
        Ok(Self { object, handle })
    }

    /// From here.
    ///
    /// Errors: CUDA refused.
    pub fn begin(&self) -> Result<()> {
        // SAFETY: `handle` lives until drop.
        check(unsafe { (self.object.timer_begin)(self.handle) })
    }

    /// To here.
    ///
    /// Errors: CUDA refused.
    pub fn end(&self) -> Result<()> {
        // SAFETY: `handle` lives until drop.
        check(unsafe { (self.object.timer_end)(self.handle) })
    }

    /// Milliseconds between the two. Waits until the device has passed the second.
    ///
    /// Errors: the device has not been told both places; CUDA refused.
    pub fn milliseconds(&self) -> Result<f32> {
        let mut ms = 0.0;
        // SAFETY: `handle` lives until drop; the out-pointer is valid for the call.
        check(unsafe { (self.object.timer_ms)(self.handle, &mut ms) })?;
        Ok(ms)
    }
}

impl Drop for DeviceTimer {
    fn drop(&mut self) {
        // SAFETY: it came from `timer_new`, and is used last here.
        unsafe { (self.object.timer_free)(self.handle) };
    }
}

/// What libtorch does where the host waits for a CUDA device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncWatch {
    /// Nothing.
    Off,
    /// It prints a warning.
    Warn,
    /// The call fails.
    Fail,
}

/// Sets what libtorch does where the host waits for a CUDA device, for the whole process. It sees its own waiting, not
/// that of other libraries.
///
/// Errors: the shared object is missing or does not load.
pub fn watch_cuda_syncs(watch: SyncWatch) -> Result<()> {
    let level = match watch {
        SyncWatch::Off => 0,
        SyncWatch::Warn => 1,
        SyncWatch::Fail => 2,
    };
    // SAFETY: the call takes a number alone.
    check(unsafe { (cuda_object()?.watch_syncs)(level) })
}

/// Waits until the CUDA device of this number has done all that it was asked for.
///
/// Errors: the shared object is missing or does not load; no such device; work of before has failed.
pub fn synchronize_cuda(device: usize) -> Result<()> {
    // SAFETY: the call takes a number alone.
    check(unsafe { (cuda_object()?.synchronize)(number(device)) })
}

/// A device's number as C has it; what is too large is no device.
fn number(device: usize) -> c_int {
    c_int::try_from(device).unwrap_or(c_int::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_device_opening_says_what_is_missing_and_capturing_is_never_begun() {
        // Here either the object is missing, or it finds no device.
        if let Err(error) = CudaGraphs::open(0) {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.contains('\n'), "{text}");
            assert!(DeviceTimer::new().is_err());
        }
        assert!(CudaGraphs::open(usize::MAX).is_err());
    }
}
