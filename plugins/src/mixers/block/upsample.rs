//! From the size of the feature map to the size of the images.

use admix_api::prelude::*;

/// How a mask grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Upsample {
    /// Linear between pixel centres (AMix).
    Bilinear,
    /// The nearest position (AutoMix).
    Nearest,
}

impl Upsample {
    /// `[N, 1, h, w]` to `[N, 1, H, W]`. The factor is what the shapes say, not a table by image width.
    pub(super) fn to(self, map: &Tensor, size: [i64; 2]) -> Result<Tensor> {
        if map.size().ends_with(&size) {
            return Ok(map.shallow_clone());
        }
        Ok(match self {
            Upsample::Bilinear => map.f_upsample_bilinear2d(size, false, None, None)?,
            Upsample::Nearest => map.f_upsample_nearest2d(size, None, None)?,
        })
    }
}
