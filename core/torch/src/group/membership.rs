//! Which process of how many this one is, and where they meet.

use std::time::{Duration, Instant};

use tch::Device;

use super::error::GroupError;

/// One process's place in a group, as its launcher gives it.
#[derive(Debug, Clone)]
pub struct Membership {
    /// Its number, from 0.
    pub rank: usize,
    /// How many processes the group has.
    pub processes: usize,
    /// Where the store of keys is: a name or an address that all processes reach.
    pub host: String,
    /// The store's port.
    pub port: u16,
    /// The launcher holds the store, as torchrun's agent does. Else process 0 opens one.
    pub launcher_store: bool,
    /// How often the launcher has started the group before: a store that outlives a start keeps each one's keys apart.
    pub attempt: u64,
    /// How long a process waits for the others, at the start and at each collective.
    pub timeout: Duration,
    /// Where the tensors of this process are.
    pub device: Device,
}

impl Membership {
    /// Whether this process holds the store.
    pub(super) fn serves(&self) -> bool {
        self.rank == 0 && !self.launcher_store
    }

    /// Whether all processes are on this machine.
    pub(super) fn on_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// Whether what began then failed because its time was over. A backend's clock starts a little later than ours.
    pub(super) fn is_late(&self, began: Instant) -> bool {
        began.elapsed() >= self.timeout.mul_f64(0.9)
    }

    /// Refuses what cannot become a member.
    pub(super) fn check(&self) -> Result<(), GroupError> {
        if self.rank >= self.processes || i32::try_from(self.processes).is_err() {
            return Err(GroupError::Start(format!(
                "process {} of {} cannot join: processes are counted from 0",
                self.rank, self.processes
            )));
        }
        Ok(())
    }
}
