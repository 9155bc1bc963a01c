//! The problems that PuzzleMix poses to its solvers.

use admix_plugins::mixers::PuzzleMix;
use admix_plugins::mixers::puzzlemix::Problem;
use admix_plugins::mixers::puzzlemix::grid::saliency_shares;
use admix_torch::{Kind, Tensor, no_grad};
use anyhow::Result;

use crate::salient::Viewer;

/// Images that are viewed together. Each has a lambda of its own.
pub const BATCH: usize = 40;

/// Problems of one grid, as PuzzleMix poses them to its solver in training.
pub struct Problems {
    /// Blocks of a side.
    pub blocks: i64,
    /// Costs in float32.
    pub problem: Problem,
    /// `[N]`, as drawn.
    pub lambda: Tensor,
}

/// The problems of these batches of images: partners by a permutation of each batch, lambda ~ Beta(1, 1) for each image.
///
/// # Errors
/// The dataset has not so many images.
pub fn problems(
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
