//! Where downloaded weights are kept.

use std::path::PathBuf;

use crate::{Error, Result};

/// The folder: `weights` in `ADMIX_CACHE`, or in `admix` of the user's folder for caches.
///
/// # Errors
/// No absolute folder is known.
pub(crate) fn folder() -> Result<PathBuf> {
    let absolute = |variable: &str| {
        let folder = PathBuf::from(std::env::var_os(variable)?);
        // Anything else would put downloads into whatever folder the program is started in.
        folder.is_absolute().then_some(folder)
    };
    let admix = absolute("ADMIX_CACHE")
        .or_else(|| Some(absolute("XDG_CACHE_HOME")?.join("admix")))
        .or_else(|| Some(absolute("HOME")?.join(".cache/admix")));
    let admix = admix.ok_or_else(|| {
        Error::Address(
            "no folder for downloaded weights is known: set ADMIX_CACHE to an absolute folder, or give the path of a file"
                .into(),
        )
    })?;
    Ok(admix.join("weights"))
}
