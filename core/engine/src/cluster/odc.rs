//! Online deep clustering: a memory of features and labels that moves with the training.
//!
//! Source  Zhan et al., CVPR 2020, arXiv:2006.10645; the AMix paper, section 4 (AMix-C, pseudo labels). The schedule
//!         of centroids, dissolving and splitting is that of the authors' code.

use admix_api::Draws;
use admix_torch::{Device, Kind, Tensor};
use serde::{Deserialize, Serialize};

use super::kmeans::{counted, k_means, means};
use crate::{Error, Result};

/// What the weights of the classes are scaled to. The weighted mean of a loss does not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Reweight {
    /// To mean 1 over the clusters. Default.
    #[default]
    MeanOne,
    /// To sum 1 over the clusters, as in the authors' code: a loss that is divided by N shrinks by about 1/K.
    SumOne,
}

/// Settings of online deep clustering. Recipe: `Odc(k: 200)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Odc {
    /// Number of clusters. Default 200.
    pub k: i64,
    /// Weight of the new feature in the bank's, in (0, 1]. Default 0.5.
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

impl Odc {
    pub(super) fn check(&self, samples: usize) -> Result<(), (&'static str, String)> {
        let refuse = |field, got: &dyn std::fmt::Display, wanted: &str| {
            Err((field, format!("is {got}, expected {wanted}")))
        };
        if self.k < 2 {
            return refuse("k", &self.k, "a whole number from 2");
        }
        if self.k as u64 > samples as u64 {
            return refuse("k", &self.k, &format!("at most the {samples} training images"));
        }
        if !(self.momentum > 0.0 && self.momentum <= 1.0) {
            return refuse("momentum", &self.momentum, "a number above 0 and up to 1");
        }
        if self.every == 0 {
            return refuse("every", &0, "a whole number from 1");
        }
        if self.min_size < 1 || self.min_size.saturating_mul(self.k) as u64 > samples as u64 {
            let most = samples as i64 / self.k;
            let wanted = format!(
                "1 to {most}: {} clusters share {samples} training images; lower `min_size` or `k`",
                self.k
            );
            return refuse("min_size", &self.min_size, &wanted);
        }
        Ok(())
    }
}

