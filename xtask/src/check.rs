//! `check`: formatting, circles between files, lints, documentation.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, bail};

use crate::repo::Repo;
use crate::{circles, setup};

/// The root file of every crate whose files may not use each other in circles.
const CRATES: [&str; 11] = [
    "core/torch/src/lib.rs",
    "core/api/src/lib.rs",
    "core/fetch/src/lib.rs",
    "core/data/src/lib.rs",
    "core/models/src/lib.rs",
    "core/weights/src/lib.rs",
    "core/engine/src/lib.rs",
    "core/cli/lib.rs",
    "plugins/src/lib.rs",
    "bench/src/main.rs",
    "xtask/src/main.rs",
];
/// Both workspaces: the Python package is one of its own.
const WORKSPACES: [&str; 2] = ["Cargo.toml", "python/Cargo.toml"];
/// Files that are in a circle today, one a line. No file may be added.
const KNOWN: &str = "xtask/circles.txt";

/// Runs all of them. Warnings are errors.
///
/// # Errors
/// The first of them that is not clean.
pub fn run(repo: &Repo) -> Result<()> {
    for workspace in WORKSPACES {
        repo.cargo().args(["fmt", "--all", "--check", "--manifest-path", workspace]).run()?;
    }
    no_new_circle(repo)?;
    setup::ensure_done(repo)?;
    // Same profile and features as `test`, so libtorch's binding is not compiled for this alone.
    repo.cargo()
        .args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
        .run()?;
    // No interpreter is needed: what Python brings is linked when the module is loaded.
    repo.cargo()
        .args(["clippy", "--locked", "--manifest-path", WORKSPACES[1], "--target-dir"])
        .arg(repo.target()?)
        .args(["--", "-D", "warnings"])
        .env("PYO3_NO_PYTHON", "1")
        .env("PYO3_BUILD_EXTENSION_MODULE", "1")
        .run()?;
    repo.cargo()
        .args(["doc", "--workspace", "--no-deps", "--locked"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}

fn no_new_circle(repo: &Repo) -> Result<()> {
    let list = repo.root().join(KNOWN);
    let known = fs::read_to_string(&list).with_context(|| format!("cannot read {KNOWN}"))?;
    let known: BTreeSet<&str> = known.lines().filter(|line| !line.starts_with('#')).collect();
    let mut found = BTreeSet::new();
    for crate_root in CRATES {
        for circle in circles::circles(&repo.root().join(crate_root))? {
            let files: Vec<String> = circle
                .iter()
                .map(|file| file.strip_prefix(repo.root()).unwrap_or(file).display().to_string())
                .collect();
            if let Some(new) = files.iter().find(|file| !known.contains(file.as_str())) {
                bail!(
                    "{new} is in a circle of files that use each other: {}; move what they share into a file of its own",
                    files.join(", ")
                );
            }
            found.extend(files);
        }
    }
    match known.iter().find(|file| !found.contains(**file)) {
        Some(free) => bail!("{free} is in no circle any more: remove its line from {KNOWN}"),
        None => Ok(()),
    }
}
