//! `check`: formatting, lints, documentation.

use anyhow::Result;

use crate::repo::Repo;
use crate::setup;

/// Runs all of them. Warnings are errors.
///
/// # Errors
/// The first of them that is not clean.
pub fn run(repo: &Repo) -> Result<()> {
    repo.cargo().args(["fmt", "--all", "--check"]).run()?;
    setup::ensure_done(repo)?;
    // Same profile and features as `test`, so libtorch's binding is not compiled for this alone.
    repo.cargo()
        .args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
        .run()?;
    repo.cargo()
        .args(["doc", "--workspace", "--no-deps", "--locked"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}
