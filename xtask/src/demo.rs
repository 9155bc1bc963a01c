//! `demo`: set-up first, then a training run on the embedded dataset.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::repo::{Profile, Repo};
use crate::setup;

/// Trains AMix on the embedded dataset.
///
/// # Errors
/// The build or the run fails.
pub fn run(repo: &Repo) -> Result<()> {
    setup::ensure_done(repo)?;
    let admix = repo.build_admix(Profile::Dev)?;
    let out = fresh_folder(repo.root(), "runs/demo");
    let run = repo.program(&admix).args(["run", "configs/quickstart.ron", "--out"]).arg(&out);
    // On a machine that does other work too, threads that wait for one another by spinning without end slow each
    // other down tenfold; threads that never spin are slow on an idle one. A short spin is good on both.
    let spin = std::env::var_os("GOMP_SPINCOUNT").unwrap_or_else(|| "20000".into());
    run.env("GOMP_SPINCOUNT", spin).run_interruptible()?;

    let admix = admix.strip_prefix(repo.root()).unwrap_or(&admix).display();
    println!("\nNext:");
    for (command, what) in [
        ("show configs/quickstart.ron", "the recipe of this run, resolved"),
        ("recipes", "the recipes for other datasets and methods"),
        ("plugins", "the mixers and losses, and their options"),
    ] {
        println!("  {admix} {command:<30} {what}");
    }
    println!("  {:<1$} every test", "cargo xtask test", admix.to_string().len() + 31);
    Ok(())
}

/// `name` below `root`, or the first of `name-2`, `name-3`, ... that is not there yet; relative to `root`.
fn fresh_folder(root: &Path, name: &str) -> PathBuf {
    let mut number = 1;
    loop {
        let folder =
            if number == 1 { PathBuf::from(name) } else { PathBuf::from(format!("{name}-{number}")) };
        if !root.join(&folder).exists() {
            return folder;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn each_demo_gets_a_folder_of_its_own() {
        let root = Scratch::new(&std::env::temp_dir(), "demo-test").unwrap();
        for wanted in ["runs/demo", "runs/demo-2", "runs/demo-3"] {
            let folder = fresh_folder(root.path(), "runs/demo");
            assert_eq!(folder, Path::new(wanted));
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
    }
}
