//! The program's output streams, which native code may close.

use std::io::Error;

const STREAMS: [(i32, &str); 2] =
    [(libc::STDOUT_FILENO, "standard output"), (libc::STDERR_FILENO, "standard error")];

/// The name of an output stream that was closed. In its place is then one that swallows everything, lest the next file that
/// is opened becomes the stream. A program begins with all of them open.
pub fn closed_stream() -> Option<&'static str> {
    // SAFETY: it asks for the flags of a descriptor, whatever that is.
    let is_closed = |stream: i32| unsafe { libc::fcntl(stream, libc::F_GETFD) } == -1;
    let (stream, name) = STREAMS.into_iter().find(|(stream, _)| is_closed(*stream))?;
    // A descriptor that is asked for may be another reason to fail.
    if Error::last_os_error().raw_os_error() != Some(libc::EBADF) {
        return None;
    }
    // SAFETY: the path ends with a zero; the descriptors are ours.
    unsafe {
        let nothing = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        if nothing >= 0 && nothing != stream {
            libc::dup2(nothing, stream);
            libc::close(nothing);
        }
    }
    Some(name)
}
