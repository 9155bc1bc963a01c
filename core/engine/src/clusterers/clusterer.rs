//! What a clusterer is, and the settings that build it.

use std::fmt::Debug;

use admix_api::Draws;
use admix_torch::{Device, Tensor};
use serde_json::Value as Json;

use crate::Result;

/// Gives every training image a label in 0..K. All its state is in tensors on the device.
///
/// [`labels`](Self::labels), [`class_weight`](Self::class_weight), [`update`](Self::update) and
/// [`settle`](Self::settle) belong to a step and never wait for the device. The rest acts between steps and may.
///
/// ```
/// use admix_api::Streams;
/// use admix_engine::{ClustererConfig, Odc};
/// use admix_torch::{Device, Kind, Tensor};
///
/// let config = Odc { k: 2, min_size: 1, ..Odc::default() };
/// let mut clusterer = config.build(4, 3, Device::Cpu)?;
/// let features = admix_api::unit(&Tensor::from_slice(&[0f32, 0., 1., 0., 0., 2., 1., 0., 0., 2., 0., 0.]).reshape([4, 3]))?;
/// clusterer.initialise(&features, &mut Streams::new(0).draws("cluster", "", 0, 0))?;
/// let labels = clusterer.labels(&Tensor::arange(4, (Kind::Int64, Device::Cpu)))?;
/// assert!(labels.get(0) == labels.get(1) && labels.get(1) != labels.get(2) && labels.get(2) == labels.get(3));
/// # Ok::<(), admix_engine::Error>(())
/// ```
pub trait Clusterer: Debug {
    /// The state by name, the very tensors: a checkpoint holds them as `bank.<clusterer>.<name>`.
    fn tensors(&self) -> Vec<(&'static str, Tensor)>;

    /// Says that the tensors were filled from outside.
    fn loaded(&mut self);

    /// Starts anew from the features `[n, d]` of the whole training set.
    ///
    /// # Errors
    /// Features of another shape than it was built for.
    fn initialise(&mut self, features: &Tensor, draws: &mut Draws) -> Result<()>;

    /// Fills the clusterer with made-up features, without clustering, so that timed steps do all that a run's steps do. A
    /// clusterer whose steps cost the same while it is empty need not implement it.
    ///
    /// # Errors
    /// libtorch refused.
    fn rehearse(&mut self) -> Result<()> {
        Ok(())
    }

    /// The labels of samples: `[N]` int64 from their ids `[N]` int64.
    ///
    /// # Errors
    /// An id out of range.
    fn labels(&self, index: &Tensor) -> Result<Tensor>;

    /// The weight of each label in a loss, `[K]` float32.
    ///
    /// # Errors
    /// libtorch refused.
    fn class_weight(&self) -> Result<Tensor>;

    /// Takes in new embeddings `[N, D]` of samples with these ids `[N]`, no id twice. Returns the share of labels that
    /// changed, 0-dim. An embedding that is not finite leaves its sample as it was.
    ///
    /// # Errors
    /// Embeddings of another width than it was built for.
    fn update(&mut self, index: &Tensor, embeddings: &Tensor) -> Result<Tensor>;

    /// Ends a step: takes back its updates where `found_inf`, a 0-dim float32, is not 0.
    ///
    /// # Errors
    /// libtorch refused.
    fn settle(&mut self, found_inf: &Tensor) -> Result<()>;

    /// Forgets what the updates of a step have written over: the step did not happen.
    fn forget(&mut self);

    /// What is due after the step of this number, from 1. Returns whether clusters were made anew.
    ///
    /// # Errors
    /// libtorch refused.
    fn after_step(&mut self, step: u64, draws: &mut Draws) -> Result<bool>;
}

/// Settings of a clusterer.
///
/// ```
/// use admix_engine::{ClustererConfig, Odc};
///
/// let config = Odc { k: 10, ..Odc::default() };
/// config.validate()?;
/// assert_eq!(config.clusters(), 10);
/// assert!(config.check(1000).is_ok() && config.check(5).is_err());
/// # Ok::<(), admix_api::Error>(())
/// ```
pub trait ClustererConfig: Debug {
    /// How many clusters there are.
    fn clusters(&self) -> i64;

    /// Checks the ranges, naming the field.
    ///
    /// # Errors
    /// A value out of range.
    fn validate(&self) -> admix_api::Result<()>;

    /// Checks the settings for a data set of so many samples, naming the field.
    ///
    /// # Errors
    /// More clusters than the data can fill.
    fn check(&self, samples: usize) -> admix_api::Result<()>;

    /// The clusterer for so many samples with features of this width, before its start: every sample in cluster 0.
    ///
    /// # Errors
    /// libtorch refused.
    fn build(&self, samples: i64, width: i64, device: Device) -> Result<Box<dyn Clusterer>>;

    /// The settings in full, defaults included.
    fn resolved(&self) -> Json;
}
