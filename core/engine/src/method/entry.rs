//! What a file of `verb/` offers to scripts.

use rhai::Engine;

/// A verb, or a few that are one thing.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its documentation.
    pub lines: &'static [Line],
    /// Adds it to the language.
    pub register: fn(&mut Engine),
}

/// One line of the documentation of methods: a row of a table in `docs/scripts.md`.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// How it is written: "`t.pass(net, input)`"; more than one with commas between.
    pub call: &'static str,
    /// What it is or returns.
    pub summary: &'static str,
}

/// A line.
pub const fn line(call: &'static str, summary: &'static str) -> Line {
    Line { call, summary }
}

impl Line {
    /// The names in it: "pass".
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.call.split('`').skip(1).step_by(2).filter_map(|call| {
            let path = call.split(['(', '[']).next()?;
            path.rsplit('.').next()
        })
    }
}
