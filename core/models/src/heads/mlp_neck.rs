//! The projection neck of self-supervised methods: global average pool, linear, ReLU, linear.
//!
//! Source  MoCo v2, Chen et al. 2020, arXiv:2003.04297: widths C -> 2048 -> 128.

use admix_api::{Init, Path};
use admix_torch::Tensor;

use serde::{Deserialize, Serialize};

use super::{Head, global_average_pool};
use crate::{Error, Linear, Result};

/// Widths of the neck. Recipe: `neck: Mlp(hidden: 2048, out: 128)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlpNeckConfig {
    /// Width between the two layers. Default 2048.
    pub hidden: i64,
    /// Width of the embedding. Default 128.
    pub out: i64,
}

impl Default for MlpNeckConfig {
    fn default() -> Self {
        Self { hidden: 2048, out: 128 }
    }
}

impl MlpNeckConfig {
    pub(super) fn validate(&self) -> Result<()> {
        for (field, width) in [("hidden", self.hidden), ("out", self.out)] {
            if width < 1 {
                return Err(Error::Config {
                    model: "Mlp",
                    field,
                    got: width.to_string(),
                    wanted: "a width from 1".into(),
                });
            }
        }
        Ok(())
    }
}

/// Global average pool, `fc0`, ReLU, `fc1`: weights He-normal by fan-in, biases 0. The output is not normalised.
#[derive(Debug)]
pub struct MlpNeck {
    fc0: Linear,
    fc1: Linear,
}

impl MlpNeck {
    /// Makes `fc0.*` (channels to hidden) and `fc1.*` (hidden to outputs) at `path`.
    ///
    /// # Errors
    /// A name is taken.
    pub fn new(path: &Path, channels: i64, hidden: i64, outputs: i64) -> Result<Self> {
        let he_fan_in = |inputs: i64| Init::Normal((2.0 / inputs as f64).sqrt());
        Ok(Self {
            fc0: Linear::new(&path.sub("fc0"), channels, hidden, he_fan_in(channels))?,
            fc1: Linear::new(&path.sub("fc1"), hidden, outputs, he_fan_in(hidden))?,
        })
    }
}

impl Head for MlpNeck {
    /// The map `[N, C, h, w]` to the raw embedding `[N, D]`.
    fn forward(&self, map: &Tensor, _train: bool) -> Result<Tensor> {
        let hidden = self.fc0.forward(&global_average_pool(map)?)?.f_relu_()?;
        self.fc1.forward(&hidden)
    }
}

#[cfg(test)]
mod tests {
    use admix_api::{Store, Streams};
    use admix_torch::{Device, Kind};

    use super::*;

    #[test]
    fn the_neck_pools_and_projects() -> Result<()> {
        let store = Store::new(Device::Cpu, Streams::new(1));
        let neck = MlpNeck::new(&store.root().sub("neck"), 8, 16, 5)?;
        let names: Vec<String> = store.tensors().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["neck.fc0.weight", "neck.fc0.bias", "neck.fc1.weight", "neck.fc1.bias"]);
        let map = admix_api::contract::wild(&[3, 8, 2, 5], 0.3, Kind::Float).abs();
        let pooled = neck.forward(&map.f_mean_dim([2, 3].as_slice(), true, None::<Kind>)?, true)?;
        let whole = neck.forward(&map, true)?;
        assert_eq!(whole.size(), [3, 5]);
        assert!(whole.f_allclose(&pooled, 1e-5, 1e-6, false)?);
        assert!(neck.forward(&map.f_reshape([3, 80])?, true).is_err());
        Ok(())
    }
}
