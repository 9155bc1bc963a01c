//! Files that are written whole or not at all.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::{Error, Result};

/// Writes the file `name` of a folder: whole or not at all.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn write_whole(root: &Path, name: &str, content: &[u8]) -> Result<()> {
    let path = root.join(name);
    let partial = root.join(format!("{name}.partial"));
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(&partial)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&partial, &path)
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&partial);
        Error::file("write", path.clone(), source)
    })
}
