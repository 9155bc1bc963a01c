//! The end of the process.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::ffi::{c_int, c_void};

/// Lets the process end, when its `main` is done, without what the libraries that it is linked with have to do then: libtorch
/// takes thousands of operators out of a registry that goes away with the process, which takes longer than many a command.
/// What is registered after this call, by libraries that are opened later too, is still done.
pub fn end_without_teardown() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            // SAFETY: a function of the signature that `on_exit` asks for. Without it the program works as well.
            let _ = unsafe { on_exit(end, std::ptr::null_mut()) };
        });
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
unsafe extern "C" {
    fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
extern "C" fn end(code: c_int, _: *mut c_void) {
    // SAFETY: null stands for all streams of the C library.
    let _ = unsafe { libc::fflush(std::ptr::null_mut()) };
    at_once(code)
}

/// Ends the process now, without a word.
pub(crate) fn at_once(code: i32) -> ! {
    #[cfg(target_os = "linux")]
    loop {
        // SAFETY: it takes a number and does not come back.
        unsafe { libc::syscall(libc::SYS_exit_group, code) };
    }
    // SAFETY: it takes a number and does not come back.
    #[cfg(not(target_os = "linux"))]
    unsafe {
        libc::_exit(code)
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use std::io::Write as _;
    use std::process::Command;

    extern "C" fn before() {
        println(b"registered before");
    }

    extern "C" fn after() {
        println(b"registered after");
    }

    /// Not through the harness, which keeps what a test prints.
    fn println(words: &[u8]) {
        let _ = std::io::stdout().write_all(&[words, b"\n"].concat());
    }

    #[test]
    fn what_was_registered_before_is_left_out_and_the_code_and_what_is_buffered_are_kept() {
        const CHILD: &str = "ADMIX_TEST_END";
        if std::env::var_os(CHILD).is_some() {
            // SAFETY: functions of the right signature, and a text that ends with 0.
            unsafe {
                libc::atexit(before);
                super::end_without_teardown();
                libc::atexit(after);
                libc::printf(c"buffered".as_ptr());
            }
            std::process::exit(7);
        }
        let own =
            "end::tests::what_was_registered_before_is_left_out_and_the_code_and_what_is_buffered_are_kept";
        let mut child = Command::new(std::env::current_exe().expect("this program"));
        let output = child.args(["--exact", own, "--nocapture"]).env(CHILD, "").output().expect("starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(7), "{said}");
        assert!(said.contains("registered after") && said.contains("buffered"), "{said}");
        assert!(!said.contains("registered before"), "{said}");
    }
}
