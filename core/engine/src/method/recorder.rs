//! Who captures the device's work of a step and does it again.

use admix_torch::{GraphId, Tensor};

use crate::Result;

/// The work of the device in one step.
pub type Work<'a> = &'a mut dyn FnMut() -> Result<()>;

/// Lists every tensor that the work finds at a fixed place, by name: slots, the batch, the state. Takes its time.
pub type Fixed<'a> = &'a dyn Fn() -> Vec<(String, Tensor)>;

/// Captures the device's work of a step, and does it again.
///
/// One on CUDA is [`CudaRecorder`]. Others stand in for it where there is no such device: their `replay` calls the work.
///
/// ```
/// use admix_engine::{GraphRecorder, Result, Work};
/// use admix_torch::GraphId;
///
/// /// Calls the work where a device would replay it.
/// #[derive(Debug)]
/// struct Calls;
///
/// impl GraphRecorder for Calls {
///     fn capture(&mut self, _: admix_engine::Fixed<'_>, _: Work<'_>) -> Result<GraphId> {
///         Ok(GraphId(0))
///     }
///
///     fn replay(&mut self, _: GraphId, _: admix_engine::Fixed<'_>, work: Work<'_>) -> Result<()> {
///         work()
///     }
/// }
///
/// let mut steps = 0;
/// let graph = Calls.capture(&Vec::new, &mut || Ok(()))?;
/// Calls.replay(graph, &Vec::new, &mut || {
///     steps += 1;
///     Ok(())
/// })?;
/// assert_eq!(steps, 1);
/// # Ok::<(), admix_engine::Error>(())
/// ```
pub trait GraphRecorder: std::fmt::Debug {
    /// Captures what `work` asks of the device. The work is called once, or not at all by one that needs no recording;
    /// **nothing of it is executed**: the state of the run is afterwards what it was.
    ///
    /// # Errors
    /// The work failed, or does what cannot be captured. Nothing is left of the attempt.
    fn capture(&mut self, fixed: Fixed<'_>, work: Work<'_>) -> Result<GraphId>;

    /// Does the captured work again, on what lies in the slots now. `work` is what was captured.
    ///
    /// # Errors
    /// The device refused, or something that must stay in its place has moved.
    fn replay(&mut self, graph: GraphId, fixed: Fixed<'_>, work: Work<'_>) -> Result<()>;
}

/// CUDA graphs.
#[derive(Debug)]
pub struct CudaRecorder(admix_torch::CudaGraphs);

impl CudaRecorder {
    /// A recorder for the CUDA device of this number.
    ///
    /// # Errors
    /// The library for graphs is missing or does not load; there is no such device. The message says what to do.
    pub fn open(device: usize) -> Result<Self> {
        Ok(Self(admix_torch::CudaGraphs::open(device)?))
    }
}

impl GraphRecorder for CudaRecorder {
    fn capture(&mut self, _fixed: Fixed<'_>, work: Work<'_>) -> Result<GraphId> {
        self.0.capture(work)
    }

    fn replay(&mut self, graph: GraphId, _fixed: Fixed<'_>, _work: Work<'_>) -> Result<()> {
        Ok(self.0.replay(graph)?)
    }
}
