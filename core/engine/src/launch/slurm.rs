//! Tasks that `srun` started: their numbers, and where they meet.

use super::Launch;
use super::variables::Variables;
use crate::{Error, Result};

/// Slurm's own steps (batch scripts, the shell of `salloc`) are numbered from here on. They are no tasks of `srun`.
const OWN_STEPS: u64 = 0xffff_fff0;

/// The first port of those that jobs meet at, and how many there are: below those that systems hand out themselves.
const PORTS: (u64, u64) = (20_000, 10_000);

/// This task's place in its step; none outside of `srun`.
pub(super) fn read(variables: &Variables) -> Result<Option<Launch>> {
    const BESIDE: &str = "SLURM_STEP_ID is set: srun sets both";
    let Some(step) = variables.number::<u64>("SLURM_STEP_ID")?.filter(|step| *step < OWN_STEPS) else {
        return Ok(None);
    };
    // SLURM_NTASKS may be the job's.
    let processes = variables.needed("SLURM_STEP_NUM_TASKS", BESIDE)?;
    let Some(rank) = variables.below("SLURM_PROCID", processes, "SLURM_STEP_NUM_TASKS")? else {
        return Err(Error::Input(format!("SLURM_PROCID is not set, but {BESIDE}")));
    };
    let local_processes = tasks_here(variables)?;
    let port = match variables.number("MASTER_PORT")? {
        Some(port) => port,
        None => {
            let job: u64 = variables.needed("SLURM_JOB_ID", BESIDE)?;
            let (first, ports) = PORTS;
            (first + job.wrapping_add(step) % ports) as u16
        }
    };
    Ok(Some(Launch {
        rank,
        processes,
        local_rank: variables.number("SLURM_LOCALID")?.unwrap_or_default(),
        local_processes,
        host: host(variables)?,
        port,
        launcher_store: false,
        attempt: 0,
    }))
}

/// Where process 0 is: on the first node of the step.
fn host(variables: &Variables) -> Result<String> {
    const REMEDY: &str = "set MASTER_ADDR to the host of process 0";
    if let Some(host) = variables.text("MASTER_ADDR") {
        return Ok(host.into());
    }
    if variables.text("SLURM_STEP_NUM_NODES") == Some("1") {
        return Ok("127.0.0.1".into());
    }
    for name in ["SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"] {
        let Some(list) = variables.text(name) else { continue };
        return first_node(list).ok_or_else(|| {
            Error::Input(format!("{name} is `{list}`, expected names as `gpu[03-05,07],cpu1`: {REMEDY}"))
        });
    }
    Err(Error::Input(format!("neither SLURM_STEP_NODELIST nor SLURM_JOB_NODELIST is set: {REMEDY}")))
}

/// The first name of a list as `gpu[03-05,07],cpu1`; each bracket stands for its first number.
fn first_node(list: &str) -> Option<String> {
    let (mut name, mut rest) = (String::new(), list);
    while let Some(at) = rest.find(['[', ']', ',']) {
        name.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'[' => {
                let (numbers, after) = rest[at + 1..].split_once(']')?;
                let first = numbers.split([',', '-']).next().filter(|first| !first.is_empty())?;
                name.push_str(first);
                rest = after;
            }
            b',' => return Some(name).filter(|name| !name.is_empty()),
            _ => return None,
        }
    }
    name.push_str(rest);
    Some(name).filter(|name| !name.is_empty())
}

/// How many tasks of the step are on this node, from the nodes' counts as `2(x3),1`; none if Slurm does not say.
fn tasks_here(variables: &Variables) -> Result<Option<usize>> {
    const NAME: &str = "SLURM_STEP_TASKS_PER_NODE";
    let (Some(node), Some(counts)) = (variables.number::<usize>("SLURM_NODEID")?, variables.text(NAME))
    else {
        return Ok(None);
    };
    let mut first: usize = 0;
    for count in counts.split(',') {
        let (tasks, nodes) = match count.split_once("(x") {
            Some((tasks, nodes)) => (tasks, nodes.strip_suffix(')').unwrap_or_default()),
            None => (count, "1"),
        };
        let (Ok(tasks), Ok(nodes)) = (tasks.parse(), nodes.parse::<usize>()) else {
            return Err(Error::Input(format!("{NAME} is `{counts}`, expected counts as `2(x3),1`")));
        };
        first = first.saturating_add(nodes);
        if node < first {
            return Ok(Some(tasks));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_node_of_a_list_is_found_in_all_of_slurms_forms() {
        for (list, first) in [
            ("gpu[03-05,07],cpu1", "gpu03"),
            ("cpu1,gpu[03-05]", "cpu1"),
            ("node7", "node7"),
            ("a[10,12-13]", "a10"),
            ("rack[1-2]node[01-04]", "rack1node01"),
            ("gpu[03-05]-ib,x", "gpu03-ib"),
            ("host-1-a", "host-1-a"),
        ] {
            assert_eq!(first_node(list).as_deref(), Some(first), "{list}");
        }
        for list in ["gpu[", "gpu[]", "gpu]1", ",a", "[-3]"] {
            assert_eq!(first_node(list), None, "{list}");
        }
    }

    #[test]
    fn the_tasks_of_a_node_are_found_by_its_number() {
        let here = |node: &str, counts: &str| {
            let set = [("SLURM_NODEID", node), ("SLURM_STEP_TASKS_PER_NODE", counts)];
            let set = set.map(|(name, value)| (name.to_string(), value.to_string()));
            tasks_here(&set.into_iter().collect()).ok()
        };
        for (node, tasks) in [("0", 2), ("2", 2), ("3", 1), ("4", 8)] {
            assert_eq!(here(node, "2(x3),1,8"), Some(Some(tasks)), "node {node}");
        }
        assert_eq!(here("5", "2(x3),1,8"), Some(None));
        assert_eq!(here("0", "two"), None);
        assert_eq!(here("", "2"), Some(None));
    }
}
