//! The plainest projection neck: global average pool, linear.
//!
//! Source  MoCo, He et al., CVPR 2020, arXiv:1911.05722, section 3.3: a layer of 128 outputs.

use admix_api::{Init, Path};
use admix_torch::Tensor;

use serde::{Deserialize, Serialize};

use super::{Head, global_average_pool};
use crate::{Error, Linear, Result};

/// The form of the neck. Recipe: `neck: Linear(out: 128)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearNeckConfig {
    /// Width of the embedding. Default 128.
    pub out: i64,
}

impl Default for LinearNeckConfig {
    fn default() -> Self {
        Self { out: 128 }
    }
}

impl LinearNeckConfig {
    pub(super) fn validate(&self) -> Result<()> {
        if self.out >= 1 {
            return Ok(());
        }
        let (got, wanted) = (self.out.to_string(), "a width from 1".into());
        Err(Error::Config { model: "Linear", field: "out", got, wanted })
    }
}

/// Global average pool, `fc0`: weights He-normal by fan-in, bias 0. The output is not normalised.
#[derive(Debug)]
pub struct LinearNeck(Linear);

impl LinearNeck {
    /// Makes `fc0.*` (channels to outputs) at `path`.
    ///
    /// # Errors
    /// A name is taken.
    pub fn new(path: &Path, channels: i64, outputs: i64) -> Result<Self> {
        let init = Init::Normal((2.0 / channels as f64).sqrt());
        Ok(Self(Linear::new(&path.sub("fc0"), channels, outputs, init)?))
    }
}

impl Head for LinearNeck {
    /// The map `[N, C, h, w]` to the raw embedding `[N, D]`.
    fn forward(&self, map: &Tensor, _train: bool) -> Result<Tensor> {
        self.0.forward(&global_average_pool(map)?)
    }
}

#[cfg(test)]
mod tests {
    use admix_api::{Store, Streams};
    use admix_torch::{Device, Kind};

    use super::*;

    #[test]
    fn the_neck_pools_and_projects_once() -> Result<()> {
        let store = Store::new(Device::Cpu, Streams::new(1));
        let neck = LinearNeck::new(&store.root(), 3, 3)?;
        store.load(|name| match name {
            "fc0.weight" => Some(Tensor::eye(3, (Kind::Float, Device::Cpu)) * 2.0),
            _ => Some(Tensor::zeros([3], (Kind::Float, Device::Cpu))),
        })?;
        let map = admix_api::contract::wild(&[2, 3, 4, 5], 0.3, Kind::Float);
        let wanted = global_average_pool(&map)? * 2.0;
        assert!(neck.forward(&map, true)?.f_allclose(&wanted, 1e-6, 1e-6, false)?);
        assert!(LinearNeckConfig { out: 0 }.validate().expect_err("refused").to_string().contains("out"));
        Ok(())
    }
}
