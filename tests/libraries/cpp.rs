//! Libraries in C++ through the program: listed, trained with, resumed, and refused with one line.

use std::collections::BTreeMap;
use std::path::Path;

use admix_engine::Checkpoint;
use admix_torch::{Device, Tensor};
use serde_json::Value;

use super::library;
use crate::engine::differing;
use crate::program::{Place, files_below, repository};

const GRID_MIX: &str = "examples/plugin_cpp/grid_mix.cpp";
const SOFT_GRID: &str = "examples/plugin_cpp/soft_grid.cpp";
const MISBEHAVING: &str = "tests/plugins/misbehaving.cpp";

fn path_of(source: &str) -> &'static str {
    library(source).to_str().expect("UTF-8")
}

/// A file of the examples.
fn example(name: &str) -> String {
    repository().join("examples/plugin_cpp").join(name).display().to_string()
}

/// The tensors of the newest checkpoint of a run.
pub fn tensors(run: &Path) -> BTreeMap<String, Tensor> {
    let files = files_below(&run.join("checkpoints"));
    let newest = files.iter().rfind(|file| file.to_string_lossy().contains("step-")).expect("a checkpoint");
    Checkpoint::read(newest, Device::Cpu).unwrap_or_else(|error| panic!("{error}")).tensors
}

#[test]
fn cpp_plugins_are_listed_with_their_settings() {
    let place = Place::new();
    let grid = path_of(GRID_MIX);
    let row: Value = {
        let arguments = ["plugins", "grid_mix", "--format", "json", "--plugin", grid];
        serde_json::from_str(&place.admix(&arguments).good().stdout).expect("JSON")
    };
    assert_eq!((&row["kind"], &row["in_recipes"]), (&"mixer".into(), &"GridMix".into()));
    let cells = &row["schema"]["properties"]["cells"];
    assert_eq!((&cells["type"], &cells["default"]), (&"integer".into(), &4.into()));
    assert_eq!((&cells["minimum"], &cells["maximum"]), (&1.into(), &32.into()));
    assert_eq!(cells["description"], "Cells along each side of the image.");
    assert_eq!(row["schema"]["additionalProperties"], false);
    let text = place.admix(&["plugins", "--plugin", grid, "--plugin", path_of(SOFT_GRID)]).good().stdout;
    for name in ["grid_mix", "soft_grid", "smooth_focal"] {
        assert!(text.contains(name), "{text}");
    }
    // Defaults that the host serves, and texts that JSON must escape.
    let arguments = ["plugins", "mixer", "probe", "--format", "json", "--plugin", path_of(MISBEHAVING)];
    let row: Value = serde_json::from_str(&place.admix(&arguments).good().stdout).expect("JSON");
    let own = serde_json::json!({"alpha": 0.5, "per": "Sample", "fold": true, "partner": "Flip"});
    let mut wanted = own.as_object().expect("an object").clone();
    wanted.extend([("prob".to_string(), 1.0.into()), ("until".to_string(), "End".into())]);
    assert_eq!(row["pairing"], Value::Object(wanted));
    let wanted = serde_json::json!({
        "number": 0.25, "whole": -3, "flag": true, "text": "a \"quoted\" \\ line\nand another, ä", "form": "Square"
    });
    assert_eq!(row["defaults"], wanted);
}

#[test]
fn a_cpp_mixer_trains() {
    let place = Place::new();
    let outcome =
        place.compute(&["run", &example("grid_mix.ron"), "--plugin", path_of(GRID_MIX), "--out", "run"]);
    assert!(outcome.good().stdout.contains("done: 2 epochs, 16 steps"));
    // Another mixer, another run: the library is what the images went through.
    let other = ["--set", "mixers.mix=GridMix(cells: 1)", "--out", "other"];
    place
        .compute(&[&["run", &example("grid_mix.ron"), "--plugin", path_of(GRID_MIX)], &other[..]].concat())
        .good();
    assert!(!differing(&tensors(&place.path("run")), &tensors(&place.path("other"))).is_empty());
}

