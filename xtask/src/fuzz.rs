//! `fuzz`: runs the fuzz targets that need no libtorch, with what is installed anyway.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;

use crate::repo::Repo;
use crate::usage::Usage;

/// A reader of foreign bytes, and files of the repository that it may begin with.
struct Target {
    name: &'static str,
    seeds: Option<&'static str>,
}

const fn target(name: &'static str, seeds: Option<&'static str>) -> Target {
    Target { name, seeds }
}

const TARGETS: [Target; 13] = [
    target("archive", None),
    target("checkpoint", None),
    target("exif", None),
    target("image", Some("core/data/tests/fixtures/jpeg")),
    target("list", None),
    target("lists", None),
    target("manifest", None),
    target("overrides", None),
    target("packed", None),
    target("recipe", Some("configs")),
    target("script", Some("scripts")),
    target("settings", None),
    target("weights", Some("tests/fixtures/weights")),
];
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
    /// Where the fuzzer's draws begin; another one each time without it.
    #[arg(long)]
    seed: Option<u32>,
    /// Only these readers, separated by commas.
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    only: Vec<String>,
}

/// Fuzzes: each target for N seconds, as many at once as there are cores, from the inputs in `fuzz/corpus` and those that
/// earlier runs found. Fails if an input breaks a target; it is kept below `target/fuzz`.
pub fn run(repo: &Repo, args: &FuzzArgs) -> Result<()> {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    if let Some(unknown) = args.only.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(Usage(format!("no reader named `{unknown}`; there is {}\n", names.join(", "))).into());
    }
    let wanted = |target: &&Target| args.only.is_empty() || args.only.iter().any(|only| only == target.name);
    let folder = repo.root().join("target/fuzz");
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
        .env("CARGO_TARGET_DIR", &folder)
        .env("RUSTFLAGS", FLAGS)
        // Sanitizers are not stable yet; the stable compiler has them.
        .env("RUSTC_BOOTSTRAP", "1");
    for target in TARGETS.iter().filter(wanted) {
        build = build.args(["--bin", target.name]);
    }
    build.run()?;
    let waiting: Mutex<VecDeque<&Target>> = Mutex::new(TARGETS.iter().filter(wanted).collect());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let outcomes: Vec<Result<()>> = thread::scope(|scope| {
        let work = || -> Vec<Result<()>> {
            std::iter::from_fn(next).map(|target| fuzz(repo, &folder, target, args)).collect()
        };
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|_| vec![Err(anyhow!("a thread panicked"))]))
            .collect()
    });
    let broken: Vec<String> =
        outcomes.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

fn fuzz(repo: &Repo, folder: &Path, target: &Target, args: &FuzzArgs) -> Result<()> {
    let (name, seconds) = (target.name, args.seconds);
    // New inputs go into the first folder; those of the repository are only read.
    let found = folder.join("corpus").join(name);
    std::fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let artifacts = format!("-artifact_prefix={}/{name}-", folder.display());
    let mut program = repo
        .program(folder.join(PLATFORM).join("release").join(name))
        .args([&format!("-max_total_time={seconds}"), "-timeout=10", "-max_len=8192", "-verbosity=0"])
        .args(["-print_final_stats=1", &artifacts]);
    if let Some(seed) = args.seed {
        program = program.arg(format!("-seed={seed}"));
    }
    let words = repo.root().join("fuzz/dictionaries").join(name).with_extension("dict");
    if words.is_file() {
        program = program.arg(format!("-dict={}", words.display()));
    }
    program = program.arg(&found).arg(repo.root().join("fuzz/corpus").join(name));
    program = target.seeds.into_iter().fold(program, |program, seeds| program.arg(repo.root().join(seeds)));
    // Shown at its end, as others run at the same time.
    let output = program.silent_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        let tries = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        println!("{name}: {} inputs in {seconds} s", tries.unwrap_or("?").trim());
        return Ok(());
    }
    println!("{name}:\n{said}");
    bail!("the reader of `{name}` is broken by the input whose name stands above")
}
