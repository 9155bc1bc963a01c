//! Sizes of images: a mixer plans for all of them, or is refused before the run starts.

use super::{Outcome, Place, TINY};

/// The recipe with another method, mixer and size of images.
fn recipe(method: &str, mixers: &str, size: u32) -> String {
    let recipe = TINY
        .replace("method: \"amix\"", &format!("method: \"{method}\""))
        .replace(r#"heads: ["one", "mix"]"#, r#"heads: ["one"]"#)
        .replace(r#"{"amix": AMix(alpha: 2.0)}"#, mixers)
        .replace("heads: [\"one\", \"mix\"]", "heads: [\"one\"]")
        .replace("    pairs: [(from: \"q\", to: \"k\", momentum: 0.99)],\n", "")
        .replace("    losses: {\"mask\": Mask(margin: 0.1)},\n", "")
        .replace("size: 16", &format!("size: {size}"));
    assert!(recipe.contains(method) && recipe.contains(&format!("size: {size}")) && !recipe.contains("mask"));
    recipe
}

#[test]
fn puzzlemix_trains_with_its_defaults_at_sizes_that_people_have() {
    for size in [20, 28, 40, 96] {
        let place = Place::new();
        place.write("r.ron", recipe("puzzlemix", r#"{"mix": PuzzleMix()}"#, size));
        place.compute(&["check", "r.ron"]).good();
        // Long enough for every grid to be drawn.
        let steps = if size < 96 { "16" } else { "6" };
        place.compute(&["run", "r.ron", "--out", "run", "--max-steps", steps]).good();
        assert!(place.path("run/run.json").exists(), "{size}");
    }
}

#[track_caller]
fn refused(place: &Place, parts: &[&str]) {
    let parts: Vec<&str> = ["r.ron:8:"].iter().chain(parts).copied().collect();
    for arguments in [&["check", "r.ron"][..], &["run", "r.ron", "--out", "run"]] {
        let _: Outcome = place.compute(arguments).refused(2, &parts);
    }
    assert!(!place.path("run").exists(), "a run that cannot be must leave nothing behind");
}

#[test]
fn images_that_no_grid_divides_are_refused_before_the_run_with_field_and_line() {
    let place = Place::new();
    place.write("r.ron", recipe("puzzlemix", r#"{"mix": PuzzleMix()}"#, 33));
    refused(&place, &["`mixers.mix.blocks` is [2, 4, 8, 16]", "divides 33 and 33", "such as 3 or 11"]);
    place.write("r.ron", recipe("puzzlemix", r#"{"mix": PuzzleMix(blocks: [3, 11])}"#, 33));
    place.compute(&["check", "r.ron"]).good();
    place.write("r.ron", recipe("puzzlemix", r#"{"mix": PuzzleMix(blocks: [5, 7])}"#, 32));
    refused(&place, &["`mixers.mix.blocks` is [5, 7]", "divides 32 and 32", "such as 2 or 4 or 8 or 16"]);
    place.write("r.ron", recipe("puzzlemix", r#"{"mix": PuzzleMix()}"#, 31));
    refused(&place, &["divides 31 and 31", "bring the images to another size"]);
    place.write("r.ron", recipe("co_mixup", r#"{"mix": CoMixup()}"#, 30));
    refused(&place, &["`mixers.mix.blocks` is [4]", "divides 30 and 30", "such as 2 or 3 or 5"]);
}

/// A method that mixes by `late` in a branch that no dry call takes.
const LATE: &str = "fn weights(t) { #{ loss: 1.0 } }
    fn step(t) {
        let name = if t.step == 2 { \"late\" } else { \"mix\" };
        let m = t.quiet(name, #{ as: \"mix\", images: t.images });
        t.learn(#{ loss: t.loss(\"mixup_cross_entropy\", t.pass(\"q\", m).logits(\"one\"), m.target(t.labels)) });
    }";

#[test]
fn mixers_that_the_dry_calls_do_not_meet_are_asked_too() {
    let place = Place::new();
    let mixers = r#"{"mix": MixUp(), "late": CoMixup(blocks: [8])}"#;
    place.write("late.rhai", LATE);
    place.write("r.ron", recipe("late.rhai", mixers, 20));
    refused(&place, &["`mixers.late.blocks` is [8]", "divides 20 and 20", "such as 2 or 4 or 5 or 10"]);
}

#[test]
fn a_mixer_is_drawn_at_the_size_of_the_default_data_and_one_that_cannot_be_is_refused_by_name() {
    let place = Place::new();
    let mix = ["mix", "--mixer", "puzzlemix", "co_mixup", "--count", "1", "-o", "grid.png"];
    place.compute(&[&mix[..], &["--set", "model.width=0.0625"]].concat()).good();
    assert!(place.path("grid.png").exists());
    let odd = ["--force", "--data", "toy", "--set", "data.toy.size=33"];
    let parts = ["`blocks` of the mixer `puzzlemix` is [2, 4, 8, 16]", "divides 33 and 33"];
    place.compute(&[&mix[..], &odd].concat()).refused(2, &parts);
}
