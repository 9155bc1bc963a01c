//! Adam with decoupled weight decay.

use admix_api::describe;
use admix_torch::{AdamWOptions, Kind, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::rule::{Bucket, OptimizerConfig, OptimizerRule};
use crate::ranges::number;
use crate::{Error, Result};

/// Settings of AdamW.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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

describe! {
    dyn OptimizerRule, dyn OptimizerConfig: AdamW, "AdamW", "adamw",
    "Adam with decoupled weight decay.",
    source: "Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101",
    served: ()
}

impl OptimizerConfig for AdamW {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn validate(&self) -> admix_api::Result<()> {
        number("lr", self.lr, self.lr > 0.0, "a number above 0")?;
        for beta in [self.betas.0, self.betas.1] {
            number("betas", beta, (0.0..1.0).contains(&beta), "two numbers in [0, 1)")?;
        }
        number("eps", self.eps, self.eps > 0.0, "a number above 0")?;
        number("weight_decay", self.weight_decay, self.weight_decay >= 0.0, "a number from 0")
    }

    fn build(&self) -> Box<dyn OptimizerRule> {
        Box::new(self.clone())
    }

    fn resolved(&self) -> Json {
        json!(self)
    }
}

impl OptimizerRule for AdamW {
    fn state(&self, parameter: &Tensor) -> Result<Vec<(&'static str, Tensor)>> {
        let zeros = || -> Result<Tensor> { Ok(parameter.f_zeros_like()?.f_detach()?) };
        let steps = Tensor::f_zeros([0i64; 0], (Kind::Float, parameter.device()))?;
        Ok(vec![("exp_avg", zeros()?), ("exp_avg_sq", zeros()?), ("step", steps)])
    }

    fn step(&self, bucket: &Bucket, lr: &Tensor, found_inf: &Tensor) -> Result<()> {
        let [first, second, steps] = bucket.state.as_slice() else {
            return Err(Error::Input("AdamW keeps two moments and the number of steps".into()));
        };
        let options = AdamWOptions { betas: self.betas, eps: self.eps, weight_decay: bucket.weight_decay };
        Ok(admix_torch::fused_adamw(
            &bucket.parameters,
            &bucket.gradients,
            first,
            second,
            steps,
            &options,
            lr,
            Some(found_inf),
        )?)
    }
}
