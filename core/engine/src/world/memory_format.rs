//! Channels innermost in memory, where convolutions are fastest.

use admix_data::Batch;

use crate::world::World;
use crate::{Result, Session};

impl Session {
    /// Keeps every map of weights (and what optimiser and pairs hold of it) with the channels innermost in memory from now
    /// on, and brings images into that order before a step: what a session begins with. `false` is the order of the shapes.
    /// Values and names stay, and so does what checkpoints hold.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn set_channels_last(&mut self, innermost: bool) -> Result<()> {
        self.world_mut().set_channels_last(innermost)
    }
}

impl World {
    fn set_channels_last(&mut self, innermost: bool) -> Result<()> {
        for (_, tensor) in self.tensors() {
            // Kernels of a convolution; every other tensor of the state has fewer axes.
            if tensor.dim() == 4 {
                let value = tensor.f_detach()?;
                let ordered =
                    if innermost { admix_torch::channels_last(&value)? } else { value.f_contiguous()? };
                admix_torch::set_data(&tensor, &ordered)?;
            }
        }
        self.channels_last = innermost;
        // Copies are made fastest where both lie in the same order.
        self.keep_room()?;
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
