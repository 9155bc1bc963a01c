//! Environment variables as a map, so that what is read from them depends on nothing else.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use crate::{Error, Result};

/// Variables by name. An empty one counts as not set.
#[derive(Debug, Clone, Default)]
pub struct Variables(BTreeMap<String, String>);

impl FromIterator<(String, String)> for Variables {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(set: I) -> Self {
        Variables(set.into_iter().collect())
    }
}

/// A number that a variable may hold.
pub(super) trait Number: FromStr + Display {
    const MAX: Self;
}

macro_rules! numbers {
    ($($number:ident),*) => { $(impl Number for $number { const MAX: Self = $number::MAX; })* };
}

numbers!(u16, u64, usize);

impl Variables {
    /// Those of this process. What is no UTF-8 is left out: no launcher sets such.
    pub fn of_this_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        std::env::vars_os().filter_map(text).collect()
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    pub(super) fn number<N: Number>(&self, name: &str) -> Result<Option<N>> {
        let parsed = |value: &str| {
            value.parse().map_err(|_| {
                Error::Input(format!("{name} is `{value}`, expected a whole number from 0 to {}", N::MAX))
            })
        };
        self.text(name).map(parsed).transpose()
    }

    /// A number that has to be there; `beside` says why.
    pub(super) fn needed<N: Number>(&self, name: &str, beside: &str) -> Result<N> {
        self.number(name)?.ok_or_else(|| Error::Input(format!("{name} is not set, but {beside}")))
    }

    /// A number below another, which the variable `of` holds.
    pub(super) fn below(&self, name: &str, most: usize, of: &str) -> Result<Option<usize>> {
        match self.number(name)? {
            Some(number) if number >= most => {
                Err(Error::Input(format!("{name} is {number}, expected less than {of}, which is {most}")))
            }
            number => Ok(number),
        }
    }
}
