//! Checks of settings, with messages that name the field and the range.

use std::fmt::Display;

use crate::{Error, Result};

/// Refuses the setting `what` with the value `got`, unless it is good.
///
/// # Errors
/// It is not.
pub fn expect(what: &str, got: impl Display, good: bool, wanted: &str) -> Result<()> {
    if good { Ok(()) } else { Err(Error::range(what, got, wanted)) }
}

/// Refuses a value that is not in [low, high].
///
/// # Errors
/// It is not.
pub fn within(what: &str, value: f64, low: f64, high: f64) -> Result<()> {
    expect(what, value, (low..=high).contains(&value), &format!("a number in [{low}, {high}]"))
}

/// Refuses a value that is not finite and at least `low`.
///
/// # Errors
/// It is not.
pub fn at_least(what: &str, value: f64, low: f64) -> Result<()> {
    expect(what, value, value >= low && value.is_finite(), &format!("a number of at least {low}"))
}
