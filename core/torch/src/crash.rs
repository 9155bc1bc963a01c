//! The last words of a program that dies of a signal: libtorch, oneDNN and plugins are native code, whose faults end the
//! process at once.
//!
//! What the handler does may be done in any state of the process: it reads atomics and calls `write`, `sigaction`,
//! `raise` and `nanosleep`.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{io, mem, ptr};

use crate::allocator;
use crate::trail::{self, Fact};

/// The signals of faults: number, name and what it means.
const FAULTS: [(i32, &str, &str); 5] = [
    (libc::SIGSEGV, "SIGSEGV", "a read or write of memory that is not its own"),
    (libc::SIGBUS, "SIGBUS", "a read of memory that is not there, such as of a file that shrank"),
    (libc::SIGFPE, "SIGFPE", "an impossible division of integers"),
    (libc::SIGILL, "SIGILL", "an instruction that this CPU does not have"),
    (libc::SIGABRT, "SIGABRT", "native code gave up"),
];

/// What handled these signals before, in the order of [`FAULTS`].
static BEFORE: OnceLock<[libc::sigaction; FAULTS.len()]> = OnceLock::new();
/// Whether a thread has begun to speak.
static TOLD: AtomicBool = AtomicBool::new(false);
static ON_A_TERMINAL: AtomicBool = AtomicBool::new(false);

/// Lets the program say on stderr where it was (see [`trail`]) before it dies of a fault, and makes the calling thread the
/// one that leaves the trail. The exit status stays that of the signal; after an `abort` of the program itself it is 1.
///
/// # Errors
/// The operating system refused.
pub fn tell_crashes() -> io::Result<()> {
    trail::leave();
    ON_A_TERMINAL.store(io::stderr().is_terminal(), Ordering::Relaxed);
    let mut before = Vec::with_capacity(FAULTS.len());
    for (signal, ..) in FAULTS {
        // SAFETY: all zeros are a valid `sigaction`, and the out-pointer is valid for the call.
        before.push(unsafe {
            let mut old: libc::sigaction = mem::zeroed();
            if libc::sigaction(signal, ptr::null(), &mut old) != 0 {
                return Err(io::Error::last_os_error());
            }
            old
        });
    }
    // A second call finds our own handler, which must not become its own successor.
    let Ok(before) = before.try_into() else { return Ok(()) };
    if BEFORE.set(before).is_err() {
        return Ok(());
    }
    for (signal, ..) in FAULTS {
        // SAFETY: `handle` has the signature that SA_SIGINFO asks for and does only what a handler may. Rust gives the
        // main thread and its own threads another stack for signals, which SA_ONSTACK uses.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = handle as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigfillset(&mut action.sa_mask);
            if libc::sigaction(signal, &action, ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

extern "C" fn handle(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    if TOLD.swap(true, Ordering::Relaxed) {
        // Another thread met the same fault: it speaks, and its end is the end of all.
        // SAFETY: both pointers are what `nanosleep` asks for.
        unsafe { libc::nanosleep(&libc::timespec { tv_sec: 1, tv_nsec: 0 }, ptr::null_mut()) };
    } else {
        last_words(signal);
        // SAFETY: the kernel hands a valid `info` to a handler with SA_SIGINFO, with a sender for a signal that was sent.
        let aborted =
            unsafe { signal == libc::SIGABRT && (*info).si_code <= 0 && (*info).si_pid() == libc::getpid() };
        if aborted {
            // Somebody gave up on purpose, which is a run that failed.
            crate::end::at_once(1);
        }
    }
    // SAFETY: the kernel hands a valid `info` to a handler with SA_SIGINFO.
    let sent = unsafe { (*info).si_code } <= 0;
    let known = FAULTS.iter().position(|(number, ..)| *number == signal);
    // SAFETY: the actions are valid; `sigaction` and `raise` may be called in a handler.
    unsafe {
        match BEFORE.get().zip(known).filter(|_| !sent) {
            // The instruction runs again, now under what was there before: Rust's word on a stack that is too deep,
            // then the end.
            Some((before, at)) => {
                libc::sigaction(signal, &before[at], ptr::null_mut());
            }
            // No instruction would bring it back: it waits until this handler returns.
            None => {
                libc::signal(signal, libc::SIG_DFL);
                libc::raise(signal);
            }
        }
    }
}

fn last_words(signal: i32) {
    let wanted = allocator::refused();
    if signal == libc::SIGABRT && wanted > 0 {
        let mut digits = [0; 20];
        let remedy = " bytes were not to be had: lower `batch`, `evaluate.batch` or `data.workers`, or raise the limit \
             (ulimit -v)";
        speak(&["the memory is used up, ", decimal(wanted, &mut digits), remedy]);
        return;
    }
    let (_, name, meaning) = FAULTS.into_iter().find(|(number, ..)| *number == signal).unwrap_or_default();
    speak(&["the program died of ", name, " (", meaning, ") in native code: libtorch's or a plugin's"]);
}

/// A number without memory to allocate.
fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &str {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    str::from_utf8(&digits[at..]).unwrap_or_default()
}

/// Says on stderr what happened, and where the program was.
pub(crate) fn tell(what: &[&str]) {
    speak(what);
}

fn speak(what: &[&str]) {
    let mut out = Stderr::default();
    if ON_A_TERMINAL.load(Ordering::Relaxed) {
        // Away from a bar.
        out.push(b'\n');
    }
    out.text("error: ");
    what.iter().for_each(|part| out.text(part));
    out.after(", running ", trail::fact(Fact::Recipe));
    out.after(", ", trail::fact(Fact::Step));
    let mut before = ", in ";
    for place in trail::places() {
        out.after(before, place);
        before = " > ";
    }
    let mut checkpoint = trail::fact(Fact::Checkpoint).peekable();
    if checkpoint.peek().is_some() {
        out.after(". The newest checkpoint is ", checkpoint);
        out.text(": go on with --resume");
    } else if trail::fact(Fact::Step).next().is_some() {
        out.text(". No checkpoint was written yet");
    }
    out.push(b'\n');
    out.flush();
}

/// Stderr by `write` alone.
#[derive(Default)]
struct Stderr {
    bytes: [u8; 32],
    length: usize,
}

impl Stderr {
    fn push(&mut self, byte: u8) {
        if self.length == self.bytes.len() {
            self.flush();
        }
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn text(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.push(byte));
    }

    /// Some bytes and what leads to them, if there are any.
    fn after(&mut self, lead: &str, bytes: impl Iterator<Item = u8>) {
        let mut bytes = bytes.peekable();
        if bytes.peek().is_some() {
            self.text(lead);
            bytes.for_each(|byte| self.push(byte));
        }
    }

    fn flush(&mut self) {
        // SAFETY: the pointer and the length are those of initialised bytes. Nothing helps if stderr is closed.
        let _ = unsafe { libc::write(libc::STDERR_FILENO, self.bytes.as_ptr().cast(), self.length) };
        self.length = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_without_memory() {
        let text = |number| decimal(number, &mut [0; 20]).to_string();
        assert_eq!([text(0), text(10), text(usize::MAX)], ["0", "10", "18446744073709551615"]);
    }
}
