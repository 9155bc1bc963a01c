//! `admix bench puzzlemix`: how good PuzzleMix's solvers are and what they cost, on problems of real images.

mod quality;
mod speed;

use std::path::PathBuf;

use admix_plugins::mixers::PuzzleMix;
use admix_plugins::mixers::puzzle::Problem;
use admix_plugins::mixers::puzzle::grid::saliency_shares;
use admix_torch::{Kind, Tensor, no_grad};
use anyhow::Result;
use clap::Args;

use crate::bench_salient::Viewer;
use crate::device::DeviceArgs;
use crate::failure::bad_input;
use crate::output::Format;
use crate::recipes::Changes;

/// Blocks a side of the authors' grids.
const BLOCKS: [i64; 4] = [2, 4, 8, 16];
/// Images that are viewed together. Each has a lambda of its own.
const BATCH: usize = 40;

/// Flags of `admix bench puzzlemix`.
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

/// Problems of one grid, as PuzzleMix poses them to its solver in training.
struct Problems {
    blocks: i64,
    /// Costs in float32.
    problem: Problem,
    /// `[N]`, as drawn.
    lambda: Tensor,
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

/// The problems of these batches of images: partners by a permutation of each batch, lambda ~ Beta(1, 1) for each image.
fn problems(
    viewer: &Viewer,
    mixer: &PuzzleMix,
    blocks: i64,
    batches: std::ops::Range<usize>,
) -> Result<Problems> {
    let mut parts: [Vec<Tensor>; 4] = Default::default();
    for number in batches {
        let batch = viewer.batch(number, BATCH)?;
        let _no_graph = no_grad();
        let mut draws = viewer.streams().draws("mix", "bench", 0, number as u64);
        let device = batch.images.device();
        let partner = Tensor::f_from_slice(&draws.permutation(BATCH))?.f_to_device(device)?;
        let lambda = (0..BATCH).map(|_| draws.beta(1.0, 1.0)).collect::<Result<Vec<_>, _>>()?;
        let lambda = Tensor::f_from_slice(&lambda)?.f_to_kind(Kind::Float)?.f_to_device(device)?;
        let shares = saliency_shares(&batch.saliency, (blocks, blocks))?;
        let partners = |of: &Tensor| of.f_index_select(0, &partner);
        let terms =
            mixer.terms((&batch.images, &partners(&batch.images)?), (&shares, &partners(&shares)?))?;
        let Problem { unary, vertical, horizontal } = terms.problem(&lambda, mixer.labels, mixer.eta)?;
        for (part, tensor) in parts.iter_mut().zip([unary, vertical, horizontal, lambda]) {
            part.push(tensor);
        }
    }
    let [unary, vertical, horizontal, lambda] = parts.map(|part| Tensor::f_cat(&part, 0));
    let problem = Problem { unary: unary?, vertical: vertical?, horizontal: horizontal? };
    Ok(Problems { blocks, problem, lambda: lambda? })
}
