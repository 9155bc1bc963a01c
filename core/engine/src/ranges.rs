//! Ranges of the settings of entries.

use std::fmt::Display;

use admix_api::Error;

use crate::float32;

/// Refuses the setting `what` with the value `got`, unless it is good.
pub(crate) fn expect(what: &str, got: impl Display, good: bool, wanted: &str) -> Result<(), Error> {
    if good {
        return Ok(());
    }
    Err(Error::Range { what: what.into(), got: got.to_string(), wanted: wanted.into() })
}

/// The same for a number, which float32 must hold as well.
pub(crate) fn number(what: &str, got: f64, good: bool, wanted: &str) -> Result<(), Error> {
    expect(what, got, good && got.is_finite(), wanted)?;
    expect(what, format!("{got:?}"), float32::holds(got), &format!("{wanted}, {}", float32::AT_MOST))
}
