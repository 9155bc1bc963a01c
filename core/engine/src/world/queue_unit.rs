//! The queues of keys of a run.

use admix_api::{Streams, spans};
use admix_torch::{Device, Tensor};

use crate::Result;
use crate::queue::Queue;
use crate::recipe::Recipe;
use crate::world::part::Part;

/// A queue by name.
#[derive(Debug)]
pub struct QueueUnit {
    /// Its name in scripts.
    pub name: String,
    /// Its keys.
    pub queue: Queue,
}

impl QueueUnit {
    /// The queues of a recipe for keys of this width, where it names no other.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn all(recipe: &Recipe, width: i64, streams: &Streams, device: Device) -> Result<Vec<Self>> {
        let build = |(name, config): (&String, &crate::QueueConfig)| {
            let queue = Queue::new(
                config.width.unwrap_or(width),
                config.length,
                &mut streams.draws("queue", name, 0, 0),
                device,
            )?;
            Ok(Self { name: name.clone(), queue })
        };
        recipe.queues.iter().map(build).collect()
    }
}

impl Part for QueueUnit {
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let all = self.queue.tensors().into_iter();
        all.map(|(part, tensor)| (format!("queue.{}.{part}", self.name), tensor)).collect()
    }

    fn close(&mut self, found_inf: &Tensor) -> Result<()> {
        let _timed = spans::part(|| format!("queue {} after the step", self.name), 0);
        self.queue.advance(found_inf)
    }

    fn forget(&mut self) -> Result<()> {
        self.queue.forget();
        Ok(())
    }
}
