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
mod tests {
    use admix_api::Streams;
    use admix_api::contract::wild;

    use super::*;

    fn draws(step: u64) -> Draws {
        Streams::new(4).draws("cluster", "odc", 0, step)
    }

    fn started(settings: Odc, n: i64) -> OdcClusterer {
        let mut clusterer = OdcClusterer::new(settings, n, 8, Device::Cpu).expect("a clusterer");
        clusterer.initialise(&wild(&[n, 8], 0.4, Kind::Float), &mut draws(0)).expect("features");
        clusterer
    }

    fn counts(clusterer: &OdcClusterer) -> Vec<i64> {
        Vec::try_from(&clusterer.counts).expect("counts")
    }

    fn settings() -> Odc {
        Odc { k: 6, min_size: 5, ..Odc::default() }
    }

    #[test]
    fn counts_follow_labels_through_updates_centroids_and_splits() {
        let mut clusterer = started(settings(), 90);
        let mut dissolved = 0;
        for step in 1..=60u64 {
            let index = Tensor::from_slice(&Streams::new(step).draws("ids", "", 0, 0).permutation(90)[..15]);
            // All new features are alike: clusters run dry.
            let new = wild(&[15, 8], 0.1, Kind::Float) * 0.1 + 1.0;
            let _ = clusterer.update(&index, &new).expect("an update");
            dissolved += u64::from(clusterer.after_step(step, &mut draws(step)).expect("a step"));
            assert!(clusterer.counts.equal(&counted(&clusterer.labels, 6).expect("counts")), "step {step}");
            assert!(
                counts(&clusterer).iter().all(|count| *count > 0),
                "step {step}: {:?}",
                counts(&clusterer)
            );
            assert!(clusterer.centroids.isfinite().all().int64_value(&[]) == 1);
            let norms = clusterer.features.norm_scalaropt_dim(2.0, 1i64, false);
            assert!((norms - 1.0).abs().max().double_value(&[]) < 1e-5);
        }
        assert!(dissolved > 3, "clusters must have run dry: {dissolved}");
    }

    #[test]
    fn embeddings_that_are_not_finite_do_not_poison_the_clusterer() {
        let mut clusterer = started(settings(), 90);
        let before = clusterer.features.copy();
        let new = wild(&[2, 8], 0.6, Kind::Float);
        let _ = new.get(0).fill_(f64::NAN);
        let _ = clusterer.update(&Tensor::from_slice(&[3i64, 4]), &new).expect("an update");
        assert!(
            clusterer.features.get(3).equal(&before.get(3))
                && !clusterer.features.get(4).equal(&before.get(4))
        );
        assert_eq!(clusterer.features.isfinite().all().int64_value(&[]), 1);
    }

    #[test]
    fn a_clusterer_that_was_never_filled_is_left_alone_between_steps() {
        let mut clusterer = OdcClusterer::new(settings(), 90, 8, Device::Cpu).expect("a clusterer");
        assert!(!clusterer.after_step(10, &mut draws(10)).expect("a step"));
        assert_eq!(counts(&clusterer), [90, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_rehearsed_clusterer_has_clusters_of_equal_sizes_and_nothing_to_dissolve() {
        let mut clusterer = OdcClusterer::new(settings(), 90, 8, Device::Cpu).expect("a clusterer");
        clusterer.rehearse().expect("features");
        assert_eq!(counts(&clusterer), [15; 6]);
        assert!(!clusterer.after_step(10, &mut draws(10)).expect("a step"));
        assert!(clusterer.centroids.isfinite().all().int64_value(&[]) == 1);
    }

    #[test]
    fn weights_of_the_two_scales_differ_by_the_number_of_clusters() {
        let mean = started(settings(), 90);
        let sum = started(Odc { reweight: Reweight::SumOne, ..settings() }, 90);
        let (mean, sum) = (mean.class_weight().expect("weights"), sum.class_weight().expect("weights"));
        assert!((sum.sum(Kind::Double).double_value(&[]) - 1.0).abs() < 1e-6);
        assert!((mean - sum * 6.0).abs().max().double_value(&[]) < 1e-6);
    }

    #[test]
    fn settings_that_the_data_cannot_fill_are_refused_by_field() {
        let refusal = |odc: Odc, samples| odc.check(samples).expect_err("refused").to_string();
        assert_eq!(refusal(Odc::default(), 150), "k is 200, expected at most the 150 training images");
        let message = refusal(Odc::default(), 3000);
        assert!(
            message.starts_with("min_size is 20, expected 1 to 15") && message.contains("3000"),
            "{message}"
        );
        let message = Odc { momentum: 0.0, ..Odc::default() }.validate().expect_err("refused").to_string();
        assert!(message.starts_with("momentum is 0"), "{message}");
        assert!(Odc::default().check(4000).is_ok());
        let wrong =
            started(settings(), 90).update(&Tensor::from_slice(&[0i64]), &wild(&[1, 4], 0.1, Kind::Float));
        assert!(wrong.expect_err("refused").to_string().contains("embeddings [N, D]"));
    }
}
