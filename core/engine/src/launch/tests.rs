//! What each launcher's variables give.

use super::*;

fn variables(set: &[(&str, &str)]) -> Variables {
    set.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn read(set: &[(&str, &str)]) -> Result<Option<Launch>> {
    Launch::read(&variables(set))
}

fn refused(set: &[(&str, &str)]) -> String {
    let error = read(set).expect_err("an error");
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

const TORCHRUN: [(&str, &str); 6] = [
    ("RANK", "3"),
    ("WORLD_SIZE", "4"),
    ("LOCAL_RANK", "1"),
    ("LOCAL_WORLD_SIZE", "2"),
    ("MASTER_ADDR", "10.0.0.7"),
    ("MASTER_PORT", "29500"),
];

/// The variables of [`TORCHRUN`], some changed, those of value "" unset.
fn torchrun<'a>(changed: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut set: Vec<(&str, &str)> = TORCHRUN.to_vec();
    set.extend(changed);
    set
}

fn launched() -> Launch {
    Launch {
        rank: 3,
        processes: 4,
        local_rank: 1,
        local_processes: Some(2),
        host: "10.0.0.7".into(),
        port: 29500,
        launcher_store: false,
        attempt: 0,
    }
}

#[test]
fn without_a_launcher_a_process_trains_alone() {
    assert_eq!(read(&[]).expect("reads"), None);
    let left_over =
        [("MASTER_ADDR", "somewhere"), ("MASTER_PORT", "1234"), ("LOCAL_RANK", "0"), ("RANK", "")];
    assert_eq!(read(&left_over).expect("reads"), None);
}

#[test]
fn torchrun_tells_all_by_its_variables() {
    assert_eq!(read(&TORCHRUN).expect("reads"), Some(launched()));
    let agent = torchrun(&[("TORCHELASTIC_USE_AGENT_STORE", "True"), ("TORCHELASTIC_RESTART_COUNT", "2")]);
    let expected = Launch { launcher_store: true, attempt: 2, ..launched() };
    assert_eq!(read(&agent).expect("reads"), Some(expected));
    let own_store = torchrun(&[("TORCHELASTIC_USE_AGENT_STORE", "False")]);
    assert_eq!(read(&own_store).expect("reads"), Some(launched()));
}

#[test]
fn operators_that_name_no_local_number_start_one_process_on_a_machine() {
    let set = torchrun(&[("LOCAL_RANK", ""), ("LOCAL_WORLD_SIZE", "")]);
    let expected = Launch { local_rank: 0, local_processes: None, ..launched() };
    assert_eq!(read(&set).expect("reads"), Some(expected));
}

#[test]
fn a_world_of_one_needs_no_address() {
    assert_eq!(read(&[("RANK", "0"), ("WORLD_SIZE", "1")]).expect("reads"), None);
}

#[test]
fn torchrun_counts_for_more_than_the_srun_that_started_it() {
    let set = torchrun(&[("SLURM_STEP_ID", "0"), ("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_PROCID", "1")]);
    assert_eq!(read(&set).expect("reads"), Some(launched()));
}

#[test]
fn what_is_missing_no_number_or_contradicts_is_named() {
    for (changed, said) in [
        (("WORLD_SIZE", ""), "WORLD_SIZE is not set, but RANK is set: torchrun sets both"),
        (("RANK", ""), "WORLD_SIZE is set and RANK is not: set both, as torchrun does, or neither"),
        (("MASTER_ADDR", ""), "MASTER_ADDR is not set, but RANK is set: torchrun sets both"),
        (("MASTER_PORT", ""), "MASTER_PORT is not set, but RANK is set: torchrun sets both"),
        (("RANK", "one"), "RANK is `one`, expected a whole number from 0 to 18446744073709551615"),
        (("RANK", "-1"), "RANK is `-1`, expected a whole number from 0 to 18446744073709551615"),
        (("RANK", "4"), "RANK is 4, expected less than WORLD_SIZE, which is 4"),
        (("WORLD_SIZE", "0"), "RANK is 3, expected less than WORLD_SIZE, which is 0"),
        (("LOCAL_RANK", "2"), "LOCAL_RANK is 2, expected less than LOCAL_WORLD_SIZE, which is 2"),
        (("MASTER_PORT", "70000"), "MASTER_PORT is `70000`, expected a whole number from 0 to 65535"),
    ] {
        assert_eq!(refused(&torchrun(&[changed])), said);
    }
    let no_local_size = torchrun(&[("LOCAL_WORLD_SIZE", ""), ("LOCAL_RANK", "4")]);
    assert_eq!(refused(&no_local_size), "LOCAL_RANK is 4, expected less than WORLD_SIZE, which is 4");
}

const SRUN: [(&str, &str); 10] = [
    ("SLURM_JOB_ID", "412345"),
    ("SLURM_STEP_ID", "2"),
    ("SLURM_STEP_NUM_TASKS", "5"),
    ("SLURM_NTASKS", "8"),
    ("SLURM_PROCID", "4"),
    ("SLURM_LOCALID", "0"),
    ("SLURM_NODEID", "2"),
    ("SLURM_STEP_TASKS_PER_NODE", "2(x2),1"),
    ("SLURM_STEP_NODELIST", "gpu[03-05,07],cpu1"),
    ("SLURM_JOB_NODELIST", "gpu[01-07],cpu1"),
];

fn srun<'a>(changed: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut set: Vec<(&str, &str)> = SRUN.to_vec();
    set.extend(changed);
    set
}

