//! Whether code may be run that nobody asked for by name: only what nobody else can change.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The bit of a folder in which everybody changes only what is their own, as in `/tmp`.
const STICKY: u32 = 0o1000;
/// The bits by which the group and all others may write.
const WRITTEN_BY_OTHERS: u32 = 0o022;

/// Why others than this user and root can change a file or folder, with the remedy; `None` if they cannot. Links are
/// followed.
///
/// # Errors
/// The file, or a folder above it, cannot be looked at.
pub fn distrust(path: &Path) -> io::Result<Option<String>> {
    let full = path.canonicalize()?;
    for above in full.ancestors() {
        let (owner, mode) = (above.metadata()?.uid(), above.metadata()?.mode());
        // Who owns a folder above can put another in its place.
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            return Ok(Some(format!(
                "{} belongs to another user (number {owner}): copy what you trust to a place of your own, or load a library \
                 of it with --plugin",
                above.display()
            )));
        }
        // A sticky folder keeps what is in it from being replaced, but anybody can put more into it.
        let kept = above != full && mode & STICKY != 0;
        if mode & WRITTEN_BY_OTHERS != 0 && !kept {
            return Ok(Some(format!(
                "others can write to {0}: if you trust what is there, take that right away with `chmod go-w {0}`",
                above.display()
            )));
        }
    }
    Ok(None)
}
