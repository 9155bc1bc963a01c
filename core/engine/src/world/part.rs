//! What a part of a run's state is.

use admix_api::{Hints, Streams};
use admix_torch::Tensor;

use crate::Result;
use crate::method::Clock;

/// A parameter for the optimiser.
pub(crate) struct Parameter {
    /// Its name in checkpoints.
    pub name: String,
    /// The leaf.
    pub tensor: Tensor,
    /// How its layer wants it to be treated.
    pub hints: Hints,
    /// Factor on the learning rate of its group.
    pub rate: f64,
}

/// A part of the state of a run: a network, a mixer, a queue, the optimiser, ...
///
/// A part says which tensors it owns and what happens to them in a step. Checkpoints, skipped and failed steps, captured
/// steps and resuming ask every part and know no kind of part by name.
///
/// A step is: [`begin`](Self::begin), the passes, [`close`](Self::close), [`finish`](Self::finish),
/// [`between`](Self::between). A captured graph repeats the first three, so there the host gives no number that changes
/// from step to step, and nothing waits for the device.
pub(crate) trait Part {
    /// The tensors that a checkpoint holds, by their names in it.
    fn tensors(&self) -> Vec<(String, Tensor)>;

    /// Tensors beside the state that a step reads on the device at a fixed place, such as rates.
    fn slots(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }

    /// The parameters that the optimiser moves, and the group of theirs, if there is one of this name.
    fn parameters(&self) -> (Vec<Parameter>, Option<&str>) {
        (Vec::new(), None)
    }

    /// Tensors that a step changes before the verdict on it, or without regard to it. The world keeps their values and
    /// puts them back after a step that is skipped or fails. A part that writes few of many rows keeps those by itself.
    fn early(&self) -> Vec<Tensor> {
        Vec::new()
    }

    /// Of [`early`](Self::early), what passes in train mode move, floats: a step of several parts ends with the mean of what
    /// they made.
    fn running(&self) -> Vec<Tensor> {
        Vec::new()
    }

    /// Whether values of [`early`](Self::early) that are not finite let the step be skipped.
    fn is_judged(&self) -> bool {
        true
    }

    /// Whether [`finish`](Self::finish), on the host, changes what is [`early`](Self::early); else `close` does.
    fn is_on_host(&self) -> bool {
        false
    }

    /// What comes before the passes.
    fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    /// What comes after the last backward pass. Where `found_inf`, a 0-dim float32, is not 0, the step is skipped: all but
    /// what is [`early`](Self::early) must stay as it was.
    fn close(&mut self, found_inf: &Tensor) -> Result<()> {
        let _ = found_inf;
        Ok(())
    }

    /// What the host does at the end of a step.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    /// Takes back what the part itself kept of a step that failed before [`close`](Self::close). `always` is a 0-dim
    /// float32 of 1, to be used as `found_inf` is.
    fn undo(&mut self, always: &Tensor) -> Result<()> {
        let _ = always;
        Ok(())
    }

    /// Forgets what the host noted of a step that was not executed, or that was taken back.
    fn forget(&mut self) -> Result<()> {
        Ok(())
    }

    /// What is due between two steps, `clock.step` of which are done. It may wait for the device.
    fn between(&mut self, streams: &Streams, clock: Clock) -> Result<()> {
        let _ = (streams, clock);
        Ok(())
    }

    /// The tensors were filled from outside.
    fn loaded(&mut self) {}
}

/// Tensors of a store with their names in a checkpoint: `<owner>.<name>`.
pub(crate) fn named(owner: &str, tensors: Vec<(String, Tensor)>) -> Vec<(String, Tensor)> {
    tensors.into_iter().map(|(name, tensor)| (format!("{owner}.{name}"), tensor)).collect()
}

/// The parameters of a store in the same way.
pub(crate) fn named_parameters(owner: &str, store: &admix_api::Store) -> Vec<Parameter> {
    let all = store.parameters().into_iter();
    let named =
        |(name, tensor, hints)| Parameter { name: format!("{owner}.{name}"), tensor, hints, rate: 1.0 };
    all.map(named).collect()
}
