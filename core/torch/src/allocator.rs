//! The program's allocator, which remembers what it could not give: what is said after Rust has given up on it.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of the last piece of memory that was not to be had.
static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// An allocator that remembers how large a piece was that it could not give. Whoever asked may still go on without it; if
/// not, Rust aborts, and the last words of the program are about memory.
#[derive(Debug)]
pub struct Remembering<A>(pub A);

/// The size of the last piece that was not to be had; 0 if there is none.
pub(crate) fn refused() -> usize {
    REFUSED.load(Ordering::Relaxed)
}

fn noted(given: *mut u8, size: usize) -> *mut u8 {
    if given.is_null() {
        REFUSED.store(size, Ordering::Relaxed);
    }
    given
}

// SAFETY: each call is handed on as it is.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Remembering<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        noted(unsafe { self.0.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        noted(unsafe { self.0.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { self.0.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        noted(unsafe { self.0.realloc(block, layout, size) }, size)
    }
}