#[test]
fn a_trained_cpp_mixer_learns_and_a_resumed_run_is_the_same_bit_for_bit() {
    let place = Place::new();
    let recipe = example("soft_grid.ron");
    let run = |out: &str, more: &[&str]| {
        let flags = ["run", &recipe, "--plugin", path_of(SOFT_GRID), "--out", out];
        place.compute(&[&flags[..], more].concat()).good()
    };
    run("whole", &[]);
    run("start", &["--max-steps", "2"]);
    run("halves", &["--max-steps", "6"]);
    run("halves", &["--resume"]);
    let (whole, start) = (tensors(&place.path("whole")), tensors(&place.path("start")));
    assert_eq!(differing(&whole, &tensors(&place.path("halves"))), Vec::<String>::new());
    let logits = |all: &BTreeMap<String, Tensor>| {
        let found = all.iter().find(|(name, _)| name.ends_with("soft.logits") && !name.starts_with("optim"));
        let (_, tensor) = found.unwrap_or_else(|| panic!("{:?}", all.keys()));
        assert_eq!(tensor.size(), [1, 1, 4, 4]);
        tensor.shallow_clone()
    };
    assert!(!logits(&whole).equal(&logits(&start)), "the mixer learns nothing");
    // Its projection runs after each step.
    run("flat", &["--set", "mixers.soft=SoftGrid(spread: 5.0, limit: 0.01)", "--max-steps", "2"]);
    let most = logits(&tensors(&place.path("flat"))).abs().max().double_value(&[]);
    assert!(most <= 0.0100001, "{most}");
}

#[test]
fn a_cpp_mixer_mixes_inside_of_the_network_bit_for_bit_as_the_bundled_one() {
    let place = Place::new();
    for (out, mixer) in [
        ("cpp", "Deep(per: Sample)"),
        ("map", "DeepMap(per: Sample)"),
        ("bundled", "ManifoldMix(per: Sample)"),
        ("other", "MixUp(per: Sample)"),
    ] {
        let (recipe, mixer) = (example("grid_mix.ron"), format!("mixers.mix={mixer}"));
        place
            .compute(&["run", &recipe, "--plugin", path_of(MISBEHAVING), "--set", &mixer, "--out", out])
            .good();
    }
    let [cpp, bundled, other] = ["cpp", "bundled", "other"].map(|run| tensors(&place.path(run)));
    assert_eq!(differing(&cpp, &bundled), Vec::<String>::new());
    assert_eq!(
        differing(&cpp, &tensors(&place.path("map"))),
        Vec::<String>::new(),
        "mixed by the library itself"
    );
    assert!(!differing(&cpp, &other).is_empty());
    faulty(&place, "HiddenStage").refused(
        2,
        &["mixer `mix`", "libmisbehaving.so", "mixes at stage 3, but its needs name only stages up to 2"],
    );
    let flat = ["--set", "mixers.mix=DeepMap(flat: true)", "--out", "flat"];
    place
        .compute(&[&["run", &example("grid_mix.ron"), "--plugin", path_of(MISBEHAVING)], &flat[..]].concat())
        .refused(2, &["a mixed map of Float", "as the maps it was given"]);
    // A network with one stage.
    let mixer =
        ["--set", "mixers.mix=Deep()", "--set", "model=ConvNet(widths: [8], strides: [2])", "--out", "no"];
    place
        .compute(&[&["run", &example("grid_mix.ron"), "--plugin", path_of(MISBEHAVING)], &mixer[..]].concat())
        .refused(2, &["`mixers.mix` mixes at stages up to 2, but the network has 1"]);
}

#[test]
fn a_quiet_mix_of_maps_teaches_the_parameters_of_its_mixer_nothing() {
    let place = Place::new();
    let gain = |steps: &str| {
        let recipe = example("grid_mix.ron");
        let more = ["--set", "mixers.mix=LearnedMap()", "--out", steps, "--max-steps", steps];
        place.compute(&[&["run", &recipe, "--plugin", path_of(MISBEHAVING)], &more[..]].concat()).good();
        tensors(&place.path(steps))["mixer.mix.gain"].double_value(&[0])
    };
    // The method's mixes are all quiet and inside of the network.
    assert_eq!(gain("1").to_bits(), gain("12").to_bits());
    let checked = place.admix(&["plugin", "check", path_of(MISBEHAVING), "--settings", "{}"]);
    let of_learned = checked.stdout.split("mixer learned_map from").nth(1).expect("it is checked");
    let of_learned = of_learned.split("\nmixer ").next().expect("a part");
    assert!(!of_learned.contains("BROKEN"), "{of_learned}");
}

