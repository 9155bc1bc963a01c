//! Runs whose values grow out of all bounds, and runs that get over it.

use std::collections::BTreeMap;

use admix_engine::{Checkpoint, RunFolder, Status};
use admix_torch::{Device, Tensor};

use super::{Place, TINY};

/// Images are no numbers in the steps that `bad` names.
fn script(bad: &str) -> String {
    format!(
        "fn weights(t) {{ #{{ one: 1.0, mix: 1.0 }} }}
        fn step(t) {{
            let x = t.images;
            if {bad} {{ x = x / 0.0; }}
            let p = t.pass(\"q\", x);
            t.pass(\"k\", x).finish();
            t.learn(#{{
                one: t.loss(\"cross_entropy\", p.logits(\"one\"), t.labels),
                mix: t.loss(\"cross_entropy\", p.logits(\"mix\"), t.labels),
            }});
        }}"
    )
}

fn newest(place: &Place, run: &str) -> BTreeMap<String, Tensor> {
    let mut files = super::files_below(&place.path(format!("{run}/checkpoints")));
    files.retain(|file| file.to_string_lossy().contains("step-"));
    files.sort();
    Checkpoint::read(files.last().expect("a checkpoint"), Device::Cpu).expect("whole").tensors
}

#[test]
fn a_run_with_bad_steps_is_saved_and_resumed_with_the_same_bits() {
    let place = Place::new();
    place.write("r.ron", TINY);
    place.write("s.rhai", script("t.step == 3 || t.step == 9"));
    let run = |more: &[&str]| place.compute(&[&["run", "r.ron", "--script", "s.rhai"], more].concat());
    let whole = run(&["--out", "whole"]).good();
    assert!(whole.stdout.contains("2 steps were skipped"), "{}", whole.stdout);
    // The step before was skipped: its state is what is saved.
    run(&["--out", "parts", "--max-steps", "4"]).good();
    let stopped = newest(&place, "parts");
    assert!(stopped.values().all(|tensor| tensor.isfinite().all().int64_value(&[]) == 1));
    run(&["--out", "parts", "--resume"]).good();
    let (a, b) = (newest(&place, "whole"), newest(&place, "parts"));
    assert!(a.iter().all(|(name, tensor)| tensor.equal(&b[name])), "other bits");
}

#[test]
fn a_run_that_diverges_says_so_and_what_to_try() {
    let place = Place::new();
    place.write("r.ron", TINY);
    let flags = ["--set", "optimizer.lr=1e6", "--set", "epochs=6", "--out", "run"];
    let parts =
        ["the run diverged: 10 steps", "`max_bad_steps`", " of them. Lower the learning rate", "warmup"];
    let outcome = place.compute(&[&["run", "r.ron"], &flags[..]].concat()).refused(1, &parts);
    assert!(outcome.stderr.contains("checkpoint"), "{}", outcome.stderr);
    let facts = RunFolder::existing(place.path("run")).facts().expect("run.json");
    assert_eq!(facts.status, Status::Failed);
    assert!(facts.error.is_some_and(|error| error.contains("the run diverged: 10 steps")));
    assert_eq!((facts.summary.finished, facts.summary.skipped), (false, 10));
    // What is there is finite and can be gone on with, at another rate.
    for file in super::files_below(&place.path("run/checkpoints")) {
        let checkpoint = Checkpoint::read(&file, Device::Cpu).expect("whole");
        assert!(checkpoint.tensors.values().all(|tensor| tensor.isfinite().all().int64_value(&[]) == 1));
    }
}

#[test]
fn a_network_that_is_not_finite_has_no_accuracy_and_is_never_the_best() {
    let place = Place::new();
    place.write("r.ron", TINY);
    // After the first epoch, the rate throws the weights so far that no activation is finite.
    let body = script("false").replace(
        "fn step",
        "fn schedule(t) { #{ lr: if t.step < 8 { 0.1 } else if t.step < 10 { 1.0e18 } else { 0.0 } } }
         fn step",
    );
    place.write("s.rhai", body);
    let flags = ["--script", "s.rhai", "--out", "run", "--set", "max_bad_steps=100", "--format", "json"];
    let outcome = place.compute(&[&["run", "r.ron"], &flags[..]].concat()).good();
    let events: Vec<serde_json::Value> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let evaluated: Vec<_> = events.iter().filter(|event| event["event"] == "evaluated").collect();
    let top1 = |number: usize| &evaluated[number]["heads"]["one_q"]["top1"];
    assert!(top1(0).is_number() && top1(1).is_null(), "{} and {}", top1(0), top1(1));
    assert!(outcome.stderr.contains("`one_q` has no accuracy"), "{}", outcome.stderr);
    let best = place.path("run/checkpoints/best.safetensors");
    assert_eq!(Checkpoint::read(&best, Device::Cpu).expect("the best").header.clock.epoch, 1);
}

#[test]
fn a_run_whose_masks_stay_constant_is_told_so_and_what_to_try() {
    let place = Place::new();
    place.write("r.ron", TINY);
    let said = |epochs: &str| {
        let flags = ["--set", "mixers.amix.preset=Paper", "--set", "evaluate.every=13", "--set", epochs];
        let run = ["run", "r.ron", "--out", epochs, "--set", "checkpoint.every_steps=None"];
        place.compute(&[&run[..], &flags[..]].concat()).good().stderr
    };
    let told = said("epochs=13");
    let wanted = "after the run the masks of mixer `amix` are still constant";
    assert!(told.contains(wanted) && told.contains("mixers.amix.init=FanIn(2.0)"), "{told}");
    assert!(!said("epochs=12").contains("constant"), "96 steps teach nothing");
}
