//! `bench`: timings of programs against each other and against their limits.

mod contest;
mod exchange;
mod floor;
mod gpu;
mod limits;
mod memory;
mod overhead;
mod peer;
mod policies;
mod precision;
mod processes;
mod puzzlemix;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::repo::{Profile, Repo};
use crate::setup;

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Time ours against training by hand, alternately.
    Overhead(overhead::OverheadArgs),
    /// Time ours against PyTorch, alternately: a ResNet-18 and one of width 1/8, where dispatch counts.
    Peer(peer::PeerArgs),
    /// Compare steps with the passes over the network that they are made of.
    Floor(floor::FloorArgs),
    /// Compare the most memory that steps need with that of a step that mixes nothing.
    Memory(memory::MemoryArgs),
    /// Train with one process and with several, and with one that accumulates: images/s, the exchange, the losses;
    /// estimate the exchange of 2, 8 and 64 processes.
    Processes(processes::ProcessesArgs),
    /// Measure all that is promised of a GPU, against PyTorch eager and compiled; fails on a miss.
    Gpu(gpu::GpuArgs),
    /// Time AMix and PuzzleMix against a step that mixes nothing and against PyTorch, alternately.
    Methods(policies::FamilyArgs),
    /// Time steps of the policies against one that mixes nothing and against PyTorch, alternately.
    Policies(policies::FamilyArgs),
    /// Time a step of AMix-I against one of MoCo v2, and both against PyTorch, alternately.
    Ssl(policies::FamilyArgs),
    /// Compare the masks of PuzzleMix's solvers with the optimum, or time the solvers, on problems that the saliency of a
    /// small network trained on CIFAR-10 poses.
    Puzzlemix(puzzlemix::PuzzlemixArgs),
    /// Compare Co-Mixup's solvers with swap moves, with the saliency of the same network.
    Comixup(puzzlemix::ComixupArgs),
}

/// Runs a benchmark.
///
/// # Errors
/// A program cannot be built or fails, or a limit that counts is missed.
pub fn run(repo: &Repo, command: &BenchCommand) -> Result<()> {
    match command {
        BenchCommand::Overhead(args) => overhead::run(repo, args),
        BenchCommand::Peer(args) => peer::run(repo, args),
        BenchCommand::Floor(args) => floor::run(repo, args),
        BenchCommand::Memory(args) => memory::run(repo, args),
        BenchCommand::Processes(args) => processes::run(repo, args),
        BenchCommand::Gpu(args) => gpu::run(repo, args),
        BenchCommand::Methods(args) => policies::run(repo, &policies::METHODS, args),
        BenchCommand::Policies(args) => policies::run(repo, &policies::POLICIES, args),
        BenchCommand::Ssl(args) => policies::run(repo, &policies::SSL, args),
        BenchCommand::Puzzlemix(args) => puzzlemix::puzzlemix(repo, args),
        BenchCommand::Comixup(args) => puzzlemix::comixup(repo, args),
    }
}

/// `admix` and `admix-bench`: built programs that lie beside each other, or what is built now.
///
/// # Errors
/// There is no such file, or the build fails.
fn programs(repo: &Repo, admix: Option<&Path>) -> Result<(PathBuf, PathBuf)> {
    if let Some(admix) = admix {
        let admix = admix.canonicalize().with_context(|| format!("--admix {}", admix.display()))?;
        let bench = admix.with_file_name("admix-bench");
        return Ok((admix, bench));
    }
    setup::ensure_done(repo)?;
    Ok((repo.build_admix(Profile::Release)?, repo.build_bench(Profile::Release)?))
}
