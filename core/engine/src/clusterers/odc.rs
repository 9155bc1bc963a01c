//! Online deep clustering: a memory of features and labels that moves with the training.
//!
//! Source  Zhan et al., CVPR 2020, arXiv:2006.10645; the AMix paper, section 4 (AMix-C, pseudo labels). The schedule
//!         of centroids, dissolving and splitting is that of the authors' code.

use admix_api::{Draws, describe};
use admix_torch::{Device, Download, Kind, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::clusterer::{Clusterer, ClustererConfig};
use super::kmeans::{counted, k_means, means};
use crate::ranges::expect;
use crate::{Error, Result};

/// What the weights of the classes are scaled to. The weighted mean of a loss does not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Reweight {
    /// To mean 1 over the clusters. Default.
    #[default]
    MeanOne,
    /// To sum 1 over the clusters, as in the authors' code: a loss that is divided by N shrinks by about 1/K.
    SumOne,
}

/// Settings of online deep clustering. Recipe: `Odc(k: 200)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Odc {
    /// Number of clusters. Default 200.
    pub k: i64,
    /// Weight of the new feature in the clusterer's, in (0, 1]. Default 0.5.
    pub momentum: f64,
    /// Centroids are taken anew every this many steps. Default 10.
    pub every: u64,
    /// A cluster of fewer samples is dissolved, and a part of the largest takes its place. Default 20.
    pub min_size: i64,
    /// Lloyd's iterations of every k-means. Default 20.
    pub iterations: usize,
    /// What the weights of the classes, (count + 1e-5)^(-1/2), are scaled to. Default MeanOne.
    pub reweight: Reweight,
}

impl Default for Odc {
    fn default() -> Self {
        Self { k: 200, momentum: 0.5, every: 10, min_size: 20, iterations: 20, reweight: Reweight::MeanOne }
    }
}

describe! {
    dyn Clusterer, dyn ClustererConfig: Odc, "Odc", "odc",
    "Online deep clustering: a memory of features and labels that moves with the training.",
    source: "Zhan et al., CVPR 2020, arXiv:2006.10645; the AMix paper, section 4 (AMix-C)",
    served: ()
}

impl ClustererConfig for Odc {
    fn clusters(&self) -> i64 {
        self.k
    }

    fn validate(&self) -> admix_api::Result<()> {
        expect("k", self.k, self.k >= 2, "a whole number from 2")?;
        let good = self.momentum > 0.0 && self.momentum <= 1.0;
        expect("momentum", self.momentum, good, "a number above 0 and up to 1")?;
        expect("every", self.every, self.every > 0, "a whole number from 1")?;
        expect("min_size", self.min_size, self.min_size > 0, "a whole number from 1")
    }

    fn check(&self, samples: usize) -> admix_api::Result<()> {
        let enough = self.k as u64 <= samples as u64;
        expect("k", self.k, enough, &format!("at most the {samples} training images"))?;
        let most = samples as i64 / self.k;
        let wanted = format!(
            "1 to {most}: {} clusters share {samples} training images; lower `min_size` or `k`",
            self.k
        );
        let fits = self.min_size.saturating_mul(self.k) as u64 <= samples as u64;
        expect("min_size", self.min_size, fits, &wanted)
    }

    fn build(&self, samples: i64, width: i64, device: Device) -> Result<Box<dyn Clusterer>> {
        Ok(Box::new(OdcClusterer::new(self.clone(), samples, width, device)?))
    }

    fn resolved(&self) -> Json {
        json!(self)
    }
}

/// The memory: features, labels, centroids and counts, all on the device.
#[derive(Debug)]
pub struct OdcClusterer {
    settings: Odc,
    /// `[n, d]`, rows of unit length.
    features: Tensor,
    /// `[n]` int64 in 0..K.
    labels: Tensor,
    /// `[K, d]`, plain means of members: not of unit length.
    centroids: Tensor,
    /// `[K]` int64, samples of each label.
    counts: Tensor,
    /// Whether there is something to cluster: not before the start, nor in dry calls.
    filled: bool,
    /// What this step has written over, oldest first.
    replaced: Vec<Replaced>,
    /// On a GPU: the smallest count after the step before, on its way to the host. None: read now.
    smallest: Option<Download>,
}

/// What an update wrote over.
#[derive(Debug)]
struct Replaced {
    /// Ids of the samples, `[N]`.
    index: Tensor,
    /// Their features, `[N, d]`.
    features: Tensor,
    /// Their labels, `[N]`.
    labels: Tensor,
    /// All counts, `[K]`.
    counts: Tensor,
}

/// Splits the members of a cluster, features `[m, d]` in ascending order of their ids: the positions `[p]` int64 in 0..m of
/// the second part.
pub type Split<'a> = &'a mut dyn FnMut(&Tensor) -> Result<Tensor>;

