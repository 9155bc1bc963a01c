//! Puts every recipe and experiment of `configs/` into the program, and the names into its table that plugins must find there.

#![allow(clippy::print_stdout, reason = "cargo listens there")]

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> std::io::Result<()> {
    // A library that ends the program finds ours in front of the C library's.
    let is_linux = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux");
    for name in ["_exit", "_Exit"].into_iter().filter(|_| is_linux) {
        println!("cargo::rustc-link-arg-bins=-Wl,--export-dynamic-symbol={name}");
    }
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or_else(|| std::io::Error::other(name));
    let root = variable("CARGO_MANIFEST_DIR")?.join("configs");
    println!("cargo::rerun-if-changed={}", root.display());
    let out = variable("OUT_DIR")?;
    fs::write(out.join("recipes.rs"), list(&root, "ron")?)?;
    fs::write(out.join("experiments.rs"), list(&root.join("experiments"), "rhai")?)
}

/// Name and text of every file below a folder with this ending, as Rust reads them.
fn list(root: &Path, ending: &str) -> std::io::Result<String> {
    let mut files = Vec::new();
    collect(root, ending, &mut files)?;
    files.sort();
    let mut list = String::from("&[\n");
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file).with_extension("");
        let name =
            name.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
        // A file that is edited is found by `include_str`, one that comes or goes by the folder.
        let _ = writeln!(list, "    ({name:?}, include_str!({:?})),", file.display().to_string());
    }
    list.push(']');
    Ok(list)
}

fn collect(folder: &Path, ending: &str, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, ending, files)?;
        } else if path.extension().is_some_and(|extension| extension == ending) {
            files.push(path);
        }
    }
    Ok(())
}
