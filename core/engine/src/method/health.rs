//! Whether mixes of plugins that are not of this program keep to what a mix must be.

use admix_api::Mixed;
use admix_torch::{Kind, Tensor};

use crate::Result;

/// Rounding in bf16 stays below.
const SHARES_MAY_BE_OFF: f64 = 5e-3;

/// How far the shares of a mix are from what they must be, 0-dim: 0 is well, and not a number stands for images that
/// are not finite. No host sync.
///
/// # Errors
/// libtorch refused.
pub(crate) fn health(mixed: &Mixed) -> Result<Tensor> {
    let (_, shares) = mixed.credit.shares()?;
    let shares = shares.f_to_kind(Kind::Float)?;
    let sums = shares.f_sum_dim_intlist(1i64, false, Kind::Float)?;
    let off = sums.f_add_scalar(-1.0)?.f_abs()?.f_max()?;
    let below = shares.f_min()?.f_neg()?;
    let finite = mixed.images.f_detach()?.f_sum(Kind::Float)?.f_mul_scalar(0.0)?;
    Ok(off.f_maximum(&below)?.f_detach()?.f_add(&finite)?)
}

/// Reads [`health`].
///
/// # Errors
/// The mix is not well; the message names the plugin.
pub(crate) fn verdict(label: &str, health: f64) -> Result<()> {
    let message = if !health.is_finite() {
        "`mix` returned images that are not finite".to_string()
    } else if health > SHARES_MAY_BE_OFF {
        format!(
            "`mix` returned shares that are not a share-out of 1 (off by {health:.3}): rows must be from 0 and sum to 1"
        )
    } else {
        return Ok(());
    };
    Err(admix_api::Error::Plugin { plugin: label.to_string(), message }.into())
}