impl OdcClusterer {
    /// An empty one: every sample in cluster 0, every feature 0.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn new(settings: Odc, samples: i64, width: i64, device: Device) -> Result<Self> {
        let floats = (Kind::Float, device);
        let labels = Tensor::f_zeros([samples], (Kind::Int64, device))?;
        let counts = counted(&labels, settings.k)?;
        Ok(Self {
            features: Tensor::f_zeros([samples, width], floats)?,
            centroids: Tensor::f_zeros([settings.k, width], floats)?,
            labels,
            counts,
            settings,
            filled: false,
            replaced: Vec::new(),
            smallest: None,
        })
    }

    /// Puts in features `[n, d]` of unit length, labels `[n]` and centroids `[K, d]`.
    ///
    /// # Errors
    /// Another shape than it was built for.
    pub fn set(&mut self, features: &Tensor, labels: &Tensor, centroids: &Tensor) -> Result<()> {
        let _guard = admix_torch::no_grad();
        self.features.f_copy_(features)?;
        self.labels.f_copy_(labels)?;
        self.centroids.f_copy_(centroids)?;
        self.filled = true;
        self.smallest = None;
        self.recount()
    }

    /// Asks for the smallest count, which the host reads after the next step: reading it now would let the device run dry.
    fn ask_for_smallest(&mut self) -> Result<()> {
        if self.counts.device() != Device::Cpu {
            self.smallest = Some(Download::of(&self.counts.f_min()?)?);
        }
        Ok(())
    }

    fn recount(&mut self) -> Result<()> {
        Ok(self.counts.f_copy_(&counted(&self.labels, self.settings.k)?)?)
    }

    /// Unit vectors without a graph, in float32.
    fn units(&self, features: &Tensor, rows: i64) -> Result<Tensor> {
        let wanted = [rows, self.features.size()[1]];
        if features.size() != wanted {
            return Err(Error::Input(format!(
                "the clusterer keeps features of {wanted:?} here, got the shape {:?}: give it embeddings [N, D] as the \
                 network makes them",
                features.size()
            )));
        }
        Ok(admix_api::unit(&features.f_detach()?.f_to_kind(Kind::Float)?)?)
    }

    fn nearest(&self, features: &Tensor, centroids: &Tensor) -> Result<Tensor> {
        Ok(features.f_matmul(&centroids.f_transpose(0, 1)?)?.f_argmax(1, false)?)
    }

    /// Each centroid becomes the mean of its members; an empty cluster keeps its own.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn update_centroids(&mut self) -> Result<()> {
        let _guard = admix_torch::no_grad();
        let (new, counts) = means(&self.features, &self.labels, self.settings.k)?;
        let kept = new.f_where_self(&counts.f_gt(0)?.f_unsqueeze(1)?, &self.centroids)?;
        Ok(self.centroids.f_copy_(&kept)?)
    }

    /// Dissolves clusters of fewer samples than `min_size`: their samples go to the nearest large cluster (whose
    /// centroid stays). Then each of them, in ascending order, takes the second part of the cluster that is the largest
    /// at that time (the lowest index of equals), and both centroids become means. Returns whether there were any.
    ///
    /// # Errors
    /// `split` fails.
    pub fn dissolve_small(&mut self, split: Split<'_>) -> Result<bool> {
        let _guard = admix_torch::no_grad();
        let min = self.settings.min_size;
        if self.counts.f_min()?.f_int64_value(&[])? >= min {
            return Ok(false);
        }
        let is_small = self.counts.f_lt(min)?;
        let list = |mask: &Tensor| mask.f_nonzero().and_then(|at| at.f_squeeze_dim(1));
        let (small, large) = (list(&is_small)?, list(&is_small.f_logical_not()?)?);
        if large.size()[0] == 0 {
            // No more samples than small clusters can hold: nowhere to go.
            return Ok(true);
        }
        let homeless = list(&is_small.f_index_select(0, &self.labels)?)?;
        if homeless.size()[0] > 0 {
            let features = self.features.f_index_select(0, &homeless)?;
            let at = self.nearest(&features, &self.centroids.f_index_select(0, &large)?)?;
            let _ = self.labels.f_index_copy_(0, &homeless, &large.f_index_select(0, &at)?)?;
            self.recount()?;
        }
        for empty in Vec::<i64>::try_from(&small.f_to_device(Device::Cpu)?)? {
            let largest = self.counts.f_argmax(None, false)?.f_int64_value(&[])?;
            let members = list(&self.labels.f_eq(largest)?)?;
            if members.size()[0] < 2 {
                break;
            }
            let features = self.features.f_index_select(0, &members)?;
            let second = members.f_index_select(0, &split(&features)?)?;
            let _ = self.labels.f_index_fill_(0, &second, empty)?;
            self.recount()?;
            for cluster in [largest, empty] {
                let members = list(&self.labels.f_eq(cluster)?)?;
                let mean = self.features.f_index_select(0, &members)?.f_mean_dim(0i64, false, None)?;
                self.centroids.f_select(0, cluster)?.f_copy_(&mean)?;
            }
        }
        Ok(true)
    }
}

