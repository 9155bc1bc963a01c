mod linear_head;
mod linear_neck;
mod mlp_neck;

pub use linear_head::LinearHead;
pub use linear_neck::{LinearNeck, LinearNeckConfig};
pub use mlp_neck::{MlpNeck, MlpNeckConfig};

use admix_api::Path;
use admix_torch::{Kind, Tensor};
use serde::{Deserialize, Serialize};

use crate::{BatchNorm2d, Error, Result};

/// What reads a backbone's last map.
///
/// ```
/// use admix_api::{Store, Streams};
/// use admix_models::{Head, LinearHead};
/// use admix_torch::{Device, Kind, Tensor};
///
/// let store = Store::new(Device::Cpu, Streams::new(0));
/// let head = LinearHead::new(&store.root(), 8, 10)?;
/// let map = Tensor::f_zeros([2, 8, 4, 4], (Kind::Float, Device::Cpu))?;
/// assert_eq!(head.forward(&map, true)?.size(), [2, 10]);
/// # Ok::<(), admix_models::Error>(())
/// ```
pub trait Head: std::fmt::Debug {
    /// The map `[N, C, h, w]` to one row per sample, `[N, D]`. `train` matters to heads that have a BatchNorm.
    ///
    /// # Errors
    /// A map of another rank or other channels.
    fn forward(&self, map: &Tensor, train: bool) -> Result<Tensor>;

    /// Its BatchNorms; none unless it says so.
    fn batch_norms(&self) -> Vec<&BatchNorm2d> {
        Vec::new()
    }
}

/// What makes embeddings of the last map, as a recipe writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NeckConfig {
    /// Pool, linear, ReLU, linear; with a BatchNorm before the ReLU if `norm` says so.
    Mlp(MlpNeckConfig),
    /// Pool, linear.
    Linear(LinearNeckConfig),
}

admix_api::plain!(NeckConfig);

impl NeckConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first field out of its range.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Mlp(mlp) => mlp.validate(),
            Self::Linear(linear) => linear.validate(),
        }
    }

    /// Width of the embedding.
    pub fn width(&self) -> i64 {
        match self {
            Self::Mlp(mlp) => mlp.out,
            Self::Linear(linear) => linear.out,
        }
    }

    /// Makes the neck at `path` for maps of `channels` channels.
    ///
    /// # Errors
    /// Settings out of range, or a name is taken.
    pub fn build(&self, path: &Path, channels: i64) -> Result<Box<dyn Head>> {
        self.validate()?;
        match self {
            Self::Mlp(mlp) => Ok(Box::new(MlpNeck::new(path, channels, mlp)?)),
            Self::Linear(linear) => Ok(Box::new(LinearNeck::new(path, channels, linear.out)?)),
        }
    }
}

/// The mean over all cells: `[N, C, h, w]` to `[N, C]`.
pub(crate) fn global_average_pool(map: &Tensor) -> Result<Tensor> {
    if map.dim() != 4 {
        return Err(Error::Shape {
            what: "the input of a head".into(),
            got: map.size(),
            wanted: "[N, C, h, w]".into(),
        });
    }
    Ok(map.f_mean_dim([2, 3].as_slice(), false, None::<Kind>)?)
}
