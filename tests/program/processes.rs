//! Runs of several processes: one with accumulated steps, up to the order of a sum, and over when one of them ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use admix_engine::Checkpoint;
use admix_torch::{Device, Kind, Tensor};

use super::resume::{Watched, file_of, same_state};
use super::{Outcome, Place, TINY, finish};

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
}

#[test]
fn processes_that_would_do_other_work_are_refused_by_name() {
    let place = Place::new();
    place.write("r.ron", TINY);
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it").port();
    let start = |rank: &str, lr: &str| {
        let lr = format!("optimizer.lr={lr}");
        let mut command: Command =
            place.command(&[&["run", "r.ron", "--out", "run", "--set", &lr], &BOTH[..]].concat());
        command.envs([("RANK", rank), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1")]);
        command.env("MASTER_PORT", port.to_string()).spawn().expect("it starts")
    };
    let (first, second) = (start("0", "0.1"), start("1", "0.2"));
    for process in [first, second] {
        finish(process).refused(2, &["the recipe's settings of process 1 and of process 0 differ"]);
    }
    assert!(!place.path("run").exists());
}

#[test]
fn a_process_that_is_killed_ends_the_others_and_the_run_goes_on_to_the_same_bits() {
    let place = Place::new();
    place.write("r.ron", TINY.replace("epochs: 2", "epochs: 40"));
    let flags = |out: &'static str| ["run", "r.ron", "--processes", "2", "--out", out, "--max-steps", "60"];
    run_all(&place, &flags("whole")).good();
    let mut program = Watched::start(place.command(&[&flags("parts")[..], &BOTH].concat()));
    assert!(program.until(|line| line.contains("step 8/")), "{}", program.said);
    let killed = format!("kill -9 $(pgrep -P {} | tail -1)", program.child.id());
    assert!(Command::new("sh").args(["-c", &killed]).status().expect("sh").success());
    while program.until(|_| false) {}
    let outcome = finish(program.child);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("process 1 of 2 ended"), "{}", outcome.stderr);
    let resumed = [&flags("parts")[..], &["--resume"]].concat();
    run_all(&place, &resumed).good();
    same_state(&file_of(&place, "whole", 60), &file_of(&place, "parts", 60));
}

fn run_all(place: &Place, arguments: &[&str]) -> Outcome {
    place.admix(&[arguments, &BOTH].concat())
}
