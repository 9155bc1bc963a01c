//! Whole runs on the fake device: resumed elsewhere, from streamed images, measured, with plugins, and out of luck.

use std::fs;

use serde_json::Value;

use super::device::{compute, on_fake};
use crate::libraries::library;
use crate::libraries::rust::smooth_mix;
use crate::program::resume::{file_of, same_state};
use crate::program::streaming::pictures;
use crate::program::{Place, TINY, clusters, repository};

const FP32: [&str; 4] = ["--precision", "fp32", "--fused", "off"];

/// A mixer and a loss in scripts.
const SCRIPTED: &str = r#"(
    epochs: 2,
    batch: 8,
    data: (name: "toy", crop: None, toy: (train: 64, test: 32, classes: 4, size: 16)),
    model: ConvNet(widths: [8, 8, 8], strides: [2, 2, 2]),
    method: "mixup",
    mixers: {"mix": Script(file: "mixers/stripes", per: Sample, params: {"stripes": 4})},
    losses: {"cross_entropy": Script("losses/focal")},
    optimizer: Sgd(lr: 0.1),
)"#;

fn tiny() -> Place {
    let place = Place::new();
    place.write("r.ron", TINY);
    place
}

/// What a run told of its evaluations: accuracies and losses of each head and probe.
fn evaluated(place: &Place, run: &str) -> Vec<Value> {
    let lines = fs::read_to_string(place.path(run).join("metrics.jsonl")).expect("metrics");
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines
        .filter(|line| line["event"] == "evaluated")
        .map(|mut line| {
            line.as_object_mut().expect("an object").remove("time");
            line
        })
        .collect()
}

/// Fails unless a run on the fake device, captured and not, has the state of the CPU's after so many steps and the same
/// accuracies on the way. Tells how many steps were replayed.
#[track_caller]
fn as_on_cpu(place: &Place, arguments: &[&str], steps: u64) -> u64 {
    let run = |out: &'static str, more: &[&'static str]| {
        [&["run"], arguments, &["--out", out], &FP32, more].concat()
    };
    place.compute(&run("cpu", &[])).good();
    compute(place, &run("direct", &["--capture", "off"]));
    let (_, seen) = compute(place, &run("captured", &[]));
    for out in ["direct", "captured"] {
        same_state(&file_of(place, "cpu", steps), &file_of(place, out, steps));
        assert_eq!(evaluated(place, "cpu"), evaluated(place, out), "{arguments:?}");
    }
    seen.event("graph replayed")
}

#[test]
fn a_run_goes_from_the_cpu_to_a_gpu_and_back_with_the_same_bits() {
    let place = tiny();
    let run = |out: &'static str, more: &[&'static str]| {
        [&["run", "r.ron", "--out", out], &FP32[..], more].concat()
    };
    place.compute(&run("whole", &[])).good();
    place.compute(&run("parts", &["--max-steps", "3"])).good();
    let (_, seen) = compute(&place, &run("parts", &["--resume", "--max-steps", "11"]));
    // Checkpoints after 4, 6, 8, 10 and 11 steps, each of more than 60 tensors.
    let waits = seen.syncs["copy to the host, pageable"];
    assert!(waits < 60, "a checkpoint is a few copies, not one for each tensor: {waits}");
    place.compute(&run("parts", &["--resume"])).good();
    same_state(&file_of(&place, "whole", 16), &file_of(&place, "parts", 16));
}

#[test]
fn clusters_are_dissolved_a_step_later_than_on_a_cpu_and_alike_in_a_resumed_run() {
    // Nearly as many as there are: every few steps a cluster is too small.
    let place = clusters::place(r#""odc": Odc(k: 4, min_size: 12, every: 2)"#);
    let run = |out: &'static str, more: &[&'static str]| {
        [&["run", "r.ron", "--out", out], &FP32[..], more].concat()
    };
    place.compute(&run("cpu", &[])).good();
    compute(&place, &run("whole", &[]));
    for steps in ["3", "5", "8"] {
        compute(&place, &run(steps, &["--max-steps", steps]));
        compute(&place, &run(steps, &["--resume"]));
        same_state(&file_of(&place, "whole", 16), &file_of(&place, steps, 16));
    }
    let smallest = |run: &str| -> Vec<i64> {
        let held = (2..=16).step_by(2).map(|step| clusters::checkpoint(&place, run, step));
        held.map(|held| held.tensors["bank.odc.counts"].min().int64_value(&[])).collect()
    };
    // Or nothing was dissolved here.
    assert_ne!(smallest("cpu"), smallest("whole"));
}

#[test]
fn streamed_images_and_images_on_the_device_train_with_the_bits_of_the_cpu() {
    let place = pictures();
    let run = |out: &'static str| [&["run", "stream.ron", "--out", out], &FP32[..]].concat();
    place.compute(&run("cpu")).good();
    let (_, seen) = compute(&place, &run("cuda"));
    same_state(&file_of(&place, "cpu", 10), &file_of(&place, "cuda", 10));
    let found = evaluated(&place, "cuda");
    assert!(found.iter().any(|line| line["heads"]["knn_q"]["top1"].is_number()), "{found:?}");
    assert_eq!(evaluated(&place, "cpu"), found);
    // Pinned, on a stream of its own, and no slower way.
    assert!(seen.event("copy to the device, pinned") >= 20, "{:?}", seen.events);
    for storage in ["data.storage=Device", "data.storage=Stream"] {
        let replayed = as_on_cpu(&tiny(), &["r.ron", "--set", storage], 16);
        assert!(replayed >= 10, "{storage}: {replayed}");
    }
}

