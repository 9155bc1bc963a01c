//! Rounding to 8 bits.

use admix_torch::Tensor;

use crate::Result;

/// Rounded half up and clamped: what Pillow stores of a sum of weighted bytes.
pub(crate) fn to_bytes(mut values: Tensor) -> Result<Tensor> {
    Ok(values.f_add_scalar_(0.5)?.f_floor_()?.f_clamp_(0.0, 255.0)?)
}
