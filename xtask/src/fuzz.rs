//! `fuzz`: runs the fuzz targets that need no libtorch, with what is installed anyway.

use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;

use crate::repo::Repo;

/// The targets: readers of what a plugin library says of itself.
const TARGETS: [&str; 2] = ["manifest", "settings"];
const PLATFORM: &str = "x86_64-unknown-linux-gnu";
/// What `cargo fuzz` passes: coverage for the fuzzer, and an allocator that finds reads beyond the end.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Ccodegen-units=1 -Zsanitizer=address";

/// Flags of `fuzz`.
#[derive(Debug, Args)]
pub struct FuzzArgs {
    /// Seconds for each reader. The fuzzer takes 0 for "without end", so it is at least 1.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// Fuzzes: each target for N seconds, from the inputs in `fuzz/corpus` and those that earlier runs
/// found. Fails at the first input that breaks a target; it is kept below `target/fuzz`.
pub fn run(repo: &Repo, args: &FuzzArgs) -> Result<()> {
    let target = repo.root().join("target/fuzz");
    let mut build = repo
        .cargo()
        .args([
            "build",
            "--release",
            "--locked",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--no-default-features",
        ])
        // Named, so that build scripts and macros are built without these flags.
        .args(["--target", PLATFORM])
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", FLAGS)
        // Sanitizers are not stable yet; the stable compiler has them.
        .env("RUSTC_BOOTSTRAP", "1");
    for name in TARGETS {
        build = build.args(["--bin", name]);
    }
    build.run()?;
    for name in TARGETS {
        fuzz(repo, &target, name, args.seconds)?;
    }
    Ok(())
}

fn fuzz(repo: &Repo, target: &Path, name: &str, seconds: u32) -> Result<()> {
    // New inputs go into the first folder; the one of the repository is only read.
    let found = target.join("corpus").join(name);
    std::fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let program = target.join(PLATFORM).join("release").join(name);
    let artifacts = format!("-artifact_prefix={}/{name}-", target.display());
    repo.program(program)
        .args([&format!("-max_total_time={seconds}"), "-timeout=10", "-max_len=4096", "-verbosity=0"])
        .args(["-print_final_stats=1", &artifacts])
        .arg(&found)
        .arg(repo.root().join("fuzz/corpus").join(name))
        .run()
        .with_context(|| format!("the reader of `{name}` is broken by the input whose name stands above"))
}
