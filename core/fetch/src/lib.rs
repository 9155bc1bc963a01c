//! Files from where they are published: downloaded, gone on with, compared with their published checksums.
//!
//! | file | what it holds |
//! |---|---|
//! | `download.rs` | one file by HTTP |
//! | `sum.rs` | checksums |
//! | `error.rs` | what can go wrong |
#![forbid(unsafe_code)]

mod download;
mod error;
mod sum;

#[cfg(test)]
mod tests;

pub use download::{Fetched, Wanted, agent};
pub use error::{Error, Result};
pub use sum::{Sum, sha256};
