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
