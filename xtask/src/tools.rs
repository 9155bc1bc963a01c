//! The programs a set-up needs: each is found, or its absence is reported with the remedy.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::process::Cmd;

/// How to get all of them on Debian and its relatives.
pub const APT: &str =
    "on Debian or Ubuntu `apt-get install g++ python3 python3-pip`, elsewhere the packages of the same kind";

/// The Python 3 on the path, if it is recent enough.
pub fn python() -> Option<String> {
    let script = "import sys; sys.exit(sys.version_info < (3, 8))";
    Cmd::new("python3").args(["-c", script]).try_output().map(|_| "python3".to_string())
}

/// The same, as an error when it is not there.
pub fn need_python() -> Result<String> {
    python().with_context(|| format!("there is no Python 3.8 or later (`python3`): {APT}"))
}

/// Fails unless `python` has pip.
pub fn need_pip(python: &str) -> Result<()> {
    let found = Cmd::new(python).args(["-m", "pip", "--version"]).try_output();
    ensure!(found.is_some(), "`{python}` has no pip: {APT}");
    Ok(())
}

/// Fails unless there is a C++ compiler where the `cc` crate will look for it.
pub fn need_compiler() -> Result<()> {
    let compiler = std::env::var("CXX").ok().filter(|c| !c.trim().is_empty()).unwrap_or_else(|| "c++".into());
    // `CXX` may hold a wrapper and flags: "ccache g++".
    let mut words = compiler.split_whitespace();
    let found = Cmd::new(words.next().unwrap_or("c++")).args(words).arg("--version").try_output();
    ensure!(found.is_some(), "there is no C++ compiler (`{compiler}` does not run): {APT}");
    Ok(())
}

/// Fails if `folder`'s disk has less than `bytes` left.
pub fn need_space(python: &str, folder: &Path, bytes: u64) -> Result<()> {
    let script = "import shutil, sys; print(shutil.disk_usage(sys.argv[1]).free)";
    let free = Cmd::new(python).args(["-c", script]).arg(folder).try_output();
    // An unknown amount is no reason to stop: writing will fail if it is too little.
    if let Some(free) = free.and_then(|f| f.parse::<u64>().ok())
        && free < bytes
    {
        bail!(
            "not enough disk space: {} has {} MB left, {} MB are needed; make room, or set XDG_CACHE_HOME to a \
             folder on another disk",
            folder.display(),
            free / 1_000_000,
            bytes.div_ceil(1_000_000)
        );
    }
    Ok(())
}
