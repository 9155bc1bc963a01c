//! Moving: k-means once, then centroids that follow the embeddings of each batch.

use admix_api::Draws;
use admix_api::ranges::expect;
use admix_engine::{Clusterer, ClustererConfig, Error, Result, k_means};
use admix_torch::{Device, Kind, Tensor, no_grad};

admix_api::settings! {
    /// Settings of moving centroids. Recipe: `Moving(k: 2)`.
    pub struct Moving {
        /// Number of clusters.
        pub k: i64 = 2,
    }
}

admix_api::describe! {
    dyn Clusterer, dyn ClustererConfig: Moving, "Moving", "moving", "centroids that follow the embeddings of each batch",
    source: "an example", served: ()
}

impl ClustererConfig for Moving {
    fn clusters(&self) -> i64 {
        self.k
    }

    fn validate(&self) -> admix_api::Result<()> {
        self.check(usize::MAX)
    }

    fn check(&self, samples: usize) -> admix_api::Result<()> {
        let good = self.k >= 1 && self.k as usize <= samples;
        expect("k", self.k, good, "a whole number from 1, and no more than there are training images")
    }

    fn build(&self, samples: i64, width: i64, device: Device) -> Result<Box<dyn Clusterer>> {
        let labels = Tensor::f_zeros([samples], (Kind::Int64, device))?;
        let centroids = Tensor::f_zeros([self.k, width], (Kind::Float, device))?;
        Ok(Box::new(Centroids { labels, centroids, before: None }))
    }

    fn resolved(&self) -> serde_json::Value {
        serde_json::json!(self)
    }
}

#[derive(Debug)]
struct Centroids {
    /// `[n]` int64.
    labels: Tensor,
    /// `[K, d]`.
    centroids: Tensor,
    /// Both as they were before this step.
    before: Option<[Tensor; 2]>,
}

impl Clusterer for Centroids {
    fn tensors(&self) -> Vec<(&'static str, Tensor)> {
        vec![("labels", self.labels.shallow_clone()), ("centroids", self.centroids.shallow_clone())]
    }

    fn loaded(&mut self) {}

    fn initialise(&mut self, features: &Tensor, draws: &mut Draws) -> Result<()> {
        let (labels, centroids) = k_means(features, self.centroids.size()[0], 10, draws)?;
        self.labels.f_copy_(&labels)?;
        Ok(self.centroids.f_copy_(&centroids)?)
    }

    fn labels(&self, index: &Tensor) -> Result<Tensor> {
        Ok(self.labels.f_index_select(0, index)?)
    }

    fn class_weight(&self) -> Result<Tensor> {
        Ok(Tensor::f_ones([self.centroids.size()[0]], (Kind::Float, self.centroids.device()))?)
    }

    fn update(&mut self, index: &Tensor, embeddings: &Tensor) -> Result<Tensor> {
        let _guard = no_grad();
        let (got, width) = (embeddings.size(), self.centroids.size()[1]);
        if got != [index.size()[0], width] {
            return Err(Error::Input(format!("expected embeddings [N, {width}], got the shape {got:?}")));
        }
        self.before.get_or_insert_with(|| [self.labels.copy(), self.centroids.copy()]);
        let new = embeddings.f_to_kind(Kind::Float)?;
        let good = new.f_isfinite()?.f_all_dim(1, false)?;
        let new = new.f_where_self(&good.f_unsqueeze(1)?, &new.f_zeros_like()?)?;
        // The nearest centroid: |x - c|^2 without |x|^2, which is the same for all of them.
        let lengths = self.centroids.f_square()?.f_sum_dim_intlist(1i64, false, None)?;
        let distance = lengths.f_sub(&new.f_matmul(&self.centroids.f_tr()?)?.f_mul_scalar(2.0)?)?;
        let old = self.labels(index)?;
        let labels = distance.f_argmin(1, false)?.f_where_self(&good, &old)?;
        let _ = self.labels.f_index_copy_(0, index, &labels)?;
        // A centroid moves half way to the mean of its new members, and stays where there are none.
        let sums = self.centroids.f_zeros_like()?.f_index_add_(0, &labels, &new)?;
        let counts = lengths.f_zeros_like()?.f_index_add_(0, &labels, &good.f_to_kind(Kind::Float)?)?;
        let counts = counts.f_unsqueeze(1)?;
        let means = sums.f_div(&counts.f_clamp_min(1.0)?)?;
        let half = self.centroids.f_add(&means)?.f_mul_scalar(0.5)?;
        self.centroids.f_copy_(&half.f_where_self(&counts.f_gt(0.0)?, &self.centroids)?)?;
        Ok(labels.f_ne_tensor(&old)?.f_to_kind(Kind::Float)?.f_mean(None)?)
    }

    fn settle(&mut self, found_inf: &Tensor) -> Result<()> {
        let _guard = no_grad();
        let Some([labels, centroids]) = self.before.take() else { return Ok(()) };
        let bad = found_inf.f_ne(0)?;
        self.labels.f_copy_(&labels.f_where_self(&bad, &self.labels)?)?;
        Ok(self.centroids.f_copy_(&centroids.f_where_self(&bad, &self.centroids)?)?)
    }

    fn forget(&mut self) {
        self.before = None;
    }

    fn after_step(&mut self, _: u64, _: &mut Draws) -> Result<bool> {
        Ok(false)
    }
}
