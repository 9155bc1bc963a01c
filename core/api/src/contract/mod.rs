//! What every plugin must keep, as one check that runs on any plugin: bundled, from a library, or a script.
//!
//! [`check`] tries a plugin with each of some settings, on batches of every kind (one sample, odd sizes, one colour
//! channel, height and width different), loud and quiet, with one lambda for the batch and one for each sample. It
//! says of each promise whether it was kept. A plugin may do anything: fail, panic, hand back nonsense. No promise
//! that is broken hides another, and nothing panics out of the check.
//!
//! A mixer may refuse images whose sides are not multiples of 4, if its `plan` says so in an error that names a setting,
//! whatever else it draws.
//!
//! Where one fault would break many promises, only the first is held against it: images of a wrong shape are not
//! compared with the mask as well.

mod ledger;
mod losses;
mod mixers;
mod mixes;
mod plans;
mod samples;
mod settings;
mod slopes;
mod table;
#[cfg(test)]
mod tests;
mod watch;

use serde::Serialize;

use crate::{Entry, Reader};
use ledger::Ledger;

pub use losses::Given;
pub use samples::wild;
pub use slopes::slopes_agree;
pub use table::table;

/// One promise and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The promise in a few words.
    pub promise: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of one promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It held in every case.
    Kept {
        /// How many cases were tried.
        cases: usize,
    },
    /// It did not hold.
    Broken {
        /// What was seen in the first case that broke it: one line.
        message: String,
        /// That case: settings, shape NxCxHxW, per, loud or quiet, seed and step.
        reproduce: String,
        /// How many cases broke it.
        broken: usize,
        /// How many cases were tried.
        cases: usize,
    },
    /// There was nothing to hold it against.
    NotApplicable {
        /// Why not.
        why: String,
    },
}

impl Verdict {
    /// Whether the promise was broken.
    pub fn is_broken(&self) -> bool {
        matches!(self.outcome, Outcome::Broken { .. })
    }
}

/// Holds a plugin to every promise of its kind, with each of these settings: JSON objects as a recipe would write
/// them, `{}` for the defaults. The verdicts come in a fixed order, one for each promise.
///
/// libtorch has one generator for the whole process: while this runs, no other thread should draw from it.
pub fn check(entry: &Entry, settings: &[serde_json::Value]) -> Vec<Verdict> {
    let own = match entry.reader {
        Reader::Mixer(..) => [plans::PROMISES, mixers::PROMISES, mixes::PROMISES].concat(),
        Reader::Loss(_) => losses::PROMISES.to_vec(),
    };
    let mut ledger = Ledger::of(&[settings::PROMISES, &own].concat());
    settings::about(entry, &mut ledger);
    for settings in settings {
        // Guarded as a whole too: a plugin may panic when it is dropped.
        let at = settings.to_string();
        let outcome = watch::guarded(|| {
            match &entry.reader {
                Reader::Mixer(read, pairing) => {
                    if let Some((config, pairing)) =
                        settings::mixer(entry, (read, pairing), settings, &mut ledger)
                    {
                        mixers::check(config.as_ref(), &pairing, &at, &mut ledger);
                    }
                }
                Reader::Loss(read) => {
                    if let Some(config) = settings::loss(entry, read, settings, &mut ledger) {
                        losses::check(config.as_ref(), &at, &mut ledger);
                    }
                }
            }
            Ok(())
        });
        if outcome.is_err() {
            ledger.judge(settings::BUILT, &at, outcome);
        }
    }
    ledger.verdicts()
}
