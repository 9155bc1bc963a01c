//! Images with the saliency that a trained network gives them: real problems for mixers that read saliency.
//!
//! Saliency  the norm over channels of the input gradient of the cross-entropy, network in evaluation mode, as in
//!           PuzzleMix (arXiv:2009.06962, Sec. 4) with the authors' root mean square over channels.

use std::path::Path;

use admix::checkpoints;
use admix::failure::bad_input;
use admix::libraries;
use admix_api::Streams;
use admix_data::Dataset;
use admix_engine::{Override, Session};
use admix_torch::{Device, Kind, Reduction, Tensor, gradients, with_grad};
use anyhow::{Context, Result};

/// Images as a network is trained on them, and what it looks at.
#[derive(Debug)]
pub struct SalientBatch {
    /// `[N, C, H, W]` float32, augmented and normalised.
    pub images: Tensor,
    /// `[N, H, W]` float32, not negative.
    pub saliency: Tensor,
}

/// A dataset as a trained network sees it.
pub struct Viewer {
    session: Session,
    dataset: Dataset,
    head: String,
    order: Tensor,
    streams: Streams,
}

impl Viewer {
    /// The first network of a checkpoint (or of the newest in a run folder), and the training images of its recipe.
    ///
    /// # Errors
    /// No such checkpoint, a recipe without a head, or a dataset that is not there.
    pub fn open(checkpoint: &Path, changes: &[Override], device: Device) -> Result<Self> {
        let registry = libraries::registry()?;
        let checkpoint = checkpoints::open(checkpoint, false, device)?;
        let recipe = checkpoints::recipe(&checkpoint, changes, &registry)?;
        let streams = Streams::new(recipe.seed);
        let dataset = Dataset::open(&recipe.data, &registry, device, streams)?;
        let session = checkpoints::session(&checkpoint, (&recipe, &[]), &registry, &dataset, device)?;
        let head = recipe.heads.first().ok_or_else(|| bad_input("the recipe has no head"))?.clone();
        let order = dataset.order(&mut streams.draws("order", "bench", 0, 0))?;
        Ok(Self { session, dataset, head, order, streams })
    }

    /// The standard deviation by which each channel was divided, pixels in [0, 1].
    pub fn std(&self) -> Vec<f64> {
        self.dataset.info().std.iter().map(|std| f64::from(*std)).collect()
    }

    /// Streams of the recipe's seed, for whatever else a benchmark draws.
    pub fn streams(&self) -> Streams {
        self.streams
    }

    /// Batch `number` of `n` images: no image is in two batches.
    ///
    /// # Errors
    /// The dataset has not so many images.
    pub fn batch(&self, number: usize, n: usize) -> Result<SalientBatch> {
        let start = (number * n) as i64;
        let have = self.order.size1()?;
        if start + n as i64 > have {
            return Err(bad_input(format!(
                "{} has {have} training images, too few for {} batches of {n}",
                self.dataset.info().name,
                number + 1
            )));
        }
        let index = self.order.f_narrow(0, start, n as i64)?;
        let augmentation =
            self.dataset.augmentation(n, &mut self.streams.draws("augment", "bench", 0, number as u64))?;
        let batch = self.dataset.train_batch(&index, &augmentation)?;
        let saliency = self.saliency(&batch.images, &batch.labels)?;
        Ok(SalientBatch { images: batch.images, saliency })
    }

    /// Saliency `[N, H, W]` of images `[N, C, H, W]` with labels `[N]`.
    fn saliency(&self, images: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let _graph = with_grad();
        let world = self.session.world();
        let network = &world.nets.first().context("the recipe has no network")?.network;
        let seen = images.f_detach_copy()?.f_set_requires_grad(true)?;
        let map = network.backbone().forward(&seen, &admix_models::Pass::EVALUATE)?;
        let logits = network.forward_head(&self.head, &map, false)?;
        let loss = logits.f_cross_entropy_loss::<Tensor>(labels, None, Reduction::Mean, -100, 0.0)?;
        let gradient = gradients(&[loss], &[seen], false, false)?.pop().flatten();
        let gradient = gradient.context("the loss does not depend on the images")?;
        Ok(gradient.f_square()?.f_mean_dim([1i64].as_slice(), false, Kind::Float)?.f_sqrt()?)
    }
}
