//! What was done, counted, for the summary.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

/// Counts by what was done, each with the largest of the figures that were noted with it.
#[derive(Debug, Default)]
pub struct Tally(RefCell<BTreeMap<String, (u64, f64)>>);

impl Tally {
    /// Counts something.
    pub fn count(&self, what: impl Into<String>) {
        self.note(what, 0.0);
    }

    /// Counts something, with a figure from 0.
    pub fn note(&self, what: impl Into<String>, figure: f64) {
        let mut all = self.0.borrow_mut();
        let (count, largest) = all.entry(what.into()).or_default();
        *count += 1;
        *largest = largest.max(figure);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, (count, largest)) in self.0.borrow().iter() {
            let figure = if *largest > 0.0 { format!(", at most {largest:.1e}") } else { String::new() };
            writeln!(f, "  {what}: {count}{figure}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_counts_and_keeps_the_largest_figure() {
        let tally = Tally::default();
        tally.count("kills");
        tally.count("kills");
        tally.note("difference", 0.5);
        tally.note("difference", 0.25);
        assert_eq!(tally.to_string(), "  difference: 2, at most 5.0e-1\n  kills: 2\n");
    }
}