#[test]
fn the_second_gpu_trains_as_the_first_and_a_third_is_refused() {
    let place = tiny();
    place.compute(&[&["run", "r.ron", "--out", "cpu"], &FP32[..]].concat()).good();
    let on = |device: &'static str, out: &'static str| {
        let arguments =
            [&["run", "r.ron", "--out", out, "--device", device, "--threads", "1"], &FP32[..]].concat();
        on_fake(&place, &arguments, &[])
    };
    let (outcome, seen) = on("cuda:1", "second");
    assert!(outcome.good().stdout.contains("Cuda(1)"));
    let seen = seen.expect("what the device saw");
    assert!(seen.faults.is_empty() && seen.event("graph replayed") > 0, "{seen:?}");
    same_state(&file_of(&place, "cpu", 16), &file_of(&place, "second", 16));
    on("cuda:2", "third").0.refused(2, &["cuda:2"]);
}

/// Whether two reports have the same fields, and numbers within the rounding of other operations.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| alike(value, other)))
        }
        (Value::Number(one), Value::Number(other)) => {
            let [one, other] = [one, other].map(|number| number.as_f64().unwrap_or(f64::NAN));
            (one - other).abs() <= 1e-6 * one.abs().max(1.0)
        }
        _ => one == other,
    }
}

#[test]
fn features_and_heads_are_measured_as_on_the_cpu() {
    let place = tiny();
    place.compute(&[&["run", "r.ron", "--out", "run", "--max-steps", "4"], &FP32[..]].concat()).good();
    for more in [
        vec![],
        vec!["--protocol", "knn"],
        vec!["--protocol", "linear", "--epochs", "2", "--batch", "16"],
        vec!["--protocol", "linear-cached", "--epochs", "2", "--batch", "16"],
    ] {
        let arguments = [&["eval", "run", "--format", "json"], &more[..]].concat();
        let heads = |text: &str| {
            serde_json::from_str::<Value>(text).unwrap_or_else(|e| panic!("{e}: {text}"))["heads"].clone()
        };
        let cpu = heads(&place.compute(&arguments).good().stdout);
        let cuda = heads(&compute(&place, &arguments).0.stdout);
        assert!(cpu.as_object().is_some_and(|heads| !heads.is_empty()), "{cpu}");
        assert!(alike(&cpu, &cuda), "{more:?}: {cpu} on the CPU, {cuda} on the device");
    }
}

#[test]
fn mixers_in_scripts_and_in_libraries_train_as_on_the_cpu() {
    let place = Place::new();
    place.write("r.ron", SCRIPTED);
    assert!(as_on_cpu(&place, &["r.ron"], 16) >= 10);
    let soft_grid = repository().join("examples/plugin_cpp/soft_grid.ron").display().to_string();
    let library = library("examples/plugin_cpp/soft_grid.cpp").to_str().expect("UTF-8");
    let place = Place::new();
    // Code of a library may keep to the host: it is not captured.
    assert_eq!(as_on_cpu(&place, &[&soft_grid, "--plugin", library, "--max-steps", "6"], 6), 0);
    let recipe = repository().join("examples/plugin_rust/smooth_mix.ron").display().to_string();
    let library = smooth_mix().to_str().expect("UTF-8");
    let place = Place::new();
    // A mixer says for itself whether it can be captured.
    assert!(as_on_cpu(&place, &[&recipe, "--plugin", library, "--max-steps", "6"], 6) > 0);
}

#[test]
fn steps_that_are_not_finite_are_skipped_in_a_graph_as_they_are_on_the_cpu() {
    let place = tiny();
    let flags = ["r.ron", "--set", "optimizer.lr=1e6", "--max-steps", "7"];
    assert!(as_on_cpu(&place, &flags, 7) >= 4);
    let said = fs::read_to_string(place.path("captured/run.json")).expect("facts");
    let facts: Value = serde_json::from_str(&said).expect("JSON");
    assert!(facts["summary"]["skipped"].as_u64().is_some_and(|skipped| skipped > 1), "{facts}");
}

#[test]
fn a_device_without_room_ends_the_run_with_one_message() {
    let place = tiny();
    let wide = ["run", "r.ron", "--set", "model.widths=[128, 128, 128]", "--max-steps", "2", "--out"];
    let arguments = [&wide[..], &["run", "--device", "cuda", "--threads", "1"]].concat();
    let (_, seen) = compute(&place, &[&wide[..], &["roomy"]].concat());
    assert!(seen.peak_bytes > 1 << 20, "{}", seen.peak_bytes);
    let (outcome, _) = on_fake(&place, &arguments, &[("FAKE_CUDA_MIB", "1")]);
    outcome.refused(1, &["out of memory"]);
}
