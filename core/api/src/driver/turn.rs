//! Which of its draws a mix is.

use admix_torch::Tensor;

use crate::Streams;

/// Which of its draws a mix is. The same seed, name, epoch and step give the same plan.
#[derive(Debug)]
pub struct Turn {
    /// The name of the draw. Two mixes of one step with different names are drawn apart, as a method's `as` does it.
    pub draw: String,
    /// The epoch, from 0.
    pub epoch: u64,
    /// The step of the whole training, from 0.
    pub step: u64,
    /// Progress of the training, in [0, 1], for settings that change on the way (`until: Share`).
    pub progress: f64,
    /// Who draws, where several draw at the same time and step: a worker that loads data. Empty for the one process.
    pub worker: String,
    /// This lambda for every sample instead of a drawn one, in [0, 1].
    pub lambda: Option<f64>,
    /// These partners `[N]` int64 instead of drawn ones, on the device of the images.
    pub partner: Option<Tensor>,
}

impl Turn {
    /// The draw "mix" of this epoch and step.
    pub fn at(epoch: u64, step: u64) -> Self {
        let (draw, worker) = ("mix".into(), String::new());
        Self { draw, epoch, step, progress: 0.0, worker, lambda: None, partner: None }
    }

    /// The same with another name.
    #[must_use]
    pub fn named(self, draw: &str) -> Self {
        Self { draw: draw.into(), ..self }
    }

    /// The streams that its numbers come from.
    pub(super) fn streams(&self, run: Streams) -> Streams {
        if self.worker.is_empty() { run } else { run.fork(&self.worker) }
    }
}
