//! Every bundled recipe on the fake device: the CPU's bits, captured or not, and no step in which the host waits. A transformer has
//! the same bits captured or not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::device::{Seen, compute};
use crate::program::Place;
use crate::program::recipes::{bundled, small};
use crate::program::resume::{file_of, same_state};

/// The parts of a recipe, such as `AMix(`, and its method, but for those in the lines of these fields.
fn parts(text: &str, apart: &[&str]) -> BTreeSet<String> {
    let code: Vec<&str> =
        text.lines().map(|line| line.split("//").next().unwrap_or_default().trim()).collect();
    let other = |line: &&&str| !apart.iter().any(|field| line.starts_with(field));
    let parts = code.iter().filter(other).flat_map(|line| {
        let opened = line.split_inclusive('(').filter(|words| words.ends_with('('));
        opened
            .filter_map(|words| words.rsplit([' ', '"', '(', '[']).find(|word| !word.is_empty()))
            .collect::<Vec<_>>()
    });
    let parts = parts.filter(|part| part.starts_with(char::is_uppercase));
    parts.chain(code.iter().filter(|line| line.starts_with("method:")).copied()).map(Into::into).collect()
}

/// What makes a recipe train as it does on a CPU, in steps that can be told apart from one another.
fn flags(text: &str) -> Vec<String> {
    let mut flags = small(text);
    let many_classes = flags.iter().any(|flag| flag.starts_with("data.toy.classes="));
    let mut set = |setting: &str| flags.extend(["--set".into(), setting.into()]);
    // Six batches in an epoch, where there are not more classes than that.
    if !many_classes {
        set("data.toy.train=40");
    }
    // A CPU's products in bf16 depend on how memory of single pixels is laid out, which is all that is left of 16.
    if !text.contains("Small") && !text.contains("ConvNet(") {
        set("data.toy.size=32");
    }
    // `Auto` solves in another way on a GPU.
    if text.contains("PuzzleMix(") {
        set("mixers.mix.solver=Icm");
    }
    flags
}

/// One recipe of each kind: those with the same parts take the same kernels. Among the policies of a file it is told by what
/// `small` leaves of them, which is all but the data.
fn one_of_each() -> Vec<(String, String)> {
    let (mut seen, mut bare) = (BTreeSet::new(), BTreeSet::new());
    let (single, several): (Vec<_>, Vec<_>) =
        bundled().into_iter().partition(|(_, file, _)| file.ends_with(".ron"));
    let mut all: Vec<_> =
        single.into_iter().filter(|(_, _, text)| seen.insert(parts(text, &["params:"]))).collect();
    let mut is_new = |text: &str| bare.insert(parts(text, &["params:", "data:", "init:"]));
    all.iter().for_each(|(_, _, text)| {
        is_new(text);
    });
    all.extend(several.into_iter().filter(|(_, _, text)| is_new(text)));
    all.into_iter().map(|(name, _, text)| (name, text)).collect()
}

/// What a step asked the host to wait for, if the two runs differ in nothing but their number of steps.
#[track_caller]
fn same_waits(name: &str, short: &Seen, long: &Seen) {
    let more: BTreeMap<_, _> =
        long.syncs.iter().filter(|(what, n)| short.syncs.get(*what) != Some(n)).collect();
    assert!(more.is_empty(), "{name}: more steps wait more: {more:?} against {:?}", short.syncs);
}

/// Trains a recipe in every way. Six steps: two of each kind are run before the third is captured.
fn check(name: &str, text: &str) {
    let place = Place::new();
    let flags = flags(text);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let run = |out: &'static str, steps: &'static str, precision: &'static str| {
        let more = ["--out", out, "--max-steps", steps, "--precision", precision, "--fused", "off"];
        [&["run", name][..], &flags, &more].concat()
    };
    let direct = |arguments: Vec<&str>| compute(&place, &[&arguments[..], &["--capture", "off"]].concat()).1;
    let captured = |arguments: Vec<&str>| compute(&place, &arguments).1;

    place.compute(&run("cpu", "6", "fp32")).good();
    let direct_six = direct(run("direct", "6", "fp32"));
    let captured_six = captured(run("captured", "6", "fp32"));
    same_state(&file_of(&place, "direct", 6), &file_of(&place, "captured", 6));
    // Attention has a kernel of its own for CPUs, which rounds in another order.
    if !text.contains("ViT(") {
        same_state(&file_of(&place, "cpu", 6), &file_of(&place, "direct", 6));
    }
    let direct_four = direct(run("direct_low", "4", "bf16"));
    let captured_four = captured(run("captured_low", "4", "bf16"));
    same_state(&file_of(&place, "direct_low", 4), &file_of(&place, "captured_low", 4));
    assert_eq!(direct_six.event("graph replayed") + direct_four.event("graph replayed"), 0, "{name}");
    if text.contains("CoMixup(") {
        // Its solver runs on the host: each step copies costs down and masks up, and cannot be captured.
        for what in ["copy to the host, pageable", "copy to the device, pageable"] {
            assert_eq!(captured_six.syncs[what], captured_four.syncs[what] + 2, "{name}: {what}");
        }
        assert_eq!(captured_six.event("capture begun"), 0, "{name}");
        return;
    }
    same_waits(name, &direct_four, &direct_six);
    same_waits(name, &captured_four, &captured_six);
    // Fewer where steps differ: a layer that is drawn, a batch that stays clean.
    let [low, full] = [&captured_four, &captured_six].map(|seen| seen.event("graph replayed"));
    assert!(full > 0, "{name} is captured: {:?}", captured_six.events);
    // One graph a step: with three replays in six steps there is one in the first four.
    assert!(full < 3 || low > 0, "{name} is captured in bf16: {:?}", captured_four.events);
}

/// Checks recipes on all cores, and tells all that failed.
fn check_all(recipes: &[(String, String)]) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some((name, text)) =
                    recipes.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
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
fn timed_steps_with_filled_clusterers_never_wait() {
    let clustered: Vec<_> = one_of_each().into_iter().filter(|(_, text)| text.contains("Odc(")).collect();
    assert!(clustered.len() >= 3, "{}", clustered.len());
    for (name, text) in clustered {
        let place = Place::new();
        let flags = flags(&text);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        // Clusters move every second step. None is dissolved, which is rare in a run and makes the host wait.
        let often = ["--set", "clusterers.odc=Odc(k: 2, min_size: 1, every: 2)"];
        let bench = |capture: &str, watched: &str| {
            let how = ["--format", "json", "--capture", capture, "--watched", watched, "--steps", "4"];
            let (outcome, seen) =
                compute(&place, &[&["bench", "step", &name][..], &flags, &often, &how].concat());
            (serde_json::from_str::<Value>(&outcome.stdout).expect("JSON"), seen)
        };
        for capture in ["auto", "off"] {
            let (_, short) = bench(capture, "2");
            let (told, long) = bench(capture, "8");
            // By the program's count, by CUDA's watch, and by the device's own count.
            assert_eq!(told["host_syncs_per_step"], 0.0, "{name}: {told}");
            assert_eq!(told["cuda_watch"]["passed"], 8, "{name}: {told}");
            same_waits(&name, &short, &long);
        }
    }
}

#[test]
#[ignore = "minutes: `cargo xtask fake-cuda --all`"]
fn every_recipe_has_the_bits_of_the_cpu_captured_or_not_and_never_waits_in_a_step() {
    let recipes: Vec<_> = bundled().into_iter().map(|(name, _, text)| (name, text)).collect();
    check_all(&recipes);
}
