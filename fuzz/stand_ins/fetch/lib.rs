//! The errors of downloads, of which there are none here.

/// Never made.
#[derive(Debug, thiserror::Error)]
#[error("a download failed")]
pub struct Error;
