//! Mistakes in the command line that only a command itself finds.

use std::fmt;

/// A mistake in the command line; `main` turns it into exit code 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (`cargo xtask help` lists the commands)", self.0)
    }
}

impl std::error::Error for Usage {}
