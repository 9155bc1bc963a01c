//! Measuring the features of a run: nearest neighbours and linear classifiers.

use std::collections::BTreeSet;
use std::fs;

use admix_engine::{Event, RunFolder, Status};
use serde_json::Value;

use super::{Place, TINY};

fn json(place: &Place, arguments: &[&str]) -> Value {
    let said = place.compute(&[arguments, &["--format", "json"]].concat()).good().stdout;
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn features_of_a_run_are_measured_by_three_protocols() {
    let place = Place::new();
    place.write("r.ron", TINY);
    place.compute(&["run", "r.ron", "--out", "run"]).good();
    for protocol in ["knn", "linear", "linear-cached"] {
        let mut arguments = vec!["eval", "run", "--protocol", protocol];
        if protocol != "knn" {
            arguments.extend(["--epochs", "3", "--preset", "code", "--batch", "16"]);
        }
        let found = json(&place, &arguments);
        let head = &found["heads"][format!("{protocol}_q")];
        assert_eq!(head["images"], 32, "{found}");
        let top1 = head["top1"].as_f64().expect("a figure");
        assert!((0.0..=100.0).contains(&top1) && head["top5"] == 100.0, "{found}");
        assert!(head["loss"].as_f64().expect("a figure") > 0.0, "{found}");
        if protocol != "knn" {
            assert_eq!((&found["settings"]["lr"], &found["settings"]["epochs"]), (&1.0.into(), &3.into()));
            assert!(found["best_top1"].as_f64().expect("a figure") >= top1, "{found}");
        }
        assert_eq!(found, json(&place, &arguments), "the same twice");
    }
    let other = json(&place, &["eval", "run", "--protocol", "knn", "--net", "k", "--k", "3"]);
    assert_eq!((&other["network"], &other["settings"]["k"]), (&"k".into(), &3.into()));
    let said = place.compute(&["eval", "run", "--protocol", "knn"]).good().stdout;
    assert!(said.contains("knn_q") && said.contains("the last stage of `q`"), "{said}");
    place
        .compute(&["eval", "run", "--protocol", "knn", "--net", "p"])
        .refused(2, &["no network named `p`", "`q`", "`k`"]);
    place
        .compute(&["eval", "run", "--protocol", "linear", "--epochs", "0"])
        .refused(2, &["--protocol linear: epochs is 0, expected a whole number from 1"]);
}

#[test]
fn neighbours_of_the_same_images_are_told_apart_by_their_features() {
    // The classes of the toy set differ in colour and shape: a random network has features that tell.
    let place = Place::new();
    let recipe = TINY.replace("train: 64", "train: 256").replace("test: 32", "test: 64");
    place.write("r.ron", recipe);
    place.compute(&["run", "r.ron", "--out", "run", "--max-steps", "1"]).good();
    let found = json(&place, &["eval", "run", "--protocol", "knn", "--k", "10"]);
    let top1 = found["heads"]["knn_q"]["top1"].as_f64().expect("a figure");
    assert!(top1 > 40.0, "chance is 25 %: {found}");
    let found = json(&place, &["eval", "run", "--protocol", "linear-cached", "--lr", "1"]);
    let top1 = found["heads"]["linear-cached_q"]["top1"].as_f64().expect("a figure");
    assert!(top1 > 40.0, "chance is 25 %: {found}");
}

#[test]
fn a_run_measures_its_features_at_intervals() {
    let place = Place::new();
    place.write(
        "r.ron",
        TINY.replace(
            "checkpoint:",
            r#"evaluate: (every: 2, probes: [Knn, LinearCached], report: "knn_q"), checkpoint:"#,
        ),
    );
    place.compute(&["run", "r.ron", "--out", "run"]).good();
    let text = fs::read_to_string(place.path("run/metrics.jsonl")).expect("metrics");
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let evaluated: Vec<&Value> = rows.iter().filter(|row| row["event"] == "evaluated").collect();
    assert_eq!(evaluated.len(), 1);
    for name in ["one_q", "mix_k", "knn_q", "linear-cached_q"] {
        assert!(evaluated[0]["heads"][name]["top1"].is_number(), "{name}: {}", evaluated[0]);
    }
    let facts = fs::read_to_string(place.path("run/run.json")).expect("facts");
    let facts: Value = serde_json::from_str(&facts).expect("JSON");
    assert_eq!(facts["summary"]["report"], "knn_q");
    place.write("bad.ron", TINY.replace("checkpoint:", r#"evaluate: (report: "knn_q"), checkpoint:"#));
    place.admix(&["check", "bad.ron"]).refused(2, &["`evaluate.report` is `knn_q`", "`mix_k`"]);
}

#[test]
fn probes_have_settings_and_their_figures_are_read_from_the_run_folder() {
    let place = Place::new();
    let more = r#"evaluate: (every: 2, probes: [Knn(k: 3, temperature: 0.1), LinearCached(epochs: 2)]),
        loggers: [JsonLines(file: "all.jsonl")], checkpoint:"#;
    place.write("r.ron", TINY.replace("checkpoint:", more));
    place.compute(&["run", "r.ron", "--out", "run"]).good();
    let folder = RunFolder::existing(place.path("run"));
    let facts = folder.facts().expect("run.json");
    assert_eq!((facts.status, facts.error), (Status::Done, None));
    assert_eq!(facts.summary.report.as_deref(), Some("knn_q"));
    let records = folder.records().expect("metrics");
    assert!(records.iter().all(|record| record.time > 1.7e9), "{records:?}");
    let evaluated = records.iter().find_map(|record| match &record.event {
        Event::Evaluated { heads, .. } => Some(heads),
        _ => None,
    });
    let found = json(&place, &["eval", "run", "--protocol", "knn", "--k", "3", "--temperature", "0.1"]);
    let top1 = found["heads"]["knn_q"]["top1"].as_f64().expect("a figure");
    assert_eq!(evaluated.expect("an evaluation")["knn_q"].top1, top1);
    // A logger of the recipe takes every event.
    let text = fs::read_to_string(place.path("run/all.jsonl")).expect("events");
    let kinds: BTreeSet<String> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect(line)["event"].as_str().expect(line).to_string()
        })
        .collect();
    let wanted = ["ended", "evaluated", "pictured", "progress", "saved", "started", "train"];
    assert_eq!(kinds, wanted.map(String::from).into());
    for (bad, parts) in [
        ("probes: [Knn(k: 0)]", &["r.ron:", "`evaluate.probes`", "k is 0", "a whole number from 1"][..]),
        ("probes: [Knn(kk: 3)]", &["r.ron:", "unknown field `kk`", "temperature"]),
        ("probes: [Knm]", &["r.ron:", "no probe named `Knm`", "Did you mean `knn`?"]),
        ("probes: [Knn, Knn(k: 3)]", &["`evaluate.probes` has `knn` twice"]),
    ] {
        place.write("r.ron", TINY.replace("checkpoint:", &format!("evaluate: ({bad}), checkpoint:")));
        place.admix(&["check", "r.ron"]).refused(2, parts);
    }
    let bad = r#"loggers: [JsonLines(file: "../x.jsonl")], checkpoint:"#;
    place.write("r.ron", TINY.replace("checkpoint:", bad));
    place.admix(&["check", "r.ron"]).refused(2, &["`loggers`", "file is ../x.jsonl", "ends in .jsonl"]);
}

#[test]
fn a_head_on_embeddings_that_is_evaluated_learns_and_is_told_beside_the_heads_of_networks() {
    let place = Place::new();
    let recipe = TINY
        .replace("train: 64", "train: 256")
        .replace("test: 32", "test: 64")
        .replace(r#"heads: ["one", "mix"]"#, r#"heads: [], embedding_heads: {"online": (evaluate: "q")}"#)
        .replace(r#"{"amix": AMix(alpha: 2.0)}"#, "{}")
        .replace(r#"pairs: [(from: "q", to: "k", momentum: 0.99)],"#, "")
        .replace(r#"method: "amix""#, r#"method: "online.rhai""#);
    place.write("r.ron", recipe);
    let method = r#"fn weights(t) { #{ online: 1.0 } }
        fn step(t) {
            let z = t.pass("q", t.images).embed();
            t.learn(#{ online: t.loss("cross_entropy", t.head("online", z), t.labels) });
        }"#;
    place.write("online.rhai", method);
    let said = place.compute(&["run", "r.ron", "--out", "run"]).good().stdout;
    assert!(said.contains("online_q"), "{said}");
    let found = json(&place, &["eval", "run"]);
    let head = &found["heads"]["online_q"];
    assert_eq!(head["images"], 64, "{found}");
    assert!(head["top1"].as_f64().expect("a figure") > 40.0, "chance is 25 %: {found}");
}
