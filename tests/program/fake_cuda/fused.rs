//! Kernels of our own on the fake device, which runs their text on the CPU: captured or not, beside the plain operations, and
//! refused where they are wrong.

use std::fs;

use serde_json::Value;

use super::device::{Seen, compute, on_fake};
use crate::program::resume::{file_of, same_state};
use crate::program::{Outcome, Place};

/// BatchNorms with a residual and without, in groups, in a network and one that follows it.
const RESIDUAL: &str = r#"(
    epochs: 2,
    batch: 8,
    bn_groups: 2,
    data: (name: "toy", crop: None, toy: (train: 64, test: 32, classes: 4, size: 16)),
    model: ResNet(depth: 18, width: 0.125, stem: Small),
    heads: ["one", "mix"],
    pairs: [(from: "q", to: "k", momentum: 0.99)],
    method: "amix",
    mixers: {"amix": AMix(alpha: 2.0)},
    losses: {"mask": Mask(margin: 0.1)},
    optimizer: Sgd(lr: 0.01),
)"#;

fn place() -> Place {
    let place = Place::new();
    place.write("r.ron", RESIDUAL);
    place
}

fn facts(place: &Place, run: &str) -> Value {
    let text = fs::read_to_string(place.path(run).join("run.json")).expect("facts");
    serde_json::from_str(&text).expect("JSON")
}

/// How often a kernel of this name ran.
fn ran(seen: &Seen, name: &str) -> u64 {
    seen.kernels
        .iter()
        .filter(|(known, _)| known.starts_with(&format!("admix::{name}")))
        .map(|(_, n)| n)
        .sum()
}

#[track_caller]
fn run(place: &Place, out: &str, flags: &[&str]) -> Seen {
    compute(place, &[&["run", "r.ron", "--out", out, "--max-steps", "6"], flags].concat()).1
}

#[test]
fn fused_steps_have_the_same_bits_captured_or_not() {
    let place = place();
    for (precision, suffix) in [("fp32", "f32"), ("bf16", "bf16")] {
        for recompute in ["[]", "[0, 1, 2, 3, 4]"] {
            let set = format!("recompute_stages={recompute}");
            let flags = ["--precision", precision, "--set", &set];
            let out = |how: &str| format!("{how}_{precision}_{}", recompute.len());
            let direct = run(&place, &out("direct"), &[&flags[..], &["--capture", "off"]].concat());
            let captured = run(&place, &out("captured"), &flags);
            same_state(&file_of(&place, &out("direct"), 6), &file_of(&place, &out("captured"), 6));
            assert!(captured.event("graph replayed") > 0, "{:?}", captured.events);
            for kernel in ["moments", "normalise", "sums", "gradients"] {
                assert!(ran(&direct, &format!("{kernel}_{suffix}")) > 100, "{kernel}: {:?}", direct.kernels);
            }
            assert_eq!(ran(&direct, "moments"), ran(&direct, "join_moments"));
            let told = facts(&place, &out("captured"));
            assert_eq!((&told["fused"], &told["fused_off"]), (&Value::Bool(true), &Value::Null));
        }
    }
}

#[test]
fn fused_steps_are_near_those_of_the_plain_operations_and_wait_for_nothing() {
    let place = place();
    let bench = |fused: &str, steps: &str| {
        let how = ["--format", "json", "--precision", "fp32", "--steps", steps, "--watched", steps];
        let (outcome, seen) =
            compute(&place, &[&["bench", "step", "r.ron", "--fused", fused], &how[..]].concat());
        (serde_json::from_str::<Value>(&outcome.stdout).expect("JSON"), seen)
    };
    let (fused, _) = bench("auto", "4");
    let (plain, _) = bench("off", "4");
    let (longer, seen) = bench("auto", "8");
    assert_eq!((&fused["fused"], &plain["fused"]), (&Value::Bool(true), &Value::Bool(false)));
    let losses = |told: &Value| -> Vec<f64> {
        told["losses"].as_array().expect("losses").iter().map(|loss| loss.as_f64().expect("a loss")).collect()
    };
    for (one, other) in losses(&fused).iter().zip(losses(&plain)) {
        assert!((one / other - 1.0).abs() < 1e-3, "{fused} {plain}");
    }
    assert_eq!(longer["host_syncs_per_step"], 0.0, "{longer}");
    assert_eq!(longer["cuda_watch"]["passed"], 8, "{longer}");
    assert!(ran(&seen, "gradients_f32") > 100, "{:?}", seen.kernels);
}

/// What a run of wrong kernels said.
#[track_caller]
fn refused(place: &Place, kernels: &str, precision: &str) -> Outcome {
    let flags = ["--max-steps", "6", "--precision", precision, "--device", "cuda", "--threads", "1"];
    let arguments = [&["run", "r.ron", "--out", kernels], &flags[..]].concat();
    let (outcome, seen) = on_fake(place, &arguments, &[("FAKE_CUDA_KERNELS", kernels)]);
    let outcome = outcome.good();
    assert!(seen.expect("what the device saw").faults.is_empty());
    outcome
}

#[test]
fn wrong_kernels_and_missing_ones_are_off_with_a_word_and_the_plain_operations_take_their_place() {
    for (kernels, word) in [("wrong", "the fused kernels differ"), ("missing", "libnvrtc.so.13")] {
        for precision in ["fp32", "bf16"] {
            let place = place();
            run(&place, "plain", &["--precision", precision, "--fused", "off"]);
            let said = refused(&place, kernels, precision).stderr;
            assert_eq!(said.matches(word).count(), 1, "{said}");
            same_state(&file_of(&place, "plain", 6), &file_of(&place, kernels, 6));
            let told = facts(&place, kernels);
            assert_eq!(told["fused"], false);
            assert!(told["fused_off"].as_str().is_some_and(|reason| reason.contains(word)), "{told}");
            assert!(told["capture"]["replayed_steps"].as_u64() > Some(0), "{told}");
        }
    }
    let place = place();
    run(&place, "plain", &["--fused", "off"]);
    assert_eq!(facts(&place, "plain")["fused_off"], Value::Null);
}