impl Clusterer for OdcClusterer {
    fn tensors(&self) -> Vec<(&'static str, Tensor)> {
        vec![
            ("features", self.features.shallow_clone()),
            ("labels", self.labels.shallow_clone()),
            ("centroids", self.centroids.shallow_clone()),
            ("counts", self.counts.shallow_clone()),
        ]
    }

    fn loaded(&mut self) {
        self.filled = true;
        // What the step before the checkpoint asked for. A device that refuses is asked again after the next step.
        self.smallest = None;
        drop(self.ask_for_smallest());
    }

    fn initialise(&mut self, features: &Tensor, draws: &mut Draws) -> Result<()> {
        let features = self.units(features, self.features.size()[0])?;
        let (labels, centroids) = k_means(&features, self.settings.k, self.settings.iterations, draws)?;
        self.set(&features, &labels, &centroids)
    }

    fn rehearse(&mut self) -> Result<()> {
        let _guard = admix_torch::no_grad();
        let (size, options) = (self.features.size(), (Kind::Float, self.features.device()));
        let features = Tensor::f_arange(size[0] * size[1], options)?.f_sin()?.f_reshape(&size)?;
        // Clusters of equal sizes: none is dissolved.
        let labels = self.labels.f_ones_like()?.f_cumsum(0, Kind::Int64)?.f_remainder(self.settings.k)?;
        let centroids = self.centroids.shallow_clone();
        self.set(&admix_api::unit(&features)?, &labels, &centroids)?;
        self.update_centroids()
    }

    fn labels(&self, index: &Tensor) -> Result<Tensor> {
        Ok(self.labels.f_index_select(0, index)?)
    }

    fn class_weight(&self) -> Result<Tensor> {
        let plain = self.counts.f_to_kind(Kind::Float)?.f_add_scalar(1e-5)?.f_rsqrt()?;
        let whole = plain.f_sum(Kind::Float)?;
        let scaled = plain.f_div(&whole)?;
        Ok(match self.settings.reweight {
            Reweight::SumOne => scaled,
            Reweight::MeanOne => scaled.f_mul_scalar(self.settings.k as f64)?,
        })
    }

    fn update(&mut self, index: &Tensor, embeddings: &Tensor) -> Result<Tensor> {
        let _guard = admix_torch::no_grad();
        let new = self.units(embeddings, index.size1()?)?;
        let old = self.features.f_index_select(0, index)?;
        let finite = new.f_isfinite()?.f_all_dim(1, true)?;
        // unit((1 - m) old + m unit(new)); the label is the centroid with the largest dot product.
        let mixed = admix_api::unit(&old.f_lerp(&new, self.settings.momentum)?)?;
        let feature = mixed.f_where_self(&finite, &old)?;
        let label = self.nearest(&feature, &self.centroids)?;
        let before = self.labels.f_index_select(0, index)?;
        let counts = self.counts.f_detach_copy()?;
        let one = label.f_ones_like()?;
        let _ = self.counts.f_index_add_(0, &before, &one.f_neg()?)?.f_index_add_(0, &label, &one)?;
        let _ = self.features.f_index_copy_(0, index, &feature)?;
        let _ = self.labels.f_index_copy_(0, index, &label)?;
        let changed = label.f_ne_tensor(&before)?.f_to_kind(Kind::Float)?.f_mean(Kind::Float)?;
        self.replaced.push(Replaced { index: index.shallow_clone(), features: old, labels: before, counts });
        Ok(changed)
    }

    fn settle(&mut self, found_inf: &Tensor) -> Result<()> {
        let _guard = admix_torch::no_grad();
        let bad = found_inf.f_ne(0)?;
        for Replaced { index, features, labels, counts } in
            std::mem::take(&mut self.replaced).into_iter().rev()
        {
            for (now, old) in [(&mut self.features, features), (&mut self.labels, labels)] {
                let rows = old.f_where_self(&bad, &now.f_index_select(0, &index)?)?;
                let _ = now.f_index_copy_(0, &index, &rows)?;
            }
            self.counts.f_copy_(&counts.f_where_self(&bad, &self.counts)?)?;
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.replaced.clear();
    }

    fn after_step(&mut self, step: u64, draws: &mut Draws) -> Result<bool> {
        if !self.filled {
            return Ok(false);
        }
        if step.is_multiple_of(self.settings.every) {
            self.update_centroids()?;
        }
        let iterations = self.settings.iterations;
        // On a GPU a cluster that was small after the step before, and still is, is dissolved: one step later than on a CPU.
        let due = match self.smallest.take() {
            Some(smallest) => smallest.read()?.f_int64_value(&[])? < self.settings.min_size,
            None => true,
        };
        let dissolved = due
            && self.dissolve_small(&mut |members| {
                let (part, _) = k_means(members, 2, iterations, draws)?;
                Ok(part.f_nonzero()?.f_squeeze_dim(1)?)
            })?;
        self.ask_for_smallest()?;
        Ok(dissolved)
    }
}

#[cfg(test)]
mod tests;