fn launched_by_slurm() -> Launch {
    Launch {
        rank: 4,
        processes: 5,
        local_rank: 0,
        local_processes: Some(1),
        host: "gpu03".into(),
        port: 22347,
        launcher_store: false,
        attempt: 0,
    }
}

#[test]
fn srun_tells_the_place_in_its_step() {
    assert_eq!(read(&srun(&[])).expect("reads"), Some(launched_by_slurm()));
    let older = srun(&[("SLURM_STEP_NODELIST", ""), ("SLURM_STEP_TASKS_PER_NODE", "")]);
    let expected = Launch { host: "gpu01".into(), local_processes: None, ..launched_by_slurm() };
    assert_eq!(read(&older).expect("reads"), Some(expected));
}

#[test]
fn a_step_on_one_machine_meets_there_and_variables_of_the_user_replace_the_meeting_place() {
    let one = srun(&[("SLURM_STEP_NUM_NODES", "1")]);
    assert_eq!(read(&one).expect("reads").expect("a launch").host, "127.0.0.1");
    let own = srun(&[("MASTER_ADDR", "head"), ("MASTER_PORT", "4000"), ("SLURM_STEP_NUM_NODES", "1")]);
    let expected = Launch { host: "head".into(), port: 4000, ..launched_by_slurm() };
    assert_eq!(read(&own).expect("reads"), Some(expected));
}

#[test]
fn steps_of_a_job_do_not_meet_at_the_same_port() {
    let port = |job, step| {
        let set = srun(&[("SLURM_JOB_ID", job), ("SLURM_STEP_ID", step)]);
        read(&set).expect("reads").expect("a launch").port
    };
    assert_ne!(port("1", "0"), port("1", "1"));
    assert_ne!(port("1", "0"), port("2", "0"));
    // Below the ports that systems hand out by themselves.
    assert!((20_000..30_000).contains(&port("4294967295", "4000")));
}

#[test]
fn scripts_and_shells_of_slurm_without_srun_train_alone() {
    // In a batch script Slurm sets the variables of a task all the same.
    assert_eq!(read(&srun(&[("SLURM_STEP_ID", "")])).expect("reads"), None);
    // The steps that Slurm itself makes for batch scripts and for salloc's shell.
    for step in ["4294967291", "4294967290"] {
        assert_eq!(read(&srun(&[("SLURM_STEP_ID", step)])).expect("reads"), None);
    }
    let one_task = srun(&[("SLURM_STEP_NUM_TASKS", "1"), ("SLURM_PROCID", "0")]);
    assert_eq!(read(&one_task).expect("reads"), None);
    let exported = srun(&[("SLURM_STEP_NUM_TASKS", "1"), ("SLURM_PROCID", "0"), ("WORLD_SIZE", "1")]);
    assert_eq!(read(&exported).expect("reads"), None);
}

#[test]
fn what_slurm_lacks_or_contradicts_is_named() {
    for (changed, said) in [
        (("SLURM_PROCID", ""), "SLURM_PROCID is not set, but SLURM_STEP_ID is set: srun sets both"),
        (("SLURM_PROCID", "5"), "SLURM_PROCID is 5, expected less than SLURM_STEP_NUM_TASKS, which is 5"),
        (
            ("SLURM_STEP_NUM_TASKS", "x"),
            "SLURM_STEP_NUM_TASKS is `x`, expected a whole number from 0 to 18446744073709551615",
        ),
        (("SLURM_JOB_ID", ""), "SLURM_JOB_ID is not set, but SLURM_STEP_ID is set: srun sets both"),
        (
            ("SLURM_STEP_NODELIST", "gpu[1"),
            "SLURM_STEP_NODELIST is `gpu[1`, expected names as `gpu[03-05,07],cpu1`: set MASTER_ADDR to the host of process 0",
        ),
        (
            ("SLURM_STEP_TASKS_PER_NODE", "2(x"),
            "SLURM_STEP_TASKS_PER_NODE is `2(x`, expected counts as `2(x3),1`",
        ),
        (("WORLD_SIZE", "8"), "WORLD_SIZE is 8, but srun started 5 tasks: unset WORLD_SIZE, or set RANK too"),
    ] {
        assert_eq!(refused(&srun(&[changed])), said);
    }
    let nowhere = srun(&[("SLURM_STEP_NODELIST", ""), ("SLURM_JOB_NODELIST", "")]);
    assert_eq!(
        refused(&nowhere),
        "neither SLURM_STEP_NODELIST nor SLURM_JOB_NODELIST is set: set MASTER_ADDR to the host of process 0"
    );
}
