//! `fake-cuda`: the tests of the program on a CUDA device without a GPU.

use anyhow::Result;
use clap::Args;

use crate::repo::Repo;
use crate::setup;

/// Flags of `fake-cuda`.
#[derive(Debug, Args)]
pub struct FakeCudaArgs {
    /// Every bundled recipe, not one of each kind.
    #[arg(long)]
    all: bool,
}

/// Runs them.
///
/// # Errors
/// A test fails.
pub fn run(repo: &Repo, args: &FakeCudaArgs) -> Result<()> {
    setup::ensure_done(repo)?;
    let ignored: &[&str] = if args.all { &["--include-ignored"] } else { &[] };
    // `program` has none of these tests; with it `admix-bench` is built, which they start.
    let targets = ["--test", "suite", "--test", "program"];
    let cargo = repo.cargo().args(["test", "--workspace", "--locked"]).args(targets);
    cargo.args(["--", "program::fake_cuda"]).args(ignored).env("OMP_NUM_THREADS", "1").run()
}
