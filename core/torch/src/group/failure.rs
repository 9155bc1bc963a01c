//! After a failed collective: which process is to blame.
//!
//! A backend only says that a connection broke or that the time is over. Every process that notices a failure says so by
//! a key of the store and breaks its own connections, so that all notice it. Who says nothing and has ended is the one
//! that was lost; who says nothing and runs is the one that did not come.

use std::thread;
use std::time::{Duration, Instant};

use super::error::GroupError;
use super::lifelines::Lifelines;
use super::membership::Membership;
use super::store::Store;

/// How long a process listens for what the others noticed.
pub(super) const SETTLE: Duration = Duration::from_secs(2);
/// How often it looks.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// What a process says when its time is over; another word says that a connection broke.
const LATE: &str = "late";

/// The key of a process that needs the store no more.
const EXPLAINED: &str = "explained";

/// Tells the others that this process stops of its own accord, and why; `close` breaks its connections.
pub(super) fn stop(
    member: &Membership,
    store: &Store,
    lifelines: &Lifelines,
    reason: &str,
    close: impl FnOnce(),
) {
    // Nobody is left to tell if this fails.
    let _ = store.set(&format!("stopped/{}", member.rank), reason);
    close();
    await_readers(member, store, lifelines, Instant::now() + SETTLE);
}

/// What made a collective fail. `late`: the time-out was over. The connections of this process are broken by now.
pub(super) fn explain(
    member: &Membership,
    store: &Store,
    lifelines: &Lifelines,
    at: &str,
    late: bool,
    words: String,
) -> GroupError {
    let (of, at, until) = (member.processes, at.to_string(), Instant::now() + SETTLE);
    // A call of a store whose machine is off does not come back; where only the process ended it fails at once.
    let store_lives = || member.launcher_store || !lifelines.is_gone(0);
    if store_lives() {
        let _ = store.set(&format!("failed/{}", member.rank), if late { LATE } else { "lost" });
    }
    let said = |what: &str, process: usize| {
        store_lives().then(|| store.get(&format!("{what}/{process}")).ok().flatten()).flatten()
    };

    let mut found = None;
    loop {
        let (mut lost, mut silent, mut stopped, mut anyone_late) = (Vec::new(), Vec::new(), None, late);
        for process in (0..of).filter(|process| *process != member.rank) {
            // In this order: what a process said, it said before it ended.
            let gone = lifelines.is_gone(process);
            if let Some(reason) = said("stopped", process) {
                stopped = stopped.or(Some(GroupError::Stopped { process, of, reason }));
            } else if let Some(how) = said("failed", process) {
                anyone_late |= how == LATE;
            } else if gone {
                lost.push(process);
            } else {
                silent.push(process);
            }
        }
        // What is found first is the cause; more that are lost later left because of it.
        if found.is_none() && !lost.is_empty() {
            found = Some(GroupError::Lost { lost, of, at: at.clone() });
        }
        found = stopped.or(found);
        // Without a store none can say that it noticed: all stay a while, so that none is taken for the cause.
        let enough = found.is_some() && store_lives();
        if silent.is_empty() || enough || Instant::now() >= until {
            if store_lives() {
                let _ = store.set(&format!("{EXPLAINED}/{}", member.rank), "");
            }
            await_readers(member, store, lifelines, until);
            return found.unwrap_or(match anyone_late && !silent.is_empty() {
                true => GroupError::Absent { missing: silent, of, within: member.timeout, at },
                false => GroupError::Connection { at, words },
            });
        }
        thread::sleep(POLL);
    }
}

/// Keeps the store, if it is this process's, for those that are reading what happened, and until then for those that have
/// not noticed yet.
fn await_readers(member: &Membership, store: &Store, lifelines: &Lifelines, until: Instant) {
    let is_set = |what: &str, process: usize| matches!(store.get(&format!("{what}/{process}")), Ok(Some(_)));
    linger(member, lifelines, until + SETTLE, |process| {
        is_set(EXPLAINED, process) || (Instant::now() >= until && !is_set("failed", process))
    });
}

/// Keeps the store, if it is this process's, until `is_done` for each of the others that has not ended.
pub(super) fn linger(
    member: &Membership,
    lifelines: &Lifelines,
    until: Instant,
    is_done: impl Fn(usize) -> bool,
) {
    let done = |process| process == member.rank || lifelines.is_gone(process) || is_done(process);
    while member.serves() && Instant::now() < until && !(0..member.processes).all(done) {
        thread::sleep(POLL);
    }
}
