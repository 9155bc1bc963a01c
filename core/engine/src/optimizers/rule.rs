//! What an optimiser is: a rule that moves parameters, and the settings that build it.

use std::fmt::Debug;

use admix_torch::Tensor;
use serde_json::Value as Json;

use crate::Result;

/// Parameters that one call moves: those of one group with one learning rate and one weight decay. All have a gradient.
#[derive(Debug)]
pub struct Bucket {
    /// The leaves, changed in place.
    pub parameters: Vec<Tensor>,
    /// Their gradients.
    pub gradients: Vec<Tensor>,
    /// Their state, changed in place: for each name of [`OptimizerRule::state`], in its order, one tensor a parameter.
    pub state: Vec<Vec<Tensor>>,
    /// Weight decay of all of them.
    pub weight_decay: f64,
}

/// The rule by which parameters move. It holds no tensors: the state of each parameter is named, so that checkpoints hold
/// it.
///
/// ```
/// use admix_engine::{Bucket, OptimizerConfig, Sgd};
/// use admix_torch::{Device, Kind, Tensor};
///
/// let rule = Sgd { momentum: 0.0, ..Sgd::default() }.build();
/// let (parameter, gradient) = (Tensor::from_slice(&[1f32]), Tensor::from_slice(&[2f32]));
/// let (parameters, gradients) = (vec![parameter.shallow_clone()], vec![gradient]);
/// let bucket = Bucket { parameters, gradients, state: Vec::new(), weight_decay: 0.0 };
/// let scalar = |value: f64| Tensor::full([0i64; 0], value, (Kind::Float, Device::Cpu));
/// rule.step(&bucket, &scalar(0.25), &scalar(0.0))?;
/// assert_eq!(parameter.double_value(&[0]), 0.5);
/// # Ok::<(), admix_engine::Error>(())
/// ```
pub trait OptimizerRule: Debug {
    /// The state that a parameter starts with, by name. Every parameter has the same names in the same order.
    ///
    /// # Errors
    /// libtorch refused.
    fn state(&self, parameter: &Tensor) -> Result<Vec<(&'static str, Tensor)>>;

    /// Moves parameters once, in few calls for all of them. `lr` is one float32 on the device. Nothing changes, neither
    /// parameters nor state, where `found_inf`, one float32 on the device, is not 0. The host must read neither, and give
    /// no number that changes from step to step: a captured step does it again.
    ///
    /// # Errors
    /// libtorch refused.
    fn step(&self, bucket: &Bucket, lr: &Tensor, found_inf: &Tensor) -> Result<()>;
}

/// Settings of an optimiser.
///
/// ```
/// use admix_engine::{AdamW, OptimizerConfig};
///
/// let config = AdamW { lr: 0.01, ..AdamW::default() };
/// config.validate()?;
/// assert_eq!((config.lr(), &config.resolved()["lr"]), (0.01, &0.01.into()));
/// # Ok::<(), admix_api::Error>(())
/// ```
pub trait OptimizerConfig: Debug {
    /// The base learning rate.
    fn lr(&self) -> f64;

    /// Weight decay of parameters whose group has none of its own.
    fn weight_decay(&self) -> f64;

    /// Checks the ranges, naming the field.
    ///
    /// # Errors
    /// A value out of range.
    fn validate(&self) -> admix_api::Result<()>;

    /// The rule.
    fn build(&self) -> Box<dyn OptimizerRule>;

    /// The settings in full, defaults included.
    fn resolved(&self) -> Json;
}
