//! Runs of several processes: one with accumulated steps, up to the order of a sum, and over when one of them ends.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use admix_engine::{Checkpoint, bundled};
use admix_torch::{Device, Kind, Tensor};

use super::resume::{Watched, file_of, same_state};
use super::{Outcome, Place, TINY, finish, repository};
use crate::libraries::library;

const BOTH: [&str; 6] = ["--device", "cpu", "--threads", "1", "--process-timeout", "60"];

fn tensors(path: &Path) -> BTreeMap<String, Tensor> {
    Checkpoint::read(path, Device::Cpu).expect("a checkpoint").tensors
}

/// Fails unless the states are equal but for rounding: labels, pointers and all that is whole are equal.
#[track_caller]
fn near(a: &Path, b: &Path) {
    let (a, b) = (tensors(a), tensors(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, one) in &a {
        let other = &b[name];
        if !one.is_floating_point() {
            assert!(one.equal(other), "{name}");
            continue;
        }
        let (one, other) = (one.to_kind(Kind::Double), other.to_kind(Kind::Double));
        let far = (&one - &other).abs().max().double_value(&[]);
        let size = one.abs().max().double_value(&[]).max(1e-2);
        assert!(far <= 1e-5 * size, "{name} is off by {far} of {size}");
    }
}

fn run(place: &Place, more: &[&str]) -> Outcome {
    place.admix(&[&["run", "r.ron"], more, &BOTH].concat())
}

#[test]
fn two_processes_train_as_one_that_accumulates_two_parts() {
    let place = Place::new();
    place.write("r.ron", TINY);
    run(&place, &["--processes", "2", "--out", "two", "--max-steps", "4"]).good();
    run(&place, &["--set", "accumulate=2", "--out", "one", "--max-steps", "4"]).good();
    near(&file_of(&place, "two", 4), &file_of(&place, "one", 4));
    // Batches that are normalised as one make other weights, the same in both processes: a checkpoint checks that.
    let synced = ["--processes", "2", "--set", "bn_sync=true", "--out", "synced", "--max-steps", "4"];
    run(&place, &synced).good();
    let own = |out: &str| tensors(&file_of(&place, out, 4));
    assert!(
        own("two")
            .iter()
            .zip(own("synced"))
            .any(|((_, one), (_, other))| !one.allclose(&other, 1e-3, 1e-4, false))
    );
}

#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn torchrun_starts_the_processes_of_a_run() {
    let python = repository().join("target/interop/venv/bin/python").display().to_string();
    let starters: [&[&str]; 2] = [&[&python, "-m", "torch.distributed.run"], &["torchrun"]];
    let is_there = |starter: &&&[&str]| {
        let told = Command::new(starter[0]).args(&starter[1..]).arg("--help").output();
        told.is_ok_and(|told| told.status.success())
    };
    let Some(torchrun) = starters.iter().find(is_there) else {
        eprintln!("skipped: there is no torchrun here; PyTorch for Python brings it along");
        return;
    };
    let place = Place::new();
    place.write("r.ron", TINY);
    let starter = [torchrun, &["--nproc-per-node", "2", "--no-python"][..]].concat();
    let flags = [&["run", "r.ron", "--out", "two", "--max-steps", "4"], &BOTH[..]].concat();
    finish(place.command_through(&starter, &flags).spawn().expect("it starts")).good();
    run(&place, &["--processes", "2", "--out", "own", "--max-steps", "4"]).good();
    same_state(&file_of(&place, "two", 4), &file_of(&place, "own", 4));
}

#[test]
fn a_checkpoint_goes_on_with_another_number_of_processes_of_which_the_parts_are_a_multiple() {
    let place = Place::new();
    place.write("r.ron", TINY.replace("batch: 8", "batch: 4"));
    let steps = |of: &str, steps: &str, more: &[&str]| {
        let out = ["--out", of, "--max-steps", steps];
        run(&place, &[&out[..], more].concat()).good();
    };
    steps("parts", "1", &["--processes", "2", "--set", "accumulate=2"]);
    steps("parts", "2", &["--resume", "--set", "accumulate=4"]);
    steps("parts", "3", &["--resume", "--processes", "4"]);
    steps("parts", "4", &["--resume", "--processes", "2", "--set", "accumulate=2"]);
    steps("whole", "4", &["--set", "accumulate=4"]);
    near(&file_of(&place, "parts", 4), &file_of(&place, "whole", 4));
    let refused = run(&place, &["--out", "parts", "--resume", "--processes", "2"]);
    assert_eq!(refused.code, Some(2));
    assert_eq!(
        refused.stderr.matches("`accumulate` times the number of processes").count(),
        1,
        "{}",
        refused.stderr
    );
    let json = run(&place, &["--out", "parts", "--resume", "--processes", "2", "--log-format=json"]);
    let events: Vec<serde_json::Value> =
        json.stderr.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    assert_eq!(events.iter().filter(|event| event["level"] == "ERROR").count(), 1, "{}", json.stderr);
}

