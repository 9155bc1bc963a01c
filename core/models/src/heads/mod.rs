mod linear_head;
mod mlp_neck;

pub use linear_head::LinearHead;
pub use mlp_neck::MlpNeck;

use admix_torch::{Kind, Tensor};

use crate::{Error, Result};

/// What reads a backbone's last map.
pub trait Head: std::fmt::Debug {
    /// The map `[N, C, h, w]` to one row per sample, `[N, D]`. `train` matters to heads that have a BatchNorm.
    ///
    /// # Errors
    /// A map of another rank or other channels.
    fn forward(&self, map: &Tensor, train: bool) -> Result<Tensor>;
}

/// The mean over all cells: `[N, C, h, w]` to `[N, C]`.
fn global_average_pool(map: &Tensor) -> Result<Tensor> {
    if map.dim() != 4 {
        return Err(Error::Shape {
            what: "the input of a head".into(),
            got: map.size(),
            wanted: "[N, C, h, w]".into(),
        });
    }
    Ok(map.f_mean_dim([2, 3].as_slice(), false, None::<Kind>)?)
}
