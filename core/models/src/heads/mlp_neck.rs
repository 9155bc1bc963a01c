//! The projection neck of self-supervised methods: global average pool, linear, ReLU, linear.
//!
//! Source  MoCo v2, Chen et al. 2020, arXiv:2003.04297: widths C -> 2048 -> 128. With a BatchNorm before the ReLU as in
//!         SimCLR, SwAV and, on CIFAR, i-Mix.

use admix_api::{Init, Path};
use admix_torch::Tensor;

use serde::{Deserialize, Serialize};

use super::{Head, global_average_pool};
use crate::{BatchNorm2d, Error, Linear, Result};

/// The form of the neck. Recipe: `neck: Mlp(hidden: 2048, out: 128)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlpNeckConfig {
    /// Width between the two layers. Default 2048.
    pub hidden: i64,
    /// Width of the embedding. Default 128.
    pub out: i64,
    /// Whether a BatchNorm stands before the ReLU. It sees the whole batch, also where `bn_groups` splits the backbone's.
    pub norm: bool,
}

impl Default for MlpNeckConfig {
    fn default() -> Self {
        Self { hidden: 2048, out: 128, norm: false }
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

/// Global average pool, `fc0`, perhaps `bn0`, ReLU, `fc1`: weights He-normal by fan-in, biases 0. The output is not
/// normalised.
#[derive(Debug)]
pub struct MlpNeck {
    fc0: Linear,
    bn0: Option<BatchNorm2d>,
    fc1: Linear,
}

impl MlpNeck {
    /// Makes `fc0.*` (channels to hidden), with a norm `bn0.*`, and `fc1.*` (hidden to outputs) at `path`.
    ///
    /// # Errors
    /// A name is taken.
    pub fn new(path: &Path, channels: i64, config: &MlpNeckConfig) -> Result<Self> {
        let he_fan_in = |inputs: i64| Init::Normal((2.0 / inputs as f64).sqrt());
        let MlpNeckConfig { hidden, out, norm } = *config;
        Ok(Self {
            fc0: Linear::new(&path.sub("fc0"), channels, hidden, he_fan_in(channels))?,
            bn0: norm.then(|| BatchNorm2d::new(&path.sub("bn0"), hidden)).transpose()?,
            fc1: Linear::new(&path.sub("fc1"), hidden, out, he_fan_in(hidden))?,
        })
    }
}

impl Head for MlpNeck {
    /// The map `[N, C, h, w]` to the raw embedding `[N, D]`.
    fn forward(&self, map: &Tensor, train: bool) -> Result<Tensor> {
        let mut hidden = self.fc0.forward(&global_average_pool(map)?)?;
        if let Some(norm) = &self.bn0 {
            let cells = hidden.f_unsqueeze(2)?.f_unsqueeze(3)?;
            hidden = norm.forward(&cells, train)?.f_flatten(1, -1)?;
        }
        self.fc1.forward(&hidden.f_relu_()?)
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
        let config = MlpNeckConfig { hidden: 16, out: 5, norm: false };
        let neck = MlpNeck::new(&store.root().sub("neck"), 8, &config)?;
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

    #[test]
    fn a_norm_before_the_relu_has_the_statistics_of_the_batch() -> Result<()> {
        let store = Store::new(Device::Cpu, Streams::new(1));
        let config = MlpNeckConfig { hidden: 6, out: 6, norm: true };
        let neck = MlpNeck::new(&store.root(), 4, &config)?;
        // The second layer is the identity, so that the hidden values come out.
        let kept =
            |name: &str| store.tensors().into_iter().find(|(own, _)| own == name).map(|(_, t)| t.copy());
        store.load(|name| match name {
            "fc1.weight" => Some(Tensor::eye(6, (Kind::Float, Device::Cpu))),
            _ => kept(name),
        })?;
        let map = admix_api::contract::wild(&[32, 4, 2, 2], 0.3, Kind::Float);
        let hidden = neck.forward(&map, true)?;
        assert_eq!(f64::try_from(hidden.f_min()?)?, 0.0);
        // Of what is normalised, the mean square is 1 over both signs.
        let below = neck.fc0.forward(&global_average_pool(&map)?)?;
        let centred = below.f_sub(&below.f_mean_dim([0].as_slice(), true, None::<Kind>)?)?;
        let scale = centred.f_square()?.f_mean_dim([0].as_slice(), true, None::<Kind>)?.f_sqrt()?;
        assert!(hidden.f_allclose(&centred.f_div(&scale)?.f_relu()?, 1e-3, 1e-4, false)?);
        assert!(store.buffers().iter().any(|(name, _)| name == "bn0.running_mean"));
        Ok(())
    }
}
