//! Keeps count of every promise.

use std::fmt::Display;

use admix_torch::Device;

use super::verdict::{Outcome, Verdict};
use super::watch::{Check, guarded};

/// A promise, and why there may be nothing to hold it against.
pub type Promise = (&'static str, &'static str);

/// A promise and its test.
pub type Test<T> = (&'static str, fn(&T) -> Check);

#[derive(Debug)]
struct Record {
    promise: Promise,
    cases: usize,
    broken: usize,
    /// The first case that broke it: what was seen, and how to see it again.
    first: Option<(String, String)>,
}

/// Every promise of one plugin.
#[derive(Debug)]
pub struct Ledger {
    records: Vec<Record>,
    device: Device,
}

impl Ledger {
    pub(super) fn of(promises: &[Promise], device: Device) -> Self {
        let open = |promise: &Promise| Record { promise: *promise, cases: 0, broken: 0, first: None };
        Self { records: promises.iter().map(open).collect(), device }
    }

    /// The device that the plugin is tried on.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Counts one case. Tells whether the promise held.
    pub fn judge(&mut self, promise: &'static str, at: &dyn Display, found: Check) -> bool {
        let known = self.records.iter_mut().find(|record| record.promise.0 == promise);
        debug_assert!(known.is_some(), "`{promise}` is in no list of promises");
        if let Some(record) = known {
            record.cases += 1;
            if let Err(seen) = &found {
                record.broken += 1;
                record.first.get_or_insert_with(|| (seen.line(), at.to_string()));
            }
        }
        found.is_ok()
    }

    /// Runs a test and counts it; a panic of the test breaks the promise.
    pub fn holds(&mut self, promise: &'static str, at: &dyn Display, test: impl FnOnce() -> Check) -> bool {
        self.judge(promise, at, guarded(test))
    }

    /// Runs tests of one subject and counts them.
    pub fn hold_all<T: ?Sized>(&mut self, subject: &T, at: &dyn Display, tests: &[Test<T>]) {
        for (promise, test) in tests {
            self.holds(promise, at, || test(subject));
        }
    }

    pub(super) fn verdicts(self) -> Vec<Verdict> {
        let close = |record: Record| {
            let Record { promise: (promise, unless), cases, broken, first } = record;
            let outcome = match first {
                Some((message, reproduce)) => Outcome::Broken { message, reproduce, broken, cases },
                None if cases > 0 => Outcome::Kept { cases },
                None => Outcome::NotApplicable { why: unless.to_string() },
            };
            Verdict { promise, outcome }
        };
        self.records.into_iter().map(close).collect()
    }
}
