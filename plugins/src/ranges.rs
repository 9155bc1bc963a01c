//! Checks of settings, with messages that name the field and the range.

use admix_api::{Error, Result};

/// Refuses a value that is not in [low, high].
pub(crate) fn within(what: &str, value: f64, low: f64, high: f64) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Error::Range {
        what: what.into(),
        got: value.to_string(),
        wanted: format!("a number in [{low}, {high}]"),
    })
}

/// Refuses a value that is not finite and at least `low`.
pub(crate) fn at_least(what: &str, value: f64, low: f64) -> Result<()> {
    if value >= low && value.is_finite() {
        return Ok(());
    }
    Err(Error::Range {
        what: what.into(),
        got: value.to_string(),
        wanted: format!("a number of at least {low}"),
    })
}
