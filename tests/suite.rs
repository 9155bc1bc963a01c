//! Integration tests, one binary: through the public objects and through the program itself.

// Linked, or the registry is empty.
use admix_plugins as _;

mod engine;
mod golden;
mod libraries;
mod program;
mod readme;
mod toy_size;
