//! Stochastic gradient descent with momentum.

use admix_api::describe;
use admix_torch::{SgdOptions, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::rule::{Bucket, OptimizerConfig, OptimizerRule};
use crate::Result;
use crate::ranges::number;

/// Settings of stochastic gradient descent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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

describe! {
    dyn OptimizerRule, dyn OptimizerConfig: Sgd, "Sgd", "sgd",
    "Stochastic gradient descent with momentum.",
    source: "Sutskever et al., ICML 2013 (momentum, Nesterov's form); weight decay as an L2 penalty",
    served: ()
}

impl OptimizerConfig for Sgd {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn validate(&self) -> admix_api::Result<()> {
        number("lr", self.lr, self.lr > 0.0, "a number above 0")?;
        number("momentum", self.momentum, (0.0..1.0).contains(&self.momentum), "a number in [0, 1)")?;
        number("weight_decay", self.weight_decay, self.weight_decay >= 0.0, "a number from 0")
    }

    fn build(&self) -> Box<dyn OptimizerRule> {
        Box::new(self.clone())
    }

    fn resolved(&self) -> Json {
        json!(self)
    }
}

impl OptimizerRule for Sgd {
    fn state(&self, parameter: &Tensor) -> Result<Vec<(&'static str, Tensor)>> {
        if self.momentum == 0.0 {
            return Ok(Vec::new());
        }
        Ok(vec![("momentum", parameter.f_zeros_like()?.f_detach()?)])
    }

    fn step(&self, bucket: &Bucket, lr: &Tensor, found_inf: &Tensor) -> Result<()> {
        let Bucket { parameters, gradients, state, weight_decay } = bucket;
        let options =
            SgdOptions { momentum: self.momentum, weight_decay: *weight_decay, nesterov: self.nesterov };
        let momenta = state.first().map_or(&[][..], Vec::as_slice);
        Ok(admix_torch::fused_sgd(parameters, gradients, momenta, &options, lr, Some(found_inf))?)
    }
}
