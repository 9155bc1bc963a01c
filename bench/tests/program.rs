//! What the program reports. What it measures is no matter of tests.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// A trained network on generated images: a run folder of this repository, which is only read.
const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/f81cd28/amix/run");
/// As many images as the tests need.
const IMAGES: &str = "data.toy.train=160";

/// Runs the program in a folder that has nothing of this repository, without a GPU.
fn bench(arguments: &[&str]) -> Output {
    let place = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_admix-bench"));
    command.args(arguments).current_dir(place.path());
    command.env("CUDA_VISIBLE_DEVICES", "").env("ADMIX_PLUGINS", "").output().expect("the program starts")
}

/// Runs a command that computes, on one thread of the CPU.
fn compute(arguments: &[&str]) -> Output {
    bench(&[arguments, &["--device", "cpu", "--threads", "1"]].concat())
}

/// The rows that the program prints as JSON.
#[track_caller]
fn rows(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Fails unless the program refuses its input with one message, in which all parts are.
#[track_caller]
fn is_refused(output: &Output, parts: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.starts_with("error: ") && message.lines().count() == 1, "{message}");
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn the_cost_of_a_script_is_measured_on_both_sides() {
    let rows = rows(&bench(&["scripts", "--calls", "20", "--format", "json"]));
    let calls: Vec<_> =
        rows.iter().filter_map(|row| Some((row["call"].as_str()?, row["per"].as_str()?))).collect();
    assert_eq!(calls, [("mix", "batch"), ("plan", "batch"), ("mix", "sample"), ("plan", "sample")]);
    for row in rows {
        let time = |name: &str| row[name].as_f64().expect("a number");
        assert!(time("script_us") > 0.0 && time("rust_us") > 0.0, "{row}");
        assert!((time("script_us") - time("rust_us") - time("beyond_us")).abs() < 1e-9, "{row}");
    }
}

#[test]
fn the_quality_of_puzzlemix_is_measured_for_every_solver_on_every_grid() {
    assert!(Path::new(RUN).is_dir());
    let puzzlemix = |problems: &str| {
        let of = ["puzzlemix", "--quality", "--checkpoint", RUN, "--set", IMAGES, "--problems", problems];
        compute(&[&of[..], &["--format", "json"]].concat())
    };
    let rows = rows(&puzzlemix("40"));
    let text = |row: &Value, name: &str| row[name].as_str().expect("a text").to_string();
    for blocks in [2, 4, 8, 16] {
        let of: Vec<&Value> = rows.iter().filter(|row| row["blocks"] == blocks).collect();
        let exact = of.iter().filter(|row| text(row, "expected") == "optimum").count();
        assert_eq!(exact, if blocks < 16 { 2 } else { 1 }, "b = {blocks}");
        assert_eq!(of.iter().filter(|row| text(row, "expected") == "near").count(), 1, "b = {blocks}");
        // There is something to find: what looks at single cells misses it.
        let argmin = of.iter().find(|row| text(row, "solver") == "unary argmin").expect("a row");
        assert!(argmin["mean_gap"].as_f64().expect("a number") > 0.01, "{argmin}");
    }
    is_refused(&puzzlemix("200"), &["160 training images", "batches of 40"]);
}

#[test]
fn what_mixers_cost_is_told_for_every_batch() {
    let rows =
        rows(&compute(&["mixers", "--mixer", "mixup", "puzzlemix", "--rounds", "1", "--format", "json"]));
    let of = |name: &str| rows.iter().filter(|row| row["mixer"] == name).count();
    // Three batches; PuzzleMix on four grids, with and without transport.
    assert_eq!((of("mixup"), of("puzzlemix")), (3, 24));
    for row in &rows {
        assert!(row["ms"].as_f64() > Some(0.0) && row["core_ms"].as_f64() > Some(0.0), "{row}");
    }
    is_refused(&compute(&["mixers", "--mixer", "mixip"]), &["mixip", "mixup"]);
}

#[test]
fn the_exchange_of_a_bucket_is_timed_for_the_smallest_and_the_largest() {
    let rows = rows(&compute(&["exchange", "--rounds", "1", "--format", "json"]));
    assert_eq!(rows.iter().filter_map(|row| row["bytes"].as_u64()).collect::<Vec<_>>(), [1 << 10, 64 << 20]);
    assert!(rows.iter().all(|row| row["ms"].as_f64() > Some(0.0)), "{rows:?}");
}
