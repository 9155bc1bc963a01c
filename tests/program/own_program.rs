//! A program of a user's own, with entries of several kinds: `examples/own_program/`.

use std::process::Command;

use super::{Outcome, Place};
use crate::libraries::built;
use crate::readme::root;

fn own(place: &Place, arguments: &[&str]) -> Outcome {
    let program = built().join("examples/own_program");
    let output = place.set_up(Command::new(program), arguments).output().expect("the example was built");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome::of(output.status, text(&output.stdout), text(&output.stderr))
}

#[test]
fn entries_of_a_program_of_ones_own_are_listed_checked_and_trained_with() {
    let place = Place::new();
    for (kind, name) in
        [("backbone", "all_conv"), ("dataset", "stripes"), ("augmentation", "roll"), ("logger", "slowest")]
    {
        let told = own(&place, &["plugins", kind, name]).good().stdout;
        assert!(
            told.starts_with(&format!("{kind} {name}: ")) && told.contains("examples/own_program"),
            "{told}"
        );
    }
    let recipe = root().join("examples/own_program/recipe.ron").display().to_string();
    own(&place, &["check", &recipe]).good();
    own(&place, &["run", &recipe, "--out", "run", "--threads", "1"]).good();
    let line = std::fs::read_to_string(place.path("run/slowest.txt")).expect("the logger's file");
    assert!(line.starts_with("step "), "{line}");
    // Its checkpoints are read again, and a slip is told with the nearest name.
    let said = own(&place, &["eval", "run"]).good().stdout;
    assert!(said.contains("one_q"), "{said}");
    own(&place, &["check", &recipe, "--set", "model=AlConv()"]).refused(2, &["AlConv", "all_conv"]);
    own(&place, &["check", &recipe, "--set", "data.augment=Roll(most: -1)"]).refused(2, &["most", "-1"]);
}
