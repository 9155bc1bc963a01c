//! Whether mixes of plugins that are not of this program keep to what a mix must be.

use admix_api::{Credit, Mixed};
use admix_torch::{Kind, Tensor};

use crate::Result;

/// Rounding in bf16 stays below.
const SHARES_MAY_BE_OFF: f64 = 5e-3;

/// How far the shares of a mix are from what they must be, 0-dim: 0 is well, infinite stands for shares that are not
/// finite, and not a number for images that are not, of finite `images`. Below 0, it is how far its mask leaves [0, 1]. No host sync.
///
/// # Errors
/// libtorch refused.
pub(crate) fn health(mixed: &Mixed, images: &Tensor) -> Result<Tensor> {
    let (_, shares) = mixed.credit.shares()?;
    let shares = shares.f_to_kind(Kind::Float)?;
    let sums = shares.f_sum_dim_intlist(1i64, false, Kind::Float)?;
    // Weights may have any sum, as long as it is a number.
    let whole = if matches!(mixed.credit, Credit::Weights { .. }) {
        sums.f_mul_scalar(0.0)?
    } else {
        sums.f_add_scalar(-1.0)?.f_abs()?
    };
    let off = whole.f_max()?;
    let below = shares.f_min()?.f_neg()?;
    let sums_to_a_number = |images: &Tensor| images.f_detach()?.f_sum(Kind::Float)?.f_mul_scalar(0.0);
    // Images that are not finite make such a mix: then the step is skipped, and the plugin is not to blame.
    let given = sums_to_a_number(images)?;
    let finite =
        sums_to_a_number(&mixed.images)?.f_where_self(&given.f_isfinite()?, &given.f_zeros_like()?)?;
    let infinite = f64::INFINITY;
    let mut off = off.f_maximum(&below)?.f_detach()?.f_nan_to_num(infinite, infinite, infinite)?;
    if let Some(mask) = &mixed.mask {
        let mask = mask.f_detach()?.f_to_kind(Kind::Float)?;
        let beyond = mask.f_max()?.f_add_scalar(-1.0)?.f_maximum(&mask.f_min()?.f_neg()?)?;
        let beyond = beyond.f_nan_to_num(infinite, infinite, infinite)?;
        off = beyond.f_neg()?.f_where_self(&beyond.f_gt(SHARES_MAY_BE_OFF)?, &off)?;
    }
    // What is not finite in shares or mask makes images that are not: it is the cause.
    Ok(off.f_add(&finite)?.f_where_self(&off.f_isfinite()?, &off)?)
}

/// Reads [`health`].
///
/// # Errors
/// The mix is not well; the message names the plugin.
pub(crate) fn verdict(label: &str, health: f64) -> Result<()> {
    let message = if health.is_nan() {
        "`mix` returned images that are not finite".to_string()
    } else if health == f64::NEG_INFINITY {
        "`mix` returned a mask that is not finite, expected values in [0, 1]".into()
    } else if health < -SHARES_MAY_BE_OFF {
        format!("`mix` returned a mask that is off by {:.3}, expected values in [0, 1]", -health)
    } else if health.is_infinite() {
        "`mix` returned a `lambda` or shares that are not finite, expected numbers in [0, 1]".into()
    } else if health > SHARES_MAY_BE_OFF {
        format!(
            "`mix` returned shares that are not a share-out of 1 (off by {health:.3}): rows must be from 0 and sum to 1, \
             weights from 0"
        )
    } else {
        return Ok(());
    };
    Err(admix_api::Error::Plugin { plugin: label.to_string(), message }.into())
}
