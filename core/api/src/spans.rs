//! Where the time of a training step goes, as `tracing` spans: they cost nothing unless somebody listens to [`TARGET`]. Parts
//! are also places of the [`trail`] that a crash tells.
//!
//! Spans nest: the time of a part is its own without that of parts inside of it.

use std::fmt;

use admix_torch::trail::{self, Place};
use tracing::span::EnteredSpan;
use tracing::trace_span;

/// The target of these spans; their level is `trace`.
pub const TARGET: &str = "admix::step";
/// The name of the span that a whole step is: field `number`.
pub const STEP: &str = "step";
/// The name of the spans within: fields `row`, what a table calls it, and `line` of the method's script, 0 for none.
pub const PART: &str = "part";

/// A training step, from reading its batch to its end; `number` counts from 1.
#[must_use = "the step ends when this is dropped"]
pub fn step(number: u64) -> EnteredSpan {
    trace_span!(target: TARGET, STEP, number).entered()
}

/// A part of a step. `row` is called only if somebody listens, or if the thread leaves a [`trail`].
#[must_use = "the part ends when this is dropped"]
pub fn part(row: impl FnOnce() -> String, line: usize) -> Part {
    if !trail::is_left() {
        let span = trace_span!(target: TARGET, PART, row = row(), line = line as u64).entered();
        return Part { _span: span, _place: None };
    }
    let row = row();
    let place = match line {
        0 => trail::enter(format_args!("{row}")),
        line => trail::enter(format_args!("{row} (line {line} of the method)")),
    };
    let span = trace_span!(target: TARGET, PART, row, line = line as u64).entered();
    Part { _span: span, _place: Some(place) }
}

/// A part of a step that runs.
pub struct Part {
    _span: EnteredSpan,
    _place: Option<Place>,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_names_a_part_that_nobody_listens_to() {
        let mut named = false;
        let name = || {
            named = true;
            String::new()
        };
        drop((step(1), part(name, 3)));
        assert!(!named);
    }
}
