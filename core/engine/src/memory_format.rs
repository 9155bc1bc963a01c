//! Channels innermost in memory, where convolutions are fastest on GPUs.

use admix_data::Batch;

use crate::world::World;
use crate::{Result, Session};

impl Session {
    /// Keeps every map of weights (and what optimiser and pairs hold of it) with the channels innermost in memory from now
    /// on, and brings images into that order before a step. Values and names stay, and so does what checkpoints hold.
    /// The default on CUDA.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn use_channels_last(&mut self) -> Result<()> {
        self.world_mut().use_channels_last()
    }
}

impl World {
    fn use_channels_last(&mut self) -> Result<()> {
        for (_, tensor) in self.tensors() {
            // Kernels of a convolution; every other tensor of the state has fewer axes.
            if tensor.dim() == 4 {
                admix_torch::set_data(&tensor, &admix_torch::channels_last(&tensor.f_detach()?)?)?;
            }
        }
        self.channels_last = true;
        Ok(())
    }

    /// A batch in the order that this world keeps.
    pub(crate) fn formatted(&self, batch: Batch) -> Result<Batch> {
        if !self.channels_last {
            return Ok(batch);
        }
        let views = batch.views.iter().map(admix_torch::channels_last).collect::<Result<Vec<_>, _>>()?;
        // The first view is `images`, as a rule the very tensor.
        let images = match (views.first(), batch.views.first()) {
            (Some(formatted), Some(first)) if first.data_ptr() == batch.images.data_ptr() => {
                formatted.shallow_clone()
            }
            _ => admix_torch::channels_last(&batch.images)?,
        };
        Ok(Batch { images, views, ..batch })
    }
}
