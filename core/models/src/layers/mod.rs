mod batch_norm;
mod conv;
mod layer_norm;
mod linear;

pub use batch_norm::BatchNorm2d;
pub use conv::{Conv2d, Conv2dConfig};
pub use layer_norm::LayerNorm;
pub use linear::Linear;
