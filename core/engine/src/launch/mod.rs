//! Which process of how many this one is, from what its launcher left in the environment.
//!
//! | file | what it holds |
//! |---|---|
//! | `slurm.rs` | what `srun` sets |
//! | `variables.rs` | variables as numbers |

mod slurm;
#[cfg(test)]
mod tests;
mod variables;

use std::time::Duration;

use admix_torch::{Device, Membership};

use crate::{Error, Result};

pub use variables::Variables;

/// One process's place among those that train together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Its number, from 0.
    pub rank: usize,
    /// How many processes there are: 2 or more.
    pub processes: usize,
    /// Its number on this machine, from 0: the index of its device.
    pub local_rank: usize,
    /// How many of them are on this machine, if the launcher says so.
    pub local_processes: Option<usize>,
    /// Where the processes meet.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// The launcher answers there, as torchrun's agent does. Else process 0 does.
    pub launcher_store: bool,
    /// How often the launcher has started the processes before.
    pub attempt: u64,
}

impl Launch {
    /// Reads what torchrun (and Kubernetes operators, which set the same variables) or `srun` has set; none where this
    /// process is to train alone: nothing is set, there is one process, or Slurm runs a script without `srun`.
    ///
    /// torchrun's variables count for more than Slurm's: it may be started by `srun` itself. `MASTER_ADDR` and
    /// `MASTER_PORT` replace what is derived from Slurm's.
    ///
    /// # Errors
    /// Variables that are missing beside others, are no numbers, or contradict each other; the message names them.
    pub fn read(variables: &Variables) -> Result<Option<Self>> {
        if variables.text("RANK").is_some() {
            return of_torchrun(variables);
        }
        let slurm = slurm::read(variables)?;
        match (variables.number::<usize>("WORLD_SIZE")?, &slurm) {
            (None, _) => Ok(slurm.filter(|launch| launch.processes > 1)),
            (Some(world), Some(launch)) if world == launch.processes => {
                Ok(slurm.filter(|launch| launch.processes > 1))
            }
            (Some(world), Some(launch)) => Err(Error::Input(format!(
                "WORLD_SIZE is {world}, but srun started {} tasks: unset WORLD_SIZE, or set RANK too",
                launch.processes
            ))),
            (Some(_), None) => Err(Error::Input(
                "WORLD_SIZE is set and RANK is not: set both, as torchrun does, or neither".into(),
            )),
        }
    }

    /// As what the processes join.
    pub fn membership(&self, device: Device, timeout: Duration) -> Membership {
        let Self { rank, processes, port, launcher_store, attempt, .. } = *self;
        let host = self.host.clone();
        Membership { rank, processes, host, port, launcher_store, attempt, timeout, device }
    }
}

/// The contract of torchrun.
fn of_torchrun(variables: &Variables) -> Result<Option<Launch>> {
    const BESIDE: &str = "RANK is set: torchrun sets both";
    let processes = variables.needed("WORLD_SIZE", BESIDE)?;
    let rank = variables.below("RANK", processes, "WORLD_SIZE")?.unwrap_or_default();
    if processes == 1 {
        return Ok(None);
    }
    let local_processes = variables.number("LOCAL_WORLD_SIZE")?;
    let local_rank = match local_processes {
        Some(local) => variables.below("LOCAL_RANK", local, "LOCAL_WORLD_SIZE")?,
        None => variables.below("LOCAL_RANK", processes, "WORLD_SIZE")?,
    };
    let Some(host) = variables.text("MASTER_ADDR") else {
        return Err(Error::Input(format!("MASTER_ADDR is not set, but {BESIDE}")));
    };
    Ok(Some(Launch {
        rank,
        processes,
        // Operators that start one process on a machine leave it out.
        local_rank: local_rank.unwrap_or_default(),
        local_processes,
        host: host.into(),
        port: variables.needed("MASTER_PORT", BESIDE)?,
        // PyTorch's own word for it.
        launcher_store: variables.text("TORCHELASTIC_USE_AGENT_STORE") == Some("True"),
        attempt: variables.number("TORCHELASTIC_RESTART_COUNT")?.unwrap_or_default(),
    }))
}
