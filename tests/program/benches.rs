//! What benchmarks report. What they measure is no matter of tests.

use serde_json::Value;

use super::{Place, TINY};

#[test]
fn what_a_step_costs_is_told_for_host_and_device() {
    let place = Place::new();
    place.write("r.ron", TINY);
    let bench = ["bench", "step", "r.ron", "--steps", "3", "--warmup", "1", "--watched", "20"];
    let outcome = place.compute(&[&bench[..], &["--format", "json"]].concat()).good();
    let report: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let number = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("{name}: {report}"));
    assert!(number("host_ms") > 0.0 && number("host_ms") <= number("ms_per_step"), "{report}");
    // One processor is both.
    assert!(report["device_ms"].is_null() && number("waiting") == 0.0, "{report}");
    assert_eq!((number("host_syncs_per_step"), number("host_syncs_apart_per_step")), (0.0, 0.0), "{report}");
    assert_eq!(report["precision"], "fp32");
    assert!(number("min_ms_per_step") <= number("ms_per_step") && number("images_per_s") > 0.0, "{report}");
    let outcome = place.compute(&bench).good();
    assert!(outcome.stdout.contains("0 per step"), "{}", outcome.stdout);
    let half = [&bench[..], &["--precision", "bf16"]].concat();
    place.compute(&half).refused(2, &["--precision bf16", "leave the flag out"]);
}

#[test]
fn the_cost_of_a_script_is_measured_on_both_sides() {
    let outcome = Place::new().admix(&["bench", "scripts", "--calls", "20", "--format", "json"]).good();
    let rows: Vec<Value> = serde_json::from_str(&outcome.stdout).expect("JSON");
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
    let place = Place::new();
    place.write(
        "seen.ron",
        r#"(
            epochs: 1, batch: 40, method: "mixup", model: ConvNet(widths: [8, 8], strides: [2, 2]),
            data: (name: "toy", toy: (train: 160, test: 32, size: 16)),
        )"#,
    );
    place.compute(&["run", "seen.ron", "--out", "seen"]).good();
    let bench =
        ["bench", "puzzlemix", "--quality", "--checkpoint", "seen", "--problems", "40", "--format", "json"];
    let outcome = place.compute(&bench).good();
    let rows: Vec<Value> = serde_json::from_str(&outcome.stdout).expect("JSON");
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
    let more = ["bench", "puzzlemix", "--quality", "--checkpoint", "seen", "--problems", "200"];
    place.compute(&more).refused(2, &["160 training images", "batches of 40"]);
}

#[test]
fn what_mixers_cost_is_told_for_every_batch() {
    let bench = ["bench", "mixers", "--mixer", "mixup", "puzzlemix", "--rounds", "1", "--format", "json"];
    let outcome = Place::new().compute(&bench).good();
    let rows: Vec<Value> = serde_json::from_str(&outcome.stdout).expect("JSON");
    let of = |name: &str| rows.iter().filter(|row| row["mixer"] == name).count();
    // Three batches; PuzzleMix on four grids, with and without transport.
    assert_eq!((of("mixup"), of("puzzlemix")), (3, 24));
    for row in &rows {
        assert!(row["ms"].as_f64() > Some(0.0) && row["core_ms"].as_f64() > Some(0.0), "{row}");
    }
    Place::new().compute(&["bench", "mixers", "--mixer", "mixip"]).refused(2, &["mixip", "mixup"]);
}

#[test]
fn runs_and_benchmarks_tell_why_their_steps_were_not_captured() {
    let place = Place::new();
    place.write("tiny.ron", TINY);
    for (capture, reason) in [("auto", "steps are captured on GPUs alone"), ("off", "it was not asked for")] {
        let wanted = serde_json::json!({
            "variants": 0, "replayed_steps": 0,
            "evaluation_variants": 0, "replayed_evaluation_batches": 0,
            "reasons": [reason],
        });
        let bench = ["bench", "step", "tiny.ron", "--synthetic", "--steps", "1", "--warmup", "1"];
        let flags = ["--capture", capture, "--format", "json"];
        let outcome = place.compute(&[&bench[..], &flags].concat()).good();
        let report: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        assert_eq!(report["capture"], wanted);
        let run = ["run", "tiny.ron", "--out", capture, "--max-steps", "1", "--capture", capture];
        place.compute(&run).good();
        let facts = std::fs::read_to_string(place.path(capture).join("run.json")).expect("facts");
        let facts: Value = serde_json::from_str(&facts).expect("JSON");
        assert_eq!(facts["capture"], wanted);
    }
}
