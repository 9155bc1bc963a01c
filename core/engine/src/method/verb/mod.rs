//! The verbs of methods, a file for each: its arguments, what is recorded, how that is executed, what a profile calls it,
//! how scripts call it and what `docs/scripts.md` says of it.
//!
//! A new verb is a file here and a line in `ALL`. Its operation implements [`Op`](super::Op) and is recorded by
//! [`Frame::push`](super::Frame::push).

mod all_gather;
mod bank;
mod clock;
mod contrast;
mod draw;
mod embed;
mod freeze;
mod gradient;
mod grow;
mod head;
mod input;
mod keep;
mod leaf;
mod learn;
mod log;
mod loss;
mod mix;
mod needs;
mod param;
mod part;
mod pass;
mod queue;
mod schedule;
mod target;
mod tensor;
mod weight;

pub(crate) use keep::one_part;
use rhai::Engine;

use crate::method::entry::{Entry, Line};
use crate::method::handle::{self, TensorHandle};
use crate::method::operand;

/// Every verb; those of the tensor vocabulary are in [`VERBS`](crate::VERBS).
const ALL: [Entry; 25] = [
    input::ENTRY,
    queue::ENTRY,
    keep::ENTRY,
    all_gather::ENTRY,
    head::ENTRY,
    pass::ENTRY,
    embed::ENTRY,
    leaf::ENTRY,
    gradient::ENTRY,
    draw::ENTRY,
    bank::ENTRY,
    mix::ENTRY,
    learn::ENTRY,
    loss::ENTRY,
    weight::ENTRY,
    param::ENTRY,
    log::ENTRY,
    clock::ENTRY,
    needs::ENTRY,
    freeze::ENTRY,
    part::ENTRY,
    grow::ENTRY,
    target::ENTRY,
    contrast::ENTRY,
    schedule::ENTRY,
];

/// The documentation of every verb.
pub fn lines() -> impl Iterator<Item = Line> {
    ALL.into_iter().flat_map(|entry| entry.lines.iter().copied())
}

/// The names of all verbs.
pub fn names() -> Vec<&'static str> {
    lines().flat_map(|line| line.names()).collect()
}

/// Adds all verbs to the language.
pub fn register(engine: &mut Engine) {
    handle::register(engine);
    ALL.into_iter().for_each(|entry| (entry.register)(engine));
    operand::register::<TensorHandle>(engine);
}
