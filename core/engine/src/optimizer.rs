//! The optimiser: fused SGD or AdamW over groups, with all state in named tensors.

use std::collections::BTreeMap;

use admix_api::Hints;
use admix_torch::{AdamWOptions, Device, Kind, SgdOptions, Tensor};
use serde::{Deserialize, Serialize};

use crate::Result;

/// Settings of stochastic gradient descent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sgd {
    /// Base learning rate, > 0. Default 0.1.
    pub lr: f64,
    /// Momentum, in [0, 1). Default 0.9.
    pub momentum: f64,
    /// L2 weight decay, >= 0; of every parameter, BatchNorm and biases included. Default 1e-4.
    pub weight_decay: f64,
    /// Nesterov's form. Default false.
    pub nesterov: bool,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { lr: 0.1, momentum: 0.9, weight_decay: 1e-4, nesterov: false }
    }
}

/// Settings of AdamW.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamW {
    /// Base learning rate, > 0. Default 1e-3.
    pub lr: f64,
    /// Decay rates of the two moments, each in [0, 1). Default (0.9, 0.999).
    pub betas: (f64, f64),
    /// Added to the denominator. Default 1e-8.
    pub eps: f64,
    /// Decoupled weight decay, >= 0. Default 0.05.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { lr: 1e-3, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.05 }
    }
}

/// Which optimiser, with its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum OptimizerConfig {
    /// Stochastic gradient descent with momentum.
    Sgd(Sgd),
    /// Adam with decoupled weight decay.
    AdamW(AdamW),
}

admix_api::plain!(OptimizerConfig);

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Sgd(Sgd::default())
    }
}

impl OptimizerConfig {
    /// The base learning rate.
    pub fn lr(&self) -> f64 {
        match self {
            Self::Sgd(sgd) => sgd.lr,
            Self::AdamW(adam) => adam.lr,
        }
    }

    fn weight_decay(&self) -> f64 {
        match self {
            Self::Sgd(sgd) => sgd.weight_decay,
            Self::AdamW(adam) => adam.weight_decay,
        }
    }
}

/// Parameters of the same group and the same weight decay, with their gradients.
type Bucket<'a> = (usize, f64, Vec<(&'a Parameter, Tensor)>);

/// Parameters that share a learning rate.
#[derive(Debug)]
pub struct Group {
    /// Its name: "net", or a mixer's.
    pub name: String,
    /// Base learning rate.
    pub lr: f64,
    /// Where the recipe's cosine ends.
    pub min_lr: f64,
    weight_decay: Option<f64>,
    parameters: Vec<Parameter>,
    /// 0-dim float32 on the device, refilled every step.
    slot: Option<Tensor>,
}

impl Group {
    /// An empty group.
    pub fn new(name: &str, lr: f64, min_lr: f64, weight_decay: Option<f64>) -> Self {
        Self { name: name.into(), lr, min_lr, weight_decay, parameters: Vec::new(), slot: None }
    }
}

