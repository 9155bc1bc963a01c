//! An end of the process that nobody but native code asked for: a library that calls `exit`.

use std::marker::PhantomData;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::crash;

static IS_FORBIDDEN: AtomicBool = AtomicBool::new(false);

/// While it lives, an `exit` of the process is a fault: it is told on stderr with the place where the program was, and the
/// exit code is 1. There is one at a time.
#[derive(Debug)]
#[must_use = "exits are allowed again when this is dropped"]
pub struct ForbidExit(PhantomData<*const ()>);

impl ForbidExit {
    /// Forbids it from now on.
    #[expect(clippy::new_without_default, reason = "it has an effect")]
    pub fn new() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            // SAFETY: a function of the signature that `atexit` asks for. Without it the program works as well.
            let _ = unsafe { libc::atexit(at_exit) };
        });
        IS_FORBIDDEN.store(true, Ordering::SeqCst);
        Self(PhantomData)
    }
}

impl Drop for ForbidExit {
    fn drop(&mut self) {
        IS_FORBIDDEN.store(false, Ordering::SeqCst);
    }
}

extern "C" fn at_exit() {
    if IS_FORBIDDEN.load(Ordering::SeqCst) {
        crash::tell("native code, a plugin's or libtorch's, called `exit` and ended the program");
        // SAFETY: ends the process at once, which is ending anyway: an exit code is all that is left to give.
        unsafe { libc::_exit(1) }
    }
}
