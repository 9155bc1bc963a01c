//! How much memory pictures may take while they are decoded, all threads together.

use std::sync::{Condvar, Mutex, PoisonError};

/// Of all decodings at one time; a picture that alone needs more is decoded alone.
const MOST: u64 = 1 << 30;
/// A picture that needs more is large: 24 megapixels.
pub(super) const LARGE: u64 = MOST / 4;

/// Memory that decodings share.
#[derive(Default)]
pub(super) struct Budget {
    taken: Mutex<u64>,
    freed: Condvar,
}

impl Budget {
    /// Does `work` once there is room for so many bytes.
    pub(super) fn with<T>(&self, bytes: u64, work: impl FnOnce() -> T) -> T {
        let bytes = bytes.min(MOST);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken + bytes > MOST {
            taken = self.freed.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken += bytes;
        drop(taken);
        let done = Share { budget: self, bytes };
        let made = work();
        drop(done);
        made
    }
}

/// Given back also when the work panics.
struct Share<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *self.budget.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.budget.freed.notify_all();
    }
}