/// The memory: features, labels, centroids and counts, all on the device.
///
/// [`labels`](Self::labels), [`class_weight`](Self::class_weight) and [`update`](Self::update) belong to a step and never
/// wait for the device. What else moves it acts between steps and may.
#[derive(Debug)]
pub struct OdcBank {
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

impl OdcBank {
    pub(super) fn new(settings: Odc, samples: i64, width: i64, device: Device) -> Result<Self> {
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
        })
    }

    /// The settings.
    pub fn settings(&self) -> &Odc {
        &self.settings
    }

    /// Starts anew from the features `[n, d]` of the whole training set: k-means of their unit vectors.
    ///
    /// # Errors
    /// Features of another shape than the bank's.
    pub fn initialise(&mut self, features: &Tensor, draws: &mut Draws) -> Result<()> {
        let features = self.units(features, self.features.size()[0])?;
        let (labels, centroids) = k_means(&features, self.settings.k, self.settings.iterations, draws)?;
        self.set(&features, &labels, &centroids)
    }

    /// Puts in features `[n, d]` of unit length, labels `[n]` and centroids `[K, d]`.
    ///
    /// # Errors
    /// Another shape than the bank's.
    pub fn set(&mut self, features: &Tensor, labels: &Tensor, centroids: &Tensor) -> Result<()> {
        let _guard = admix_torch::no_grad();
        self.features.f_copy_(features)?;
        self.labels.f_copy_(labels)?;
        self.centroids.f_copy_(centroids)?;
        self.filled = true;
        self.recount()
    }

    /// Says that its tensors were filled from outside.
    pub(crate) fn loaded(&mut self) {
        self.filled = true;
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

    /// The labels of samples: `[N]` int64 from their ids `[N]` int64.
    ///
    /// # Errors
    /// An id out of range.
    pub fn labels(&self, index: &Tensor) -> Result<Tensor> {
        Ok(self.labels.f_index_select(0, index)?)
    }

    /// The weight of each label, `[K]` float32: (count + 1e-5)^(-1/2), scaled as the settings say.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn class_weight(&self) -> Result<Tensor> {
        let plain = self.counts.f_to_kind(Kind::Float)?.f_add_scalar(1e-5)?.f_rsqrt()?;
        let whole = plain.f_sum(Kind::Float)?;
        let scaled = plain.f_div(&whole)?;
        Ok(match self.settings.reweight {
            Reweight::SumOne => scaled,
            Reweight::MeanOne => scaled.f_mul_scalar(self.settings.k as f64)?,
        })
    }

    /// Takes in new embeddings `[N, d]` of samples with these ids `[N]`, no id twice: each bank feature becomes unit((1 - m)
    /// old + m unit(new)), its label the centroid with the largest dot product. Returns the share of labels that
    /// changed, 0-dim. An embedding that is not finite leaves its sample's feature as it was.
    ///
    /// # Errors
    /// Embeddings of another width than the bank's.
    pub fn update(&mut self, index: &Tensor, embeddings: &Tensor) -> Result<Tensor> {
        let _guard = admix_torch::no_grad();
        let new = self.units(embeddings, index.size1()?)?;
        let old = self.features.f_index_select(0, index)?;
        let finite = new.f_isfinite()?.f_all_dim(1, true)?;
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

    /// Ends a step: takes back its updates where `found_inf`, a 0-dim float32, is not 0.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn settle(&mut self, found_inf: &Tensor) -> Result<()> {
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

    /// Forgets what a step has written over, which did not happen.
    pub(crate) fn forget(&mut self) {
        self.replaced.clear();
    }

    fn nearest(&self, features: &Tensor, centroids: &Tensor) -> Result<Tensor> {
        Ok(features.f_matmul(&centroids.f_transpose(0, 1)?)?.f_argmax(1, false)?)
    }

    /// What is due after the step of this number, from 1: new centroids every few steps, then small clusters. Returns
    /// whether there were small clusters.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn after_step(&mut self, step: u64, draws: &mut Draws) -> Result<bool> {
        if !self.filled {
            return Ok(false);
        }
        if step.is_multiple_of(self.settings.every) {
            self.update_centroids()?;
        }
        let iterations = self.settings.iterations;
        self.dissolve_small(&mut |members| {
            let (part, _) = k_means(members, 2, iterations, draws)?;
            Ok(part.f_nonzero()?.f_squeeze_dim(1)?)
        })
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

    /// The state by name, the very tensors.
    pub fn tensors(&self) -> [(&'static str, Tensor); 4] {
        [
            ("features", self.features.shallow_clone()),
            ("labels", self.labels.shallow_clone()),
            ("centroids", self.centroids.shallow_clone()),
            ("counts", self.counts.shallow_clone()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use admix_api::Streams;
    use admix_api::contract::wild;
    use admix_torch::SyncCounter;

    use super::*;

    fn draws(step: u64) -> Draws {
        Streams::new(4).draws("cluster", "odc", 0, step)
    }

    fn bank(settings: Odc, n: i64) -> OdcBank {
        let mut bank = OdcBank::new(settings, n, 8, Device::Cpu).expect("a bank");
        bank.initialise(&wild(&[n, 8], 0.4, Kind::Float), &mut draws(0)).expect("features");
        bank
    }

    fn counts(bank: &OdcBank) -> Vec<i64> {
        Vec::try_from(&bank.counts).expect("counts")
    }

    fn settings() -> Odc {
        Odc { k: 6, min_size: 5, ..Odc::default() }
    }

    #[test]
    fn counts_follow_labels_through_updates_centroids_and_splits() {
        let mut bank = bank(settings(), 90);
        let mut dissolved = 0;
        for step in 1..=60u64 {
            let index = Tensor::from_slice(&Streams::new(step).draws("ids", "", 0, 0).permutation(90)[..15]);
            // All new features are alike: clusters run dry.
            let new = wild(&[15, 8], 0.1, Kind::Float) * 0.1 + 1.0;
            let _ = bank.update(&index, &new).expect("an update");
            dissolved += u64::from(bank.after_step(step, &mut draws(step)).expect("a step"));
            assert!(bank.counts.equal(&counted(&bank.labels, 6).expect("counts")), "step {step}");
            assert!(counts(&bank).iter().all(|count| *count > 0), "step {step}: {:?}", counts(&bank));
            assert!(bank.centroids.isfinite().all().int64_value(&[]) == 1);
            let norms = bank.features.norm_scalaropt_dim(2.0, 1i64, false);
            assert!((norms - 1.0).abs().max().double_value(&[]) < 1e-5);
        }
        assert!(dissolved > 3, "clusters must have run dry: {dissolved}");
    }

    #[test]
    fn what_belongs_to_a_step_never_waits_for_the_device() {
        let mut bank = bank(settings(), 90);
        let index = Tensor::arange(20, (Kind::Int64, Device::Cpu));
        let new = wild(&[20, 8], 0.6, Kind::Float);
        let syncs = SyncCounter::start();
        let _ = (bank.labels(&index).expect("labels"), bank.class_weight().expect("weights"));
        let _ = bank.update(&index, &new).expect("an update");
        assert_eq!(syncs.count(), 0);
        let _ = bank.after_step(1, &mut draws(1)).expect("a step");
        assert!(syncs.count() > 0, "the counter counts");
    }

    #[test]
    fn embeddings_that_are_not_finite_do_not_poison_the_bank() {
        let mut bank = bank(settings(), 90);
        let before = bank.features.copy();
        let new = wild(&[2, 8], 0.6, Kind::Float);
        let _ = new.get(0).fill_(f64::NAN);
        let _ = bank.update(&Tensor::from_slice(&[3i64, 4]), &new).expect("an update");
        assert!(bank.features.get(3).equal(&before.get(3)) && !bank.features.get(4).equal(&before.get(4)));
        assert_eq!(bank.features.isfinite().all().int64_value(&[]), 1);
    }

    #[test]
    fn a_bank_that_was_never_filled_is_left_alone_between_steps() {
        let mut bank = OdcBank::new(settings(), 90, 8, Device::Cpu).expect("a bank");
        assert!(!bank.after_step(10, &mut draws(10)).expect("a step"));
        assert_eq!(counts(&bank), [90, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn weights_of_the_two_scales_differ_by_the_number_of_clusters() {
        let mean = bank(settings(), 90);
        let sum = bank(Odc { reweight: Reweight::SumOne, ..settings() }, 90);
        let (mean, sum) = (mean.class_weight().expect("weights"), sum.class_weight().expect("weights"));
        assert!((sum.sum(Kind::Double).double_value(&[]) - 1.0).abs() < 1e-6);
        assert!((mean - sum * 6.0).abs().max().double_value(&[]) < 1e-6);
    }

    #[test]
    fn settings_that_the_data_cannot_fill_are_refused_by_field() {
        let refusal = |odc: Odc, samples| odc.check(samples).expect_err("refused");
        let (field, message) = refusal(Odc::default(), 150);
        assert_eq!((field, message.as_str()), ("k", "is 200, expected at most the 150 training images"));
        let (field, message) = refusal(Odc::default(), 3000);
        assert_eq!(field, "min_size");
        assert!(message.contains("1 to 15") && message.contains("3000"), "{message}");
        assert_eq!(refusal(Odc { momentum: 0.0, ..Odc::default() }, 100_000).0, "momentum");
        assert!(Odc::default().check(4000).is_ok());
        let wrong =
            bank(settings(), 90).update(&Tensor::from_slice(&[0i64]), &wild(&[1, 4], 0.1, Kind::Float));
        assert!(wrong.expect_err("refused").to_string().contains("embeddings [N, D]"));
    }
}
