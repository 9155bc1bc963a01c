//! A program of a user's own, with one entry of each kind: `examples/own_program/`.

use std::process::Command;

use admix_engine::Checkpoint;
use admix_torch::Device;

use super::{Outcome, Place};
use crate::libraries::built;
use crate::readme::root;

fn own(place: &Place, arguments: &[&str]) -> Outcome {
    let program = built().join("examples/own_program");
    let output = place.set_up(Command::new(program), arguments).output().expect("the example was built");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome::of(output.status, text(&output.stdout), text(&output.stderr))
}

fn recipe() -> String {
    root().join("examples/own_program/recipe.ron").display().to_string()
}

#[test]
fn an_entry_of_every_kind_comes_from_a_program_of_ones_own() {
    let place = Place::new();
    let listed = own(&place, &["plugins"]).good().stdout;
    let mut kinds: Vec<&str> = Vec::new();
    for (kind, name) in [
        ("mixer", "columns"),
        ("loss", "brier"),
        ("backbone", "all_conv"),
        ("dataset", "stripes"),
        ("augmentation", "roll"),
        ("clusterer", "moving"),
        ("optimiser", "signum"),
        ("probe", "nearest_mean"),
        ("logger", "slowest"),
    ] {
        let told = own(&place, &["plugins", kind, name]).good().stdout;
        assert!(told.starts_with(&format!("{kind} {name}: ")), "{told}");
        assert!(told.contains("examples/own_program"), "{told}");
        kinds.push(kind);
    }
    // A kind that this test does not know is in no list above.
    for entry in admix_engine::registry().expect("entries").entries() {
        assert!(kinds.contains(&entry.kind()), "{entry:?}\n{listed}");
    }
}

#[test]
fn a_program_of_ones_own_trains_with_its_entries_of_every_kind() {
    let place = Place::new();
    let recipe = recipe();
    own(&place, &["check", &recipe]).good();
    own(&place, &["run", &recipe, "--out", "run", "--threads", "1"]).good();
    let line = std::fs::read_to_string(place.path("run/slowest.txt")).expect("the logger's file");
    assert!(line.starts_with("step "), "{line}");
    let metrics = std::fs::read_to_string(place.path("run/metrics.jsonl")).expect("metrics");
    assert!(metrics.contains("nearest_mean_q"), "{metrics}");
    let last = place.path("run/checkpoints/step-00000016.safetensors");
    let checkpoint = Checkpoint::read(&last, Device::Cpu).unwrap_or_else(|error| panic!("{error}"));
    for part in ["bank.moving.centroids", "net.q.backbone.conv1.weight", "optimizer.average."] {
        let mut names = checkpoint.tensors.keys();
        assert!(names.any(|name| name.contains(part)), "{part}: {:?}", checkpoint.tensors.keys());
    }
    // Its checkpoints are read again.
    let said = own(&place, &["eval", "run"]).good().stdout;
    assert!(said.contains("one_q"), "{said}");
}

#[test]
fn a_slip_in_an_entry_of_ones_own_is_refused_by_name() {
    let place = Place::new();
    for (set, parts) in [
        ("model=AlConv()", ["AlConv", "all_conv"]),
        ("data.augment=Roll(most: -1)", ["most", "-1"]),
        ("optimizer=Signm()", ["Signm", "signum"]),
        ("optimizer=Signum(lr: 0)", ["lr", "above 0"]),
        ("clusterers={\"moving\": Moving(k: 1000)}", ["k", "1000"]),
        ("evaluate.probes=[NearestMen]", ["NearestMen", "nearest_mean"]),
    ] {
        own(&place, &["check", &recipe(), "--set", set]).refused(2, &parts);
    }
}
