//! `t.weight`: the weight of a term.

use crate::Error;
use crate::method::handle::{Call, Step, record};
use crate::method::{Entry, line};
use crate::text::list;

pub const ENTRY: Entry = Entry {
    lines: &[line("`t.weight(name)`", "the weight of a term in this step; in `step` only")],
    register: |engine| {
        engine.register_fn("weight", |call: Call<'_>, t: &mut Step, name: &str| {
            record(&call, &t.0, |frame, _| {
                frame.weights.get(name).copied().ok_or_else(|| {
                    let known = list(frame.weights.keys());
                    Error::Input(format!("no weight named `{name}`; `weights` has {known}"))
                })
            })
        });
    },
};
