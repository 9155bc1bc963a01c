//! How processes find each other at the start, and what keeps them from it.

use std::thread;
use std::time::Instant;

use super::error::GroupError;
use super::failure::{POLL, SETTLE};
use super::lifelines::{Door, Lifelines, connect};
use super::membership::Membership;
use super::store::Store;
use crate::Result;

/// Where the start's errors are noticed.
pub(super) const START: &str = "the start";

/// Opens the store or connects to it, and waits for all processes.
pub(super) fn meet(member: &Membership) -> Result<(Store, Lifelines)> {
    let Membership { host, port, processes, .. } = member;
    let door = Door::open(*processes, host, *port).map_err(|error| {
        GroupError::Start(format!(
            "cannot find the way to `{host}`, where the processes meet: {error}; see MASTER_ADDR"
        ))
    })?;
    let began = Instant::now();
    await_store(member, began)?;
    let store = Store::open(member).map_err(|error| no_store(member, &error.to_string()))?;
    let doors = arrive(member, &store, &door, began)?;
    let lifelines =
        Lifelines::connect(door, member.rank, &doors, host, member.timeout).map_err(|(process, error)| {
            GroupError::Start(format!(
                "process {process} of {processes} cannot be reached at {}: {error}",
                doors[process]
            ))
        })?;
    Ok((store, lifelines))
}

/// Waits until somebody answers where the processes meet. c10d's own wait takes its time-out twice.
fn await_store(member: &Membership, began: Instant) -> Result<(), GroupError> {
    if member.serves() {
        return Ok(());
    }
    let Membership { host, port, processes, timeout, .. } = member;
    loop {
        let left = timeout.saturating_sub(began.elapsed());
        let Err(error) = connect(host, *port, left.max(POLL)) else { return Ok(()) };
        if left.is_zero() {
            if member.launcher_store {
                return Err(no_store(member, &error.to_string()));
            }
            let at = format!("{START} (nobody answers at {host}:{port})");
            return Err(GroupError::Absent { missing: vec![0], of: *processes, within: *timeout, at });
        }
        thread::sleep(POLL);
    }
}

fn no_store(member: &Membership, words: &str) -> GroupError {
    let Membership { host, port, processes, .. } = member;
    GroupError::Start(match member.serves() {
        true => format!(
            "process 0 of {processes} cannot listen at port {port}: {words}; take a free port (MASTER_PORT)"
        ),
        false => format!("nobody answers at {host}:{port}, where the processes meet: {words}"),
    })
}

/// Says that this process is there and waits for the others; where the door of each is.
fn arrive(member: &Membership, store: &Store, door: &Door, began: Instant) -> Result<Vec<String>> {
    let Membership { rank, processes, .. } = member;
    let gone = |_| GroupError::Lost { lost: vec![0], of: *processes, at: START.into() };
    if store.count(&format!("joined/{rank}")).map_err(gone)? > 1 {
        return Err(GroupError::Start(format!(
            "another process has joined as process {rank} of {processes}: each needs a RANK of its own"
        ))
        .into());
    }
    store.set(&format!("door/{rank}"), &format!("{processes} {}", door.address)).map_err(gone)?;

    let mut doors: Vec<Option<String>> = vec![None; *processes];
    loop {
        for (process, door) in doors.iter_mut().enumerate().filter(|(_, door)| door.is_none()) {
            let said = store.get(&format!("door/{process}")).map_err(gone)?;
            *door = said.map(|said| address(member, process, &said)).transpose()?;
        }
        let missing: Vec<usize> = (0..*processes).filter(|process| doors[*process].is_none()).collect();
        if missing.is_empty() {
            return Ok(doors.into_iter().flatten().collect());
        }
        // The first to give up says so for all: one word about who is missing, also from those that came later.
        let given_up = store.get("given_up").map_err(gone)?.is_some();
        if given_up || began.elapsed() >= member.timeout {
            store.set("given_up", "").map_err(gone)?;
            if member.serves() {
                thread::sleep(SETTLE / 8);
            }
            let absent =
                GroupError::Absent { missing, of: *processes, within: member.timeout, at: START.into() };
            return Err(absent.into());
        }
        thread::sleep(POLL);
    }
}

/// The address in what a process said at its arrival, if it was started as one of as many.
fn address(member: &Membership, process: usize, said: &str) -> Result<String, GroupError> {
    let (of, address) = said.split_once(' ').unwrap_or_default();
    if of == member.processes.to_string() {
        return Ok(address.to_string());
    }
    Err(GroupError::Start(format!(
        "process {process} was started as one of {of}, this one as one of {}: all need the same WORLD_SIZE",
        member.processes
    )))
}
