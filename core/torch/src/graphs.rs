//! CUDA graphs: work of the device that is captured once and done again with one call; and watching the device.
//!
//! The calls live in a shared object of their own (`cuda/graphs.cpp`). Where it is missing, opening says so.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// While one lives, whatever makes the host wait for a CUDA device fails, in the whole process, except
/// [`apart`](crate::apart). libtorch sees its own waiting, not that of other libraries.
#[derive(Debug)]
pub struct FailOnSyncs(());

/// Whether there is a guard, and how many parts of work may wait meanwhile.
#[derive(Debug)]
struct Watch {
    on: bool,
    paused: usize,
}

static WATCH: Mutex<Watch> = Mutex::new(Watch { on: false, paused: 0 });

impl Watch {
    fn lock() -> MutexGuard<'static, Self> {
        WATCH.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn level(&self) -> c_int {
        if self.on && self.paused == 0 { FAIL } else { NOTHING }
    }
}

impl FailOnSyncs {
    /// From here on.
    ///
    /// Errors: the shared object is missing or does not load; there is one already.
    pub fn start() -> Result<Self> {
        let object = cuda_object()?;
        let mut watch = Watch::lock();
        if watch.on {
            return Err(Error::torch("waiting for the device fails already"));
        }
        watch.on = true;
        // SAFETY: the call takes a number alone.
        let set = check(unsafe { (object.watch_syncs)(watch.level()) });
        watch.on = set.is_ok();
        set.map(|()| Self(()))
    }

    /// Lets the host wait. True if it was not to; then [`go_on`](Self::go_on) must follow.
    pub(crate) fn pause() -> bool {
        let mut watch = Watch::lock();
        if watch.on {
            watch.paused += 1;
            set_level(watch.level());
        }
        watch.on
    }

    /// Waiting fails again, unless other work may still wait.
    pub(crate) fn go_on() {
        let mut watch = Watch::lock();
        watch.paused -= 1;
        set_level(watch.level());
    }
}

impl Drop for FailOnSyncs {
    fn drop(&mut self) {
        let mut watch = Watch::lock();
        watch.on = false;
        set_level(watch.level());
    }
}

// The levels of `admix_cuda_watch_syncs`.
const NOTHING: c_int = 0;
const FAIL: c_int = 2;

fn set_level(level: c_int) {
    if let Ok(object) = cuda_object() {
        // SAFETY: the call takes a number alone. Of these levels none is refused.
        drop(check(unsafe { (object.watch_syncs)(level) }));
    }
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
