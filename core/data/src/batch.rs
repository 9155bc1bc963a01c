//! Images ready for a network.

use admix_torch::Tensor;

/// Images ready for a network.
#[derive(Debug)]
pub struct Batch {
    /// `[N, C, H, W]` f32, normalised: the first view.
    pub images: Tensor,
    /// All views of the same images, each `[N, C, H, W]` f32, normalised; at least one.
    pub views: Vec<Tensor>,
    /// `[N]` i64; -1 for an image without a label.
    pub labels: Tensor,
    /// `[N]` i64: the images' positions in their split.
    pub index: Tensor,
}

impl Batch {
    /// A batch of one view.
    pub fn new(images: Tensor, labels: Tensor, index: Tensor) -> Self {
        Self { views: vec![images.shallow_clone()], images, labels, index }
    }

    /// A batch of several views of the same images; `None` without any.
    pub fn of_views(views: Vec<Tensor>, labels: Tensor, index: Tensor) -> Option<Self> {
        let images = views.first()?.shallow_clone();
        Some(Self { images, views, labels, index })
    }

    /// The same tensors again.
    #[must_use]
    pub fn shallow_clone(&self) -> Self {
        Self {
            images: self.images.shallow_clone(),
            views: self.views.iter().map(Tensor::shallow_clone).collect(),
            labels: self.labels.shallow_clone(),
            index: self.index.shallow_clone(),
        }
    }
}
