//! `admix-bench puzzlemix`: how good PuzzleMix's solvers are and what they cost, on problems of real images.

mod problems;
mod quality;
mod speed;

use std::path::PathBuf;

use admix::device::DeviceArgs;
use admix::failure::bad_input;
use admix::output::Format;
use admix::recipes::Changes;
use admix_plugins::mixers::PuzzleMix;
use anyhow::Result;
use clap::Args;

use crate::salient::Viewer;
use problems::{BATCH, problems};

/// Blocks a side of the authors' grids.
const BLOCKS: [i64; 4] = [2, 4, 8, 16];

/// Flags of `admix-bench puzzlemix`.
#[derive(Args)]
pub struct PuzzleArgs {
    /// A trained run, its folder or a checkpoint: its network and training images make the problems.
    #[arg(long, value_name = "PATH")]
    checkpoint: PathBuf,
    #[command(flatten)]
    changes: Changes,
    /// Compare the masks of all solvers with the optimum, and hold the solvers to what is expected of them.
    #[arg(long, required_unless_present = "speed")]
    quality: bool,
    /// Time all solvers, in turn.
    #[arg(long, conflicts_with = "quality")]
    speed: bool,
    /// Calls of each solver that are timed.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Problems for each number of blocks, a multiple of 40.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(40..))]
    problems: u32,
    #[command(flatten)]
    device: DeviceArgs,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Measures PuzzleMix.
pub fn puzzlemix(args: &PuzzleArgs) -> Result<()> {
    if !(args.problems as usize).is_multiple_of(BATCH) {
        return Err(bad_input(format!("--problems {}: expected a multiple of {BATCH}", args.problems)));
    }
    let device = args.device.open()?;
    let viewer = Viewer::open(&args.checkpoint, &args.changes.set, device)?;
    let mixer = PuzzleMix { std: Some(viewer.std()), ..PuzzleMix::default() };
    let batches = args.problems as usize / BATCH;
    let of = |(at, blocks): (usize, i64)| problems(&viewer, &mixer, blocks, at * batches..(at + 1) * batches);
    let all = BLOCKS.into_iter().enumerate().map(of);
    if args.quality {
        quality::quality(all, args.format)
    } else {
        speed::speed(all, args.rounds, args.format)
    }
}