#[test]
fn processes_that_would_do_other_work_are_refused_by_name() {
    let place = Place::new();
    let script = bundled::script("amix").expect("it").0;
    for (folder, script) in [("a", script.to_string()), ("b", format!("{script}// changed"))] {
        place.write(&format!("{folder}/r.ron"), TINY.replace("\"amix\",", "\"own.rhai\","));
        place.write(&format!("{folder}/own.rhai"), script);
    }
    let plugin = library("examples/plugin_cpp/grid_mix.cpp").to_str().expect("UTF-8");
    let others: [(&[&str], &str); 3] = [
        (&["a/r.ron", "--set", "optimizer.lr=0.2"], "the recipe's settings of"),
        (&["b/r.ron"], "the method of"),
        (&["a/r.ron", "--plugin", plugin], "the plugins of"),
    ];
    for (other, what) in others {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it").port();
        let start = |rank: &str, own: &[&str]| {
            let flags = [&["run"], own, &["--out", "run"], &BOTH].concat();
            let mut command = place.command(&flags);
            command.envs([("RANK", rank), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1")]);
            command.env("MASTER_PORT", port.to_string()).spawn().expect("it starts")
        };
        for process in [start("0", &["a/r.ron"]), start("1", other)] {
            finish(process).refused(2, &[what, "process 1 and of process 0 differ"]);
        }
        assert!(!place.path("run").exists());
    }
}

/// Sends a signal to process 1 of a run that trains, then lets the run go on: to the bits of one that was left alone. What the
/// program said when it ended first.
fn disturbed(signal: &str) -> (Place, Outcome) {
    let place = Place::new();
    place.write("r.ron", TINY.replace("epochs: 2", "epochs: 40"));
    let flags = |out: &'static str| ["run", "r.ron", "--processes", "2", "--out", out, "--max-steps", "60"];
    run_all(&place, &flags("whole")).good();
    let mut program = Watched::start(place.command(&[&flags("parts")[..], &BOTH].concat()));
    assert!(program.until(|line| line.contains("step 8/")), "{}", program.said);
    let send = format!("kill -{signal} $(pgrep -P {} | tail -1)", program.child.id());
    assert!(Command::new("sh").args(["-c", &send]).status().expect("sh").success());
    while program.until(|_| false) {}
    let outcome = finish(program.child);
    let facts = fs::read_to_string(place.path("parts/run.json")).unwrap_or_default();
    assert_eq!(facts.contains("\"stopped\""), signal == "TERM", "{facts}");
    let resumed = [&flags("parts")[..], &["--resume"]].concat();
    run_all(&place, &resumed).good();
    same_state(&file_of(&place, "whole", 60), &file_of(&place, "parts", 60));
    (place, outcome)
}

#[test]
fn a_signal_to_one_process_stops_and_saves_all() {
    let (_place, outcome) = disturbed("TERM");
    assert!(outcome.stderr.contains("resume with --resume"), "{}", outcome.stderr);
}

#[test]
fn a_process_that_is_killed_ends_the_others_and_the_run_goes_on_to_the_same_bits() {
    let (_place, outcome) = disturbed("KILL");
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("process 1 of 2 ended"), "{}", outcome.stderr);
}

#[test]
fn a_dry_run_counts_the_steps_of_all_processes_and_refuses_queues_that_these_overflow() {
    let place = Place::new();
    place.write(
        "r.ron",
        TINY.replace("method:", "queues: {\"keys\": (length: 8)}, neck: Mlp(hidden: 8, out: 8), method:"),
    );
    let dry = |more: &[&str]| run(&place, &[&["--dry-run", "--processes", "2"], more].concat());
    dry(&[]).refused(2, &["queues.keys.length", "of 2 processes", "16"]);
    let told = dry(&["--set", "queues.keys.length=16"]).good();
    assert!(told.stdout.contains("8 steps in 2 epochs"), "{}", told.stdout);
}

fn run_all(place: &Place, arguments: &[&str]) -> Outcome {
    place.admix(&[arguments, &BOTH].concat())
}
