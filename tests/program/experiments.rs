//! The experiments of the paper: every script can be resolved, and a run of each trains.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::{Place, files_below, repository};

fn scripts() -> Vec<String> {
    let files = files_below(&repository().join("configs/experiments")).into_iter();
    let scripts = files.filter(|path| path.extension().is_some_and(|ending| ending == "rhai"));
    scripts.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect()
}

fn list(place: &Place) -> Value {
    let told = place.admix(&["table", "--list", "--format", "json"]).good();
    serde_json::from_str(&told.stdout).expect("JSON")
}

#[test]
fn every_cell_of_the_papers_tables_is_there_and_each_recipe_is_resolved() {
    let place = Place::new();
    let listed = list(&place);
    let names: Vec<&str> = listed["experiments"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(names, scripts());
    assert_eq!(listed["cells"], 300);
    for name in names {
        // Resolves every recipe of the script.
        let told = place.admix(&["table", name, "--format", "json"]).good();
        let table: Value = serde_json::from_str(&told.stdout).expect("JSON");
        assert!(table["cells"].as_array().is_some_and(|cells| !cells.is_empty()), "{name}");
    }
}

/// Figures that stand in two tables: where the paper agrees with itself, so do the scripts.
#[test]
fn figures_that_the_paper_prints_twice_are_the_same() {
    let place = Place::new();
    let paper = |name: &str| -> BTreeMap<(String, String), f64> {
        let told = place.admix(&["table", name, "--format", "json"]).good();
        let table: Value = serde_json::from_str(&told.stdout).expect("JSON");
        let text = |value: &Value| value.as_str().expect("a title").to_owned();
        let cells = table["cells"].as_array().expect("cells").iter();
        cells
            .filter_map(|cell| Some(((text(&cell["row"]), text(&cell["column"])), cell["paper"].as_f64()?)))
            .collect()
    };
    let has =
        |table: &BTreeMap<(String, String), f64>, figure: f64| table.values().any(|value| *value == figure);
    for (figure, tables) in [
        (68.56, ["table3", "table8", "table1"]),
        (67.33, ["table3", "table8", "table3"]),
        (42.53, ["table5", "table7", "table8"]),
        (41.97, ["table5", "table7", "table7"]),
        (84.51, ["table4", "table1", "table4"]),
        (41.24, ["table5", "table1", "table5"]),
    ] {
        for table in tables {
            assert!(has(&paper(table), figure), "{figure} in {table}");
        }
    }
}

#[test]
fn one_run_of_each_experiment_trains() {
    let rules = fs::read_to_string(repository().join("tests/toy_size.json")).expect("rules");
    for name in scripts() {
        // Of its own: a run that two experiments share would be done.
        let place = Place::new();
        let told = place.admix(&["sweep", &name, "--print", "--seeds", "1", "--devices", "cpu"]).good();
        let Some(line) = told.stdout.lines().find(|line| line.starts_with("admix run ")) else { continue };
        let words: Vec<String> = words(line);
        let recipe = place.admix(&["recipes", &words[2]]).good().stdout;
        let mut arguments: Vec<String> = words[1..].to_vec();
        for setting in crate::toy_size::settings(&rules, &recipe).expect("rules") {
            arguments.extend(["--set".into(), setting]);
        }
        arguments.extend(["--max-steps", "2", "--threads", "1"].map(String::from));
        let all: Vec<&str> = arguments.iter().map(String::as_str).collect();
        place.admix(&all).good();
    }
}

/// The words of a printed command.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words
}
