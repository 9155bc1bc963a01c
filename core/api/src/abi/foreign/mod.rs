//! The host's side: plugins of libraries, as mixers and losses like any other.
//!
//! Around each call the host keeps what a library could spoil: gradient mode and autocast are restored, and draws from
//! libtorch's generators and writes into inputs are found out. Results are taken over and checked before they go on.

mod call;
mod config;
mod create;
mod loss;
mod map;
mod mixed;
mod mixer;
mod planning;

pub(super) use call::Foreign;
pub(super) use config::ForeignConfig;
