//! `interop`: networks of ours against those of torchvision and timm, by their weights and logits.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;

use crate::process::Cmd;
use crate::repo::{Profile, Repo};

/// What is installed, beside what it requires.
const PACKAGES: [&str; 4] = ["torch==2.11.0", "torchvision==0.26.0", "timm==1.0.31", "safetensors==0.8.0"];
/// Writes the networks.
const WRITE: &str = include_str!("interop.py");

/// Flags of `interop`.
#[derive(Debug, Args)]
pub struct InteropArgs {
    /// Only networks whose names have one of these words, such as `timm_vit`; all unless given.
    networks: Vec<String>,
}

/// Installs the libraries below target/interop unless they are there, lets them write networks, and compares.
///
/// # Errors
/// There is no Python, a package cannot be installed, or a network gives other logits.
pub fn run(repo: &Repo, args: &InteropArgs) -> Result<()> {
    let folder = repo.target()?.join("interop");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let venv = folder.join("venv");
    install(&venv)?;
    let (script, files) = (folder.join("interop.py"), folder.join("files"));
    fs::write(&script, WRITE).with_context(|| format!("cannot write {}", script.display()))?;
    Cmd::new(venv.join("bin/python")).arg(&script).arg(&files).args(&args.networks).run()?;
    // Of the whole workspace: another selection of packages would compile everything again.
    repo.build(&["--workspace", "--example", "interop"], Profile::Dev)?;
    repo.program(repo.target()?.join("debug/examples/interop")).arg(&files).run()
}

/// Makes the environment, once for each list of packages.
fn install(venv: &Path) -> Result<()> {
    let (stamp, wanted) = (venv.join("packages.txt"), PACKAGES.join("\n"));
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    println!("installing {} into {}", PACKAGES.join(", "), venv.display());
    Cmd::new("python3").args(["-m", "venv"]).arg(venv).run()?;
    Cmd::new(venv.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(PACKAGES)
        .run()?;
    // Last, so that its presence means that all is there.
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}
