//! Ranges of the settings of entries.

use admix_api::Error;
pub(crate) use admix_api::ranges::expect;

use crate::float32;

/// Refuses the setting `what` with the value `got`, unless it is good and float32 holds it.
pub(crate) fn number(what: &str, got: f64, good: bool, wanted: &str) -> Result<(), Error> {
    expect(what, got, good && got.is_finite(), wanted)?;
    expect(what, format!("{got:?}"), float32::holds(got), &format!("{wanted}, {}", float32::AT_MOST))
}
