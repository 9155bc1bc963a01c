//! Faults in native code: those that are known to be avoided, and the last words of a program that meets another.

use std::path::Path;

use super::resume::{Watched, step_of};
use super::{Place, TINY};

#[test]
fn a_dry_run_of_a_narrow_network_with_large_maps_ends_well() {
    let place = Place::new();
    let toy =
        ["--set", "data.name=\"toy\"", "--set", "data.toy=(size: 64, channels: 3, train: 600, test: 20)"];
    // oneDNN's fault ended most calls, not all.
    for _ in 0..4 {
        let outcome =
            place.admix(&[&["check", "cifar10/r18/mixup", "--device", "cpu"], &toy[..]].concat()).good();
        assert!(outcome.stdout.contains("three dry steps"), "{}", outcome.stdout);
    }
}

#[test]
fn a_program_that_dies_of_a_signal_says_where_it_was_and_what_is_saved() {
    let place = Place::new();
    place.write("tiny.ron", TINY);
    let longer =
        ["--set", "data.toy.train=6400", "--set", "log_every=1", "--device", "cpu", "--threads", "1"];
    for (name, number) in [("SEGV", 11), ("BUS", 7), ("FPE", 8), ("ILL", 4), ("ABRT", 6)] {
        let flags = [&["run", "tiny.ron", "--out", name], &longer[..]].concat();
        let mut program = Watched::start(place.command(&flags));
        assert!(program.until(|line| step_of(line).is_some_and(|step| step >= 3)), "{name}");
        let outcome = program.signal(name);
        assert_eq!((outcome.signal, outcome.code), (Some(number), None), "{}", outcome.stderr);
        let [told] = outcome.stderr.lines().collect::<Vec<_>>()[..] else { panic!("{}", outcome.stderr) };
        assert!(told.starts_with(&format!("error: the program died of SIG{name} (")), "{told}");
        assert!(told.contains("running tiny.ron, step "), "{told}");
        let at = told.split_once(", step ").and_then(|(_, after)| after.split_once(" (epoch 1)"));
        let step: u64 = at.and_then(|(step, _)| step.parse().ok()).expect(told);
        assert!(step >= 3, "{told}");
        let saved = told.split_once("The newest checkpoint is ").and_then(|(_, path)| path.split_once(": "));
        let (saved, advice) = saved.expect(told);
        assert!(Path::new(saved).starts_with(name) && place.path(saved).is_file(), "{told}");
        assert_eq!(advice, "go on with --resume");
        let more = (step + 2).to_string();
        let resumed = place.admix(&[&flags[..], &["--resume", "--max-steps", &more]].concat()).good();
        assert!(resumed.stdout.contains(&format!("resumed from {saved}")), "{}", resumed.stdout);
    }
}
