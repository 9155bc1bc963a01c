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

mod about;
mod bench;
mod examine;
mod ledger;
pub(crate) mod losses;
pub(crate) mod mixers;
mod mixes;
mod plans;
mod samples;
mod slopes;
mod table;
#[cfg(test)]
mod tests;
mod verdict;
mod watch;

use admix_torch::Device;

use crate::Entry;

pub use examine::{BUILT, READ};
pub(crate) use examine::{Settings, examined};
pub use ledger::{Ledger, Promise, Test};
pub use losses::Given;
pub use samples::wild;
pub use slopes::slopes_agree;
pub use table::table;
pub use verdict::{Outcome, Verdict};
pub use watch::{Check, Seen, Watched, ensure, guarded, watched, watched_on};

/// Holds an entry to every promise of its kind, with each of these settings: JSON objects as a recipe would write
/// them, `{}` for the defaults. The verdicts come in a fixed order, one for each promise.
///
/// libtorch has one generator for the whole process: while this runs, no other thread should draw from it.
pub fn check(entry: &Entry, settings: &[serde_json::Value]) -> Vec<Verdict> {
    check_on(entry, settings, Device::Cpu)
}

/// As [`check`], on a device. Mixers and losses are tried there, entries of other kinds on the CPU.
pub fn check_on(entry: &Entry, settings: &[serde_json::Value], device: Device) -> Vec<Verdict> {
    let promises = [about::PROMISES, examine::PROMISES, &entry.reader.promises()].concat();
    let mut ledger = Ledger::of(&promises, device);
    about::about(entry, &mut ledger);
    for settings in settings {
        // Guarded as a whole too: an entry may panic when it is dropped.
        let outcome = guarded(|| {
            entry.reader.check(&entry.name, &(entry.defaults)(), settings, &mut ledger);
            Ok(())
        });
        if outcome.is_err() {
            ledger.judge(examine::BUILT, settings, outcome);
        }
    }
    ledger.verdicts()
}
