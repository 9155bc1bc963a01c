//! What every head guesses on a batch of a labelled set: counts that stay on the device, captured where steps are.

use std::cell::RefCell;

use admix_models::Pass;
use admix_torch::{GraphId, Kind, Reduction, Tensor, duplicate};

use crate::method::recorder::{Fixed, GraphRecorder};
use crate::world::{HeadUnit, World};
use crate::{Error, Result};

/// Of each head, `<head>_<network>`: images whose label is the first guess, those where it is among the first five (all, if
/// there are fewer classes), the sum of the cross-entropies, and images with a logit that is not finite. `[4]` float64.
pub(crate) type Guesses = Vec<(String, Tensor)>;

/// Counts for images `[N, C, H, W]` and labels `[N]`, networks in evaluation mode, without a graph.
///
/// # Errors
/// libtorch refused.
pub(crate) fn tally(world: &World, images: &Tensor, labels: &Tensor) -> Result<Guesses> {
    let _guard = admix_torch::no_grad();
    let mut all = Vec::new();
    for net in &world.nets {
        let heads = {
            let _low = world.precision.enter(world.device)?;
            let map = net.network.backbone().forward(images, &Pass::EVALUATE)?;
            let mut heads = net.network.logits(&map)?;
            let own = |unit: &&HeadUnit| unit.evaluated.as_ref() == Some(&net.name);
            for unit in world.heads.iter().filter(own) {
                let embedding = net.network.embed(&map, false)?.f_to_kind(Kind::Float)?;
                heads.push((unit.name.clone(), unit.forward(&embedding, false)?));
            }
            heads
        };
        for (head, logits) in heads {
            let logits = logits.f_to_kind(Kind::Float)?;
            let k = 5.min(logits.size2()?.1);
            let (_, guesses) = logits.f_topk(k, 1, true, true)?;
            let hits = guesses.f_eq_tensor(&labels.f_unsqueeze(1)?)?.f_to_kind(Kind::Float)?;
            let loss = logits.f_cross_entropy_loss::<Tensor>(labels, None, Reduction::Sum, -100, 0.0)?;
            let first = hits.f_narrow(1, 0, 1)?.f_sum(Kind::Float)?;
            let broken = broken(&logits)?;
            let sums = Tensor::f_stack(&[first, hits.f_sum(Kind::Float)?, loss, broken], 0)?;
            all.push((format!("{head}_{}", net.name), sums.f_to_kind(Kind::Double)?));
        }
    }
    Ok(all)
}

/// How many rows of values `[N, D]` have one that is not finite, 0-dim float32.
///
/// # Errors
/// libtorch refused.
pub(crate) fn broken(values: &Tensor) -> Result<Tensor> {
    let whole = values.f_isfinite()?.f_all_dim(1, false)?;
    Ok(whole.f_logical_not()?.f_sum(Kind::Float)?)
}

/// What tells batches apart that one graph cannot count for: shapes, strides, kinds.
pub(crate) type Layout = [(Vec<i64>, Vec<i64>, i32); 2];

/// The layout of a batch.
pub(crate) fn layout(images: &Tensor, labels: &Tensor) -> Layout {
    [images, labels].map(|tensor| (tensor.size(), tensor.stride(), tensor.kind() as i32))
}

/// Counting that was captured, with the batch that it reads and the counts that it leaves, each at its place.
#[derive(Debug)]
pub(crate) struct TallyGraph {
    images: Tensor,
    labels: Tensor,
    left: RefCell<Guesses>,
    graph: GraphId,
}

impl TallyGraph {
    /// Captures; nothing is executed.
    ///
    /// # Errors
    /// It cannot be captured.
    pub(crate) fn capture(
        recorder: &mut dyn GraphRecorder,
        world: &World,
        images: &Tensor,
        labels: &Tensor,
    ) -> Result<Self> {
        let (images, labels) = (duplicate(images)?, duplicate(labels)?);
        let left = RefCell::new(Guesses::new());
        let mut work = || work(world, &images, &labels, &left);
        let graph = recorder.capture(&|| fixed(world, &images, &labels), &mut work)?;
        Ok(Self { images, labels, left, graph })
    }

    /// Counts for a batch of the same layout.
    ///
    /// # Errors
    /// The device refused.
    pub(crate) fn replay(
        &self,
        recorder: &mut dyn GraphRecorder,
        world: &World,
        images: &Tensor,
        labels: &Tensor,
    ) -> Result<Guesses> {
        self.images.shallow_clone().f_copy_(images)?;
        self.labels.shallow_clone().f_copy_(labels)?;
        let mut work = || work(world, &self.images, &self.labels, &self.left);
        let fixed: Fixed<'_> = &|| fixed(world, &self.images, &self.labels);
        recorder.replay(self.graph, fixed, &mut work)?;
        // The next replay writes over them.
        let copied = |(name, sums): &(String, Tensor)| Ok((name.clone(), sums.f_detach_copy()?));
        self.left.borrow().iter().map(copied).collect()
    }
}

/// What is captured. Run again, it leaves its counts in the places of the first time, as a graph does.
fn work(world: &World, images: &Tensor, labels: &Tensor, left: &RefCell<Guesses>) -> Result<()> {
    let new = tally(world, images, labels)?;
    let left = &mut *left.borrow_mut();
    if left.is_empty() {
        *left = new;
        return Ok(());
    }
    if left.len() != new.len() {
        return Err(Error::Input("captured counting found other heads than before".into()));
    }
    for ((_, own), (_, new)) in left.iter_mut().zip(&new) {
        own.f_copy_(new)?;
    }
    Ok(())
}

fn fixed(world: &World, images: &Tensor, labels: &Tensor) -> Vec<(String, Tensor)> {
    let mut all = world.fixed();
    all.push(("images".into(), images.shallow_clone()));
    all.push(("labels".into(), labels.shallow_clone()));
    all
}