/// Whether a parameter of this name is what `group` names, or lies in it.
pub(crate) fn is_in(name: &str, group: &str) -> bool {
    name.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[derive(Debug)]
struct Parameter {
    name: String,
    tensor: Tensor,
    weight_decay: f64,
    /// Whether this step leaves it as it is.
    frozen: bool,
    /// SGD: the momentum; AdamW: both moments and the step count.
    state: Vec<(&'static str, Tensor)>,
}

/// The optimiser and its state.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    groups: Vec<Group>,
}

impl Optimizer {
    /// An optimiser without parameters.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn new(config: &OptimizerConfig, mut groups: Vec<Group>, device: Device) -> Result<Self> {
        for group in &mut groups {
            group.slot = Some(Tensor::f_full([0i64; 0], group.lr, (Kind::Float, device))?);
        }
        Ok(Self { config: config.clone(), groups })
    }

    /// The groups.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The group of this name.
    pub fn group_named(&self, name: &str) -> Option<usize> {
        self.groups.iter().position(|g| g.name == name)
    }

    /// Adds a parameter with zero state.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn add(&mut self, group: usize, name: String, tensor: Tensor, hints: &Hints) -> Result<()> {
        let zeros = || -> Result<Tensor> { Ok(tensor.f_zeros_like()?.f_detach()?) };
        let state = match &self.config {
            OptimizerConfig::Sgd(sgd) if sgd.momentum == 0.0 => Vec::new(),
            OptimizerConfig::Sgd(_) => vec![("momentum", zeros()?)],
            OptimizerConfig::AdamW(_) => vec![
                ("exp_avg", zeros()?),
                ("exp_avg_sq", zeros()?),
                ("step", Tensor::f_zeros([0i64; 0], (Kind::Float, tensor.device()))?),
            ],
        };
        let decay = self.groups[group].weight_decay.unwrap_or_else(|| self.config.weight_decay());
        let weight_decay = if hints.weight_decay { decay } else { 0.0 };
        self.groups[group].parameters.push(Parameter { name, tensor, weight_decay, frozen: false, state });
        Ok(())
    }

    /// All parameters with their names.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.groups.iter().flat_map(|g| &g.parameters).map(|p| (p.name.as_str(), &p.tensor))
    }

    /// Lets no gradient reach the parameters of a group until [`thaw`](Self::thaw): those whose names are `prefix`, or begin
    /// with it and a dot. A step leaves them as they are, their state included.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn freeze(&mut self, prefix: &str) -> Result<()> {
        let all = self.groups.iter_mut().flat_map(|group| &mut group.parameters);
        for parameter in all.filter(|parameter| is_in(&parameter.name, prefix)) {
            let _ = parameter.tensor.f_set_requires_grad(false)?;
            parameter.frozen = true;
        }
        Ok(())
    }

    /// Ends what [`freeze`](Self::freeze) began.
    pub fn thaw(&mut self) {
        let all = self.groups.iter_mut().flat_map(|group| &mut group.parameters);
        for parameter in all.filter(|parameter| parameter.frozen) {
            let _ = parameter.tensor.set_requires_grad(true);
            parameter.frozen = false;
        }
    }

    /// State tensors, as `optimizer.<kind>.<parameter>`.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        self.groups
            .iter()
            .flat_map(|g| &g.parameters)
            .flat_map(|p| {
                p.state
                    .iter()
                    .map(move |(kind, t)| (format!("optimizer.{kind}.{}", p.name), t.shallow_clone()))
            })
            .collect()
    }

    /// Puts the learning rate of each group into its slot, in place, for the next [`step`](Self::step).
    ///
    /// # Errors
    /// libtorch refused.
    pub fn set_rates(&self, rates: &[f64]) -> Result<()> {
        for (group, rate) in self.groups.iter().zip(rates) {
            if let Some(slot) = &group.slot {
                let _ = slot.shallow_clone().f_fill_(*rate)?;
            }
        }
        Ok(())
    }

    /// The learning rates on the device, 0-dim float32, one for each group.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.groups.iter().filter_map(|group| Some((group.name.as_str(), group.slot.as_ref()?)))
    }

    /// One step with the gradients that are there, at the rates of [`set_rates`](Self::set_rates). Parameters without a
    /// gradient stay as they are. Nothing changes where `found_inf` is not zero; a gradient that is not finite makes it
    /// so. The host gives no number that changes from one step to the next.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn step(&mut self, found_inf: &Tensor) -> Result<()> {
        let _guard = admix_torch::no_grad();
        let mut all = Vec::new();
        let mut buckets: Vec<Bucket<'_>> = Vec::new();
        for (index, group) in self.groups.iter().enumerate() {
            for parameter in &group.parameters {
                let Some(gradient) = admix_torch::grad_of(&parameter.tensor) else { continue };
                all.push(gradient.shallow_clone());
                let decay = parameter.weight_decay;
                match buckets.iter_mut().find(|(g, d, _)| *g == index && *d == decay) {
                    Some((_, _, bucket)) => bucket.push((parameter, gradient)),
                    None => buckets.push((index, decay, vec![(parameter, gradient)])),
                }
            }
        }
        if all.is_empty() {
            return Ok(());
        }
        admix_torch::nonfinite(&all, found_inf)?;
        for (group, weight_decay, bucket) in &buckets {
            let Some(lr) = &self.groups[*group].slot else { continue };
            let parameters: Vec<Tensor> = bucket.iter().map(|(p, _)| p.tensor.shallow_clone()).collect();
            let gradients: Vec<Tensor> = bucket.iter().map(|(_, g)| g.shallow_clone()).collect();
            let state = |slot: usize| -> Vec<Tensor> {
                bucket.iter().filter_map(|(p, _)| p.state.get(slot)).map(|(_, t)| t.shallow_clone()).collect()
            };
            match &self.config {
                OptimizerConfig::Sgd(sgd) => admix_torch::fused_sgd(
                    &parameters,
                    &gradients,
                    &state(0),
                    &SgdOptions {
                        momentum: sgd.momentum,
                        weight_decay: *weight_decay,
                        nesterov: sgd.nesterov,
                    },
                    lr,
                    Some(found_inf),
                )?,
                OptimizerConfig::AdamW(adam) => admix_torch::fused_adamw(
                    &parameters,
                    &gradients,
                    &state(0),
                    &state(1),
                    &state(2),
                    &AdamWOptions { betas: adam.betas, eps: adam.eps, weight_decay: *weight_decay },
                    lr,
                    Some(found_inf),
                )?,
            }
        }
        Ok(())
    }

    /// Forgets all gradients.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn clear(&self) -> Result<()> {
        let all: Vec<Tensor> = self.parameters().map(|(_, t)| t.shallow_clone()).collect();
        Ok(admix_torch::clear_grads(&all)?)
    }
}
