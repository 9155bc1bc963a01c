//! A trained network for others: taken out of its run, written in their format, asked about images.
//!
//! | file | what it holds |
//! |---|---|
//! | `pick.rs` | which network of a run, and which of its heads |
//! | `export.rs` | its tensors, by the names of a library |
//! | `target.rs` | how a file is written |
//! | `card.rs` | what a reader of that file must know, in words |
//! | `answers.rs` | probabilities and features of images |

mod answers;
mod card;
mod export;
mod pick;
mod target;

pub use answers::{Answers, answers};
pub use card::{Card, card};
pub use export::Export;
pub use pick::Pick;
pub use target::Target;
