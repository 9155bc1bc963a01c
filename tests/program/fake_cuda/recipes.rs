//! Every bundled recipe on the fake device: the CPU's bits, captured or not, and no step in which the host waits.

use std::collections::{BTreeMap, BTreeSet};

use super::device::{Seen, compute};
use crate::program::recipes::{bundled, small};
use crate::program::resume::{file_of, same_state};
use crate::program::Place;

/// The words of a recipe that choose a part: names of types, and the method.
fn parts(text: &str) -> BTreeSet<String> {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let words = code.flat_map(|line| {
        let method = line.contains("method:").then(|| line.trim().to_string());
        let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        method.into_iter().chain(words.filter(|w| w.starts_with(char::is_uppercase)).map(Into::into))
    });
    words.collect()
}

/// One recipe of each kind: those with the same parts take the same kernels.
fn one_of_each() -> Vec<(String, String)> {
    let mut seen = BTreeSet::new();
    let all = bundled().into_iter().filter(|(_, _, text)| seen.insert(parts(text)));
    all.map(|(name, _, text)| (name, text)).collect()
}

/// What a step asked the host to wait for, if the two runs differ in nothing but their number of steps.
#[track_caller]
fn same_waits(name: &str, short: &Seen, long: &Seen) {
    let more: BTreeMap<_, _> = long.syncs.iter().filter(|(what, n)| short.syncs.get(*what) != Some(n)).collect();
    assert!(more.is_empty(), "{name}: more steps wait more: {more:?} against {:?}", short.syncs);
}

/// Trains a recipe in every way. Six steps: two of each kind are run before the third is captured.
fn check(name: &str, text: &str) {
    let place = Place::new();
    let mut flags = small(text);
    if flags.iter().any(|flag| flag.contains("classes: 10,")) && !flags.iter().any(|flag| flag.contains("toy.train=")) {
        flags.extend(["--set".into(), "data.toy.train=40".into()]);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let run = |out: &'static str, steps: &'static str, precision: &'static str| {
        let more = ["--out", out, "--max-steps", steps, "--precision", precision];
        [&["run", name][..], &flags, &more].concat()
    };
    let direct = |arguments: Vec<&str>| compute(&place, &[&arguments[..], &["--capture", "off"]].concat()).1;
    let captured = |arguments: Vec<&str>| compute(&place, &arguments).1;

    place.compute(&run("cpu", "6", "fp32")).good();
    let direct_six = direct(run("direct", "6", "fp32"));
    let captured_six = captured(run("captured", "6", "fp32"));
    for cuda in ["direct", "captured"] {
        same_state(&file_of(&place, "cpu", 6), &file_of(&place, cuda, 6));
    }
    let direct_four = direct(run("direct_low", "4", "bf16"));
    let captured_four = captured(run("captured_low", "4", "bf16"));
    same_state(&file_of(&place, "direct_low", 4), &file_of(&place, "captured_low", 4));
    same_waits(name, &direct_four, &direct_six);
    same_waits(name, &captured_four, &captured_six);
    assert_eq!(direct_six.event("graph replayed"), 0, "{name}");
    assert!(captured_six.event("graph replayed") >= 3, "{name} is captured: {:?}", captured_six.events);
}

/// Checks recipes on all cores, and tells all that failed.
fn check_all(recipes: &[(String, String)]) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some((name, text)) = recipes.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    if std::panic::catch_unwind(|| check(name, text)).is_err() {
                        failed.lock().expect("no panic").push(name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic");
    assert!(failed.is_empty(), "of {} recipes: {failed:?}", recipes.len());
}

#[test]
fn a_recipe_of_each_kind_has_the_bits_of_the_cpu_captured_or_not_and_never_waits_in_a_step() {
    let recipes = one_of_each();
    assert!(recipes.len() >= 40, "{}", recipes.len());
    check_all(&recipes);
}

#[test]
#[ignore = "minutes: `cargo xtask fake-cuda --all`"]
fn every_recipe_has_the_bits_of_the_cpu_captured_or_not_and_never_waits_in_a_step() {
    let recipes: Vec<_> = bundled().into_iter().map(|(name, _, text)| (name, text)).collect();
    check_all(&recipes);
}
