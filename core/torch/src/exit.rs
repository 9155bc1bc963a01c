//! An end of the process that nobody but native code asked for: a library that calls `exit` or one of its kind.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Once, OnceLock};

use crate::crash;
use crate::end::at_once;

/// The process in which an exit is a fault; 0 where it is none. A child between `fork` and `exec` is another process.
static FORBIDDEN_IN: AtomicI32 = AtomicI32::new(0);

/// Whether a signal came that asks the program to stop. A second one may end it by `_exit`.
static ASKED_TO_STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

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
            // SAFETY: the same.
            #[cfg(target_os = "linux")]
            let _ = unsafe { unheard::at_quick_exit(unheard::quick) };
        });
        // SAFETY: it takes nothing and cannot fail.
        FORBIDDEN_IN.store(unsafe { libc::getpid() }, Ordering::SeqCst);
        Self(PhantomData)
    }

    /// Allows `_exit` once `signalled` is true, as a handler of a second signal calls it. The first call of the process
    /// counts.
    pub fn except_after(signalled: Arc<AtomicBool>) {
        let _ = ASKED_TO_STOP.set(signalled);
    }
}

impl Drop for ForbidExit {
    fn drop(&mut self) {
        FORBIDDEN_IN.store(0, Ordering::SeqCst);
    }
}

fn refuse(function: &str) {
    // SAFETY: it takes nothing and cannot fail.
    if FORBIDDEN_IN.load(Ordering::SeqCst) == unsafe { libc::getpid() } {
        crash::tell(&[
            "native code, a plugin's or libtorch's, called `",
            function,
            "` and ended the program",
        ]);
        // It ends anyway: an exit code is all that is left to give.
        at_once(1);
    }
}

extern "C" fn at_exit() {
    refuse("exit");
}

/// Functions of the C library that run nothing of ours, or not what `atexit` was given.
#[cfg(target_os = "linux")]
mod unheard {
    use std::ffi::c_int;

    unsafe extern "C" {
        pub(super) fn at_quick_exit(function: extern "C" fn()) -> c_int;
    }

    pub(super) extern "C" fn quick() {
        super::refuse("quick_exit");
    }

    /// Stands in front of the C library's function. A program of ours exports it, so that plugins find this one; see the
    /// `build.rs` of the program.
    // SAFETY: it does what the function of this name does.
    #[unsafe(no_mangle)]
    extern "C" fn _exit(code: c_int) -> ! {
        // Our own program ends so at a second signal.
        if !super::ASKED_TO_STOP.get().is_some_and(|asked| asked.load(super::Ordering::SeqCst)) {
            super::refuse("_exit");
        }
        crate::end::at_once(code)
    }

    /// The same under its name in standard C.
    // SAFETY: it does what the function of this name does.
    #[unsafe(no_mangle)]
    #[allow(non_snake_case, reason = "the name is that of the C library")]
    extern "C" fn _Exit(code: c_int) -> ! {
        super::refuse("_Exit");
        crate::end::at_once(code)
    }
}