#[test]
fn a_buffer_that_a_cpp_mixer_writes_in_its_mix_is_state_of_the_run() {
    let place = Place::new();
    let run = |out: &str, more: &[&str]| {
        let flags = ["run", &example("grid_mix.ron"), "--plugin", path_of(MISBEHAVING), "--out", out];
        let mixer = ["--set", "mixers.mix=Running()"];
        place.compute(&[&flags[..], &mixer[..], more].concat()).good();
    };
    run("whole", &[]);
    run("halves", &["--max-steps", "7"]);
    run("halves", &["--resume"]);
    let whole = tensors(&place.path("whole"));
    assert_eq!(differing(&whole, &tensors(&place.path("halves"))), Vec::<String>::new());
    assert_ne!(whole["mixer.mix.seen"].double_value(&[]), 0.0);
    let checked = place.admix(&["plugin", "check", path_of(MISBEHAVING), "--settings", "{}"]);
    let own = checked.stdout.split("mixer running from").nth(1).expect("it is checked");
    assert!(!own.split("\nmixer ").next().expect("a part").contains("BROKEN"), "{own}");
}

#[test]
fn weights_of_a_cpp_mixer_need_not_sum_to_one_and_are_from_0() {
    let place = Place::new();
    let run = |out: &str, weight: &str| {
        let mixer = format!("mixers.mix=Weighted(weight: {weight})");
        let recipe = example("grid_mix.ron");
        place.compute(&["run", &recipe, "--plugin", path_of(MISBEHAVING), "--set", &mixer, "--out", out])
    };
    run("half", "0.5").good();
    run("quarter", "0.25").good();
    assert!(!differing(&tensors(&place.path("half")), &tensors(&place.path("quarter"))).is_empty());
    run("below", "-0.5").refused(2, &["weights of the label that are negative or not finite"]);
    let told = place.admix(&["plugin", "check", path_of(MISBEHAVING)]);
    assert!(told.stdout.contains("a mixed map of Float has shape [1, 60]"), "{}", told.stdout);
}

/// A run with one fault.
fn faulty(place: &Place, fault: &str) -> crate::program::Outcome {
    let mixer = format!("mixers.mix=Misbehaving(fault: {fault})");
    let recipe = example("grid_mix.ron");
    place.compute(&["run", &recipe, "--plugin", path_of(MISBEHAVING), "--set", &mixer, "--out", fault])
}

#[test]
fn every_fault_of_a_library_ends_a_run_with_one_line_that_names_it() {
    let place = Place::new();
    for (fault, said) in [
        ("Throws", "the blade is dull"),
        ("ThrowsAnything", "no std::exception"),
        ("Lines", "the first line"),
        ("Torch", "shape '[7, -1, 13]' is invalid"),
        ("NaN", "images that are not finite"),
        ("Shape", "images of shape"),
        ("Shares", "shares of the label that do not sum to 1"),
        ("Half", "only one of `sources` and `shares`"),
        ("Draws", "libtorch's global generator"),
        ("DrawsInCreate", "let the host make and fill parameters"),
        ("Writes", "wrote into a tensor"),
        ("Empty", "no images"),
        ("Kind", "kind Int64"),
        ("Create", "no room for the mask"),
        ("Plan", "nothing to plan with"),
        ("Partners", "`partner`"),
        ("Missing", "no `angle` in the plan; there is lambda, partner"),
        ("AfterStep", "no way back"),
        ("Device", "expected Cpu"),
        ("Train", "no such mode"),
        ("HiddenImages", "a hidden mix with images that are not those it was given"),
        ("HiddenMask", "a mask of shape [1, 1, 1, 2]"),
    ] {
        // Found before training starts: the method is tried on a few samples first.
        let outcome = faulty(&place, fault);
        assert!(!outcome.stderr.contains("the second line"), "{}", outcome.stderr);
        outcome.refused(2, &["mixer `misbehaving`", "libmisbehaving.so", said]);
    }
}

