//! What the files under test name of `admix-api`, without libtorch.

#[path = "../../../core/api/src/names.rs"]
mod names;

pub use names::{did_you_mean, same_name};

/// As `admix_api::Error`, where a reader of files makes or takes it apart.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("`{what}` is {got}, expected {wanted}")]
    Range { what: String, got: String, wanted: String },
}

/// Settings that the host serves.
pub trait Served {
    const FIELDS: &'static [&'static str];
}

#[derive(Debug)]
pub struct Pairing;

impl Served for Pairing {
    const FIELDS: &'static [&'static str] = &["alpha", "per", "fold", "partner", "prob", "until"];
}

/// What a recipe's reader would make of these types.
#[macro_export]
macro_rules! plain {
    ($($type:ty),* $(,)?) => {};
}
