//! The projection neck of self-supervised methods: global average pool, linear, ReLU, linear.
//!
//! Source  MoCo v2, Chen et al. 2020, arXiv:2003.04297: widths C -> 2048 -> 128. With a BatchNorm before the ReLU as in
//!         SimCLR, BYOL, SwAV and, on CIFAR, i-Mix; of three layers as in Barlow Twins and, with a norm at the end, SimSiam.

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
    /// Whether a BatchNorm stands before each ReLU. It sees the whole batch, also where `bn_groups` splits the backbone's.
    pub norm: bool,
    /// Number of linear layers, 2 or 3; between three of them the width is `hidden` twice. Default 2.
    pub layers: usize,
    /// Whether a BatchNorm without weight and bias ends it. Default false.
    pub out_norm: bool,
}

impl Default for MlpNeckConfig {
    fn default() -> Self {
        Self { hidden: 2048, out: 128, norm: false, layers: 2, out_norm: false }
    }
}

impl MlpNeckConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first field out of its range.
    pub fn validate(&self) -> Result<()> {
        if !(2..=3).contains(&self.layers) {
            let (got, wanted) = (self.layers.to_string(), "2 or 3".into());
            return Err(Error::Config { model: "Mlp", field: "layers", got, wanted });
        }
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

/// Global average pool, then linear layers `fc0`, `fc1`, .. with a ReLU, perhaps after a norm `bn0`, .., between two: weights
/// He-normal by fan-in, biases 0. The output is not of unit length.
#[derive(Debug)]
pub struct MlpNeck {
    layers: Vec<Linear>,
    /// Before each ReLU; none without norms.
    norms: Vec<BatchNorm2d>,
    out_norm: Option<BatchNorm2d>,
}

impl MlpNeck {
    /// Makes `fc0.*` (channels to hidden), with a norm `bn0.*`, and so on, and the last layer at `path`.
    ///
    /// # Errors
    /// A name is taken.
    pub fn new(path: &Path, channels: i64, config: &MlpNeckConfig) -> Result<Self> {
        let he_fan_in = |inputs: i64| Init::Normal((2.0 / inputs as f64).sqrt());
        let MlpNeckConfig { hidden, out, norm, layers: count, out_norm } = *config;
        let (mut layers, mut norms) = (Vec::new(), Vec::new());
        for at in 0..count {
            let last = at + 1 == count;
            let (inputs, outputs) =
                (if at == 0 { channels } else { hidden }, if last { out } else { hidden });
            layers.push(Linear::new(&path.sub(format!("fc{at}")), inputs, outputs, he_fan_in(inputs))?);
            if norm && !last {
                norms.push(BatchNorm2d::new(&path.sub(format!("bn{at}")), hidden)?);
            }
        }
        let at = format!("bn{}", count - 1);
        let out_norm = out_norm.then(|| BatchNorm2d::plain(&path.sub(&at), out)).transpose()?;
        Ok(Self { layers, norms, out_norm })
    }
}

/// A norm of rows `[N, D]`.
fn normalised(norm: &BatchNorm2d, rows: &Tensor, relu: bool, train: bool) -> Result<Tensor> {
    let cells = rows.f_unsqueeze(2)?.f_unsqueeze(3)?;
    let normed = if relu { norm.forward_relu(&cells, train)? } else { norm.forward(&cells, train)? };
    Ok(normed.f_flatten(1, -1)?)
}

impl Head for MlpNeck {
    /// The map `[N, C, h, w]` to the raw embedding `[N, D]`.
    fn forward(&self, map: &Tensor, train: bool) -> Result<Tensor> {
        let mut rows = global_average_pool(map)?;
        for (at, layer) in self.layers.iter().enumerate() {
            if at > 0 {
                rows = match self.norms.get(at - 1) {
                    Some(norm) => normalised(norm, &rows, true, train)?,
                    None => rows.f_relu_()?,
                };
            }
            rows = layer.forward(&rows)?;
        }
        match &self.out_norm {
            Some(norm) => normalised(norm, &rows, false, train),
            None => Ok(rows),
        }
    }

    fn batch_norms(&self) -> Vec<&BatchNorm2d> {
        self.norms.iter().chain(&self.out_norm).collect()
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
        let config = MlpNeckConfig { hidden: 16, out: 5, ..MlpNeckConfig::default() };
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
        let config = MlpNeckConfig { hidden: 6, out: 6, norm: true, ..MlpNeckConfig::default() };
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
        let below = neck.layers[0].forward(&global_average_pool(&map)?)?;
        let centred = below.f_sub(&below.f_mean_dim([0].as_slice(), true, None::<Kind>)?)?;
        let scale = centred.f_square()?.f_mean_dim([0].as_slice(), true, None::<Kind>)?.f_sqrt()?;
        assert!(hidden.f_allclose(&centred.f_div(&scale)?.f_relu()?, 1e-3, 1e-4, false)?);
        assert!(store.buffers().iter().any(|(name, _)| name == "bn0.running_mean"));
        Ok(())
    }

    #[test]
    fn three_layers_and_a_norm_at_the_end_give_rows_of_mean_0_and_variance_1() -> Result<()> {
        let store = Store::new(Device::Cpu, Streams::new(1));
        let config = MlpNeckConfig { hidden: 7, out: 5, norm: true, layers: 3, out_norm: true };
        let neck = MlpNeck::new(&store.root(), 4, &config)?;
        let names: Vec<String> = store.parameters().into_iter().map(|(name, ..)| name).collect();
        let both = |part: &str| [format!("{part}.weight"), format!("{part}.bias")];
        assert_eq!(names, ["fc0", "bn0", "fc1", "bn1", "fc2"].map(both).concat());
        assert!(store.buffers().iter().any(|(name, _)| name == "bn2.running_mean"));
        let out = neck.forward(&admix_api::contract::wild(&[64, 4, 2, 2], 0.3, Kind::Float), true)?;
        let (variance, mean) = out.f_var_mean_dim(0i64, false, false)?;
        assert!(mean.f_abs()?.f_max()?.double_value(&[]) < 1e-5);
        assert!((variance - 1.0).f_abs()?.f_max()?.double_value(&[]) < 1e-2);
        assert!(
            MlpNeckConfig { layers: 4, ..config }
                .validate()
                .expect_err("refused")
                .to_string()
                .contains("layers")
        );
        Ok(())
    }
}
