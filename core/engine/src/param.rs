//! Parameters of scripts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, text};

/// A parameter of a script, as `params()` or the recipe gives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Param {
    /// true or false.
    Switch(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

admix_api::plain!(Param);

impl Param {
    /// Its type in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Switch(_) => "true or false,",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text in quotes",
        }
    }
}

impl std::fmt::Display for Param {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Switch(switch) => write!(f, "{switch}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl From<&Param> for rhai::Dynamic {
    fn from(param: &Param) -> Self {
        match param {
            Param::Switch(switch) => (*switch).into(),
            Param::Number(number) => (*number).into(),
            Param::Text(text) => text.clone().into(),
        }
    }
}

/// The parameter of this name.
///
/// # Errors
/// There is none.
pub(crate) fn named<'a>(params: &'a BTreeMap<String, Param>, name: &str) -> Result<&'a Param> {
    let names = || params.keys().map(String::as_str);
    text::find("parameter", name, "`params` has", names)?;
    Ok(&params[name])
}

/// The parameter of this name, which counts.
///
/// # Errors
/// There is none, or it is no whole number from `least`.
pub(crate) fn count(params: &BTreeMap<String, Param>, name: &str, least: i64) -> Result<i64> {
    match named(params, name)? {
        // Beyond that, a number in 64 bits no longer has every whole number.
        Param::Number(number)
            if number.fract() == 0.0 && *number >= least as f64 && *number < 2f64.powi(53) =>
        {
            Ok(*number as i64)
        }
        other => Err(Error::Input(format!("params.{name} is {other}, expected a whole number from {least}"))),
    }
}
