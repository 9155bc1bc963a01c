//! The library's side: Rust plugins behind the C ABI.
//!
//! One set of functions serves every plugin of a library; `data` says which one is meant. No panic leaves them.

mod call;
mod loss;
mod manifest;
mod mixer;
mod plan;
mod store;

pub use manifest::manifest_of;
