//! `bench puzzlemix|comixup`: solvers on problems made of CIFAR-10 images and the saliency of a small trained network.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::repo::{Profile, Repo};
use crate::setup;
use crate::training::{self, DATASET};

/// The recipe of the network, and the folder of its run, which is kept.
const NETWORK: (&str, &str) = ("configs/bench/saliency.ron", "runs/bench/saliency");

/// What both benchmarks can be told.
#[derive(Debug, Args)]
struct Shared {
    /// The archive or folder of CIFAR-10; the shared one unless given.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// What `admix-bench` gets besides.
    #[arg(last = true, value_name = "ARGS")]
    passed_on: Vec<String>,
}

/// Flags of `bench puzzlemix`.
#[derive(Debug, Args)]
pub struct PuzzlemixArgs {
    #[command(flatten)]
    what: What,
    /// How many problems.
    #[arg(long)]
    problems: Option<usize>,
    #[command(flatten)]
    shared: Shared,
}

/// What of PuzzleMix's solvers is measured.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// How near the masks come to the optimum.
    #[arg(long)]
    quality: bool,
    /// What the solvers cost.
    #[arg(long)]
    speed: bool,
}

/// Flags of `bench comixup`.
#[derive(Debug, Args)]
pub struct ComixupArgs {
    #[command(flatten)]
    what: Quality,
    /// How many parts of batches.
    #[arg(long)]
    parts: Option<usize>,
    #[command(flatten)]
    shared: Shared,
}

/// What of Co-Mixup's solvers is measured: there is one thing, which may become more.
#[derive(Debug, Args)]
#[group(required = true)]
struct Quality {
    /// How they compare with swap moves.
    #[arg(long)]
    quality: bool,
}

/// Runs `bench puzzlemix`.
///
/// # Errors
/// A build, the network's training or the benchmark fails.
pub fn puzzlemix(repo: &Repo, args: &PuzzlemixArgs) -> Result<()> {
    let what = if args.what.speed { "--speed" } else { "--quality" };
    run(repo, &["puzzlemix", what], args.problems.map(|count| ("--problems", count)), &args.shared)
}

/// Runs `bench comixup`.
///
/// # Errors
/// As [`puzzlemix`].
pub fn comixup(repo: &Repo, args: &ComixupArgs) -> Result<()> {
    run(repo, &["comixup", "--quality"], args.parts.map(|count| ("--parts", count)), &args.shared)
}

fn run(repo: &Repo, words: &[&str], count: Option<(&str, usize)>, shared: &Shared) -> Result<()> {
    setup::ensure_done(repo)?;
    let admix = repo.build_admix(Profile::Release)?;
    let data = shared.data.clone().unwrap_or_else(|| repo.shared().join(DATASET.1));
    training::import(repo, &admix, &data)?;
    let folder = repo.root().join(NETWORK.1);
    if !training::is_finished(&folder) {
        let train = repo.program(&admix).args(["run", NETWORK.0, "--device", "cpu", "--out"]).arg(&folder);
        let train = if training::is_begun(&folder) { train.arg("--resume") } else { train };
        train.run_interruptible()?;
    }
    let bench = repo.build_bench(Profile::Release)?;
    let mut bench = repo.program(&bench).args(words).arg("--checkpoint").arg(&folder);
    if let Some((flag, count)) = count {
        bench = bench.args([flag, &count.to_string()]);
    }
    bench.args(&shared.passed_on).run()
}