#[test]
fn plugin_check_finds_every_fault_and_says_how_to_see_it_again() {
    let place = Place::new();
    let check = |fault: &str| {
        let settings = format!("{{\"fault\": \"{fault}\"}}");
        place.admix(&["plugin", "check", path_of(MISBEHAVING), "--settings", &settings])
    };
    for (fault, said) in [
        ("Throws", "the blade is dull"),
        ("NaN", "images that are not finite"),
        ("Shape", "images of shape"),
        ("Shares", "shares of the label that do not sum to 1"),
        ("Draws", "libtorch's global generator"),
        ("Writes", "wrote into a tensor"),
        ("Empty", "no images"),
    ] {
        let outcome = check(fault);
        assert_eq!(outcome.code, Some(1), "{fault}: {}", outcome.stderr);
        let broken = outcome.stdout.split("\nBROKEN: every batch can be mixed").nth(1).unwrap_or_default();
        assert!(broken.contains(said) && broken.contains(fault), "{fault}: {}", outcome.stdout);
        assert!(outcome.stderr.contains("broken"), "{}", outcome.stderr);
    }
}

#[test]
fn the_examples_keep_every_promise() {
    for example in [GRID_MIX, SOFT_GRID] {
        let sound = Place::new().admix(&["plugin", "check", path_of(example)]).good();
        assert!(!sound.stdout.contains("BROKEN"), "{}", sound.stdout);
    }
}

#[test]
fn a_fault_in_the_middle_of_a_run_leaves_a_checkpoint_from_which_it_goes_on_bit_for_bit() {
    let place = Place::new();
    faulty(&place, "None").good();
    let whole = tensors(&place.path("None"));
    for (fault, said) in [
        ("Throws", "the blade is dull"),
        ("ThrowsAnything", "no std::exception"),
        ("Torch", "shape '[7, -1, 13]' is invalid"),
        ("NaN", "images that are not finite"),
        ("Shape", "images of shape"),
        ("Shares", "shares"),
        ("Draws", "libtorch's global generator"),
        ("Writes", "wrote into a tensor"),
        ("Empty", "no images"),
    ] {
        let run = |mixer: &str, more: &[&str]| {
            let (recipe, mixer) = (example("grid_mix.ron"), format!("mixers.mix={mixer}"));
            let flags = ["run", &recipe, "--plugin", path_of(MISBEHAVING), "--set", &mixer, "--out", fault];
            place.compute(&[&flags[..], more].concat())
        };
        // The trial before training makes three mixes with another instance.
        run(&format!("Misbehaving(fault: {fault}, after: 5)"), &[]).refused(
            1,
            &["mixer `m", "libmisbehaving.so", said, "step 6", "saved in", "step-00000005", "--resume"],
        );
        run("Misbehaving(fault: None)", &["--resume"]).good();
        assert_eq!(differing(&whole, &tensors(&place.path(fault))), Vec::<String>::new(), "{fault}");
    }
}

#[test]
fn a_library_that_switches_gradients_off_changes_nothing() {
    let place = Place::new();
    faulty(&place, "None").good();
    faulty(&place, "GradOff").good();
    let (plain, off) = (tensors(&place.path("None")), tensors(&place.path("GradOff")));
    assert_eq!(differing(&plain, &off), Vec::<String>::new());
}

#[test]
fn bad_settings_of_a_cpp_plugin_are_told_with_their_range() {
    let place = Place::new();
    let refused = |source: &str, mixer: &str, parts: &[&str]| {
        let mixer = format!("mixers.mix={mixer}");
        let arguments = ["check", &example("grid_mix.ron"), "--plugin", path_of(source), "--set", &mixer];
        place.admix(&arguments).refused(2, parts);
    };
    refused(
        GRID_MIX,
        "GridMix(cells: 0)",
        &["`mixers.mix.cells` is 0, expected a whole number from 1 to 32"],
    );
    refused(
        GRID_MIX,
        "GridMix(cells: 33)",
        &["`mixers.mix.cells` is 33, expected a whole number from 1 to 32"],
    );
    refused(GRID_MIX, "GridMix(cell: 3)", &["cell", "cells"]);
    refused(GRID_MIX, "GridMix(cells: 2.5)", &["cells"]);
    refused(
        MISBEHAVING,
        "Probe(number: 1.5)",
        &["`mixers.mix.number` is 1.5, expected a number from 0 to 1"],
    );
    refused(MISBEHAVING, "Probe(form: Oval)", &["Oval", "Round", "Square"]);
    refused(MISBEHAVING, "Probe(whole: 13)", &["`mixers.mix.whole` is 13, which needs `flag: false`"]);
    refused(MISBEHAVING, "Misbehaving(fault: Other)", &["Other", "Throws"]);
}
