//! What goes wrong between processes, by the number of the process: from 0, as launchers count.

use std::time::Duration;

/// Errors of a group of processes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// Processes that run, or never ran, and did not come in time.
    #[error(
        "{} did not arrive at {at} within {} s; its own output may say why",
        counted(missing, *of),
        within.as_secs_f64()
    )]
    Absent {
        /// Their numbers.
        missing: Vec<usize>,
        /// How many processes the group has.
        of: usize,
        /// The time-out.
        within: Duration,
        /// What the others waited at.
        at: String,
    },
    /// Processes that were there and are no longer.
    #[error("{} ended or cannot be reached (noticed at {at}); its own output may say why", counted(lost, *of))]
    Lost {
        /// Their numbers.
        lost: Vec<usize>,
        /// How many processes the group has.
        of: usize,
        /// What the others were at.
        at: String,
    },
    /// A process that said why it stops.
    #[error("process {process} of {of} stopped: {reason}")]
    Stopped {
        /// Its number.
        process: usize,
        /// How many processes the group has.
        of: usize,
        /// Its own words.
        reason: String,
    },
    /// Processes that run, but do not reach each other.
    #[error("the processes lost each other at {at}: {words}")]
    Connection {
        /// What they were at.
        at: String,
        /// What the backend said.
        words: String,
    },
    /// Processes that were not started as one group.
    #[error("{0}")]
    Start(String),
    /// A value that the group's collectives do not take.
    #[error("{call}: {problem}")]
    Value {
        /// The collective.
        call: &'static str,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A call after a failure.
    #[error("the group of processes has ended: {0}")]
    Ended(String),
}

/// "process 1 of 4", "processes 1 and 3 of 4".
fn counted(processes: &[usize], of: usize) -> String {
    /// More of them say nothing more.
    const NAMED: usize = 8;
    let mut names: Vec<String> = processes.iter().take(NAMED).map(usize::to_string).collect();
    if processes.len() > NAMED {
        names.push(format!("{} more", processes.len() - NAMED));
    }
    match names.split_last() {
        Some((last, [])) => format!("process {last} of {of}"),
        Some((last, others)) => format!("processes {} and {last} of {of}", others.join(", ")),
        None => format!("a process of {of}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_named_by_their_numbers_and_many_are_counted() {
        assert_eq!(counted(&[1], 2), "process 1 of 2");
        assert_eq!(counted(&[1, 2, 5], 8), "processes 1, 2 and 5 of 8");
        let many: Vec<usize> = (1..64).collect();
        assert_eq!(counted(&many, 64), "processes 1, 2, 3, 4, 5, 6, 7, 8 and 55 more of 64");
    }
}
