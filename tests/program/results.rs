//! What is written and told about runs: never over a run's own files, never by a figure that is another's.

use std::fs;

use serde_json::Value;

use super::{Place, TINY};

fn trained(more: &[&str]) -> Place {
    let place = Place::new();
    place.write("r.ron", TINY);
    place.compute(&[&["run", "r.ron", "--out", "run"], more].concat()).good();
    place
}

#[test]
fn no_command_replaces_what_a_run_needs() {
    let place = trained(&[]);
    let own = ["recipe.ron", "metrics.jsonl", "run.json", "method.rhai", "checkpoints/best.safetensors"];
    let content = || own.map(|file| fs::read(place.path(format!("run/{file}"))).expect(file));
    let before = content();
    let refused =
        |arguments: &[&str]| place.admix(arguments).refused(2, &["keeps its own files", "another name"]);
    refused(&["table", "run", "-o", "run/metrics.jsonl"]);
    refused(&["report", "run", "-o", "./run/../run/recipe.ron"]);
    refused(&["export", "run", "-o", "run/checkpoints/best.safetensors", "--force"]);
    refused(&["export", "run", "-o", "run/checkpoints/new.safetensors"]);
    assert_eq!(content(), before);
    // What a run does not write may lie in its folder, and is made anew.
    for _ in 0..2 {
        place.admix(&["report", "run", "-o", "run/report.html"]).good();
        place.admix(&["table", "run", "-o", "run/table.txt"]).good();
    }
    place.admix(&["table", "run", "-o", "nowhere/table.txt"]).refused(2, &["there is no folder nowhere"]);
}

#[test]
fn of_runs_of_one_seed_a_finished_one_counts_whatever_their_order() {
    let place = trained(&[]);
    place.compute(&["run", "r.ron", "--out", "begun", "--max-steps", "3"]).good();
    let table = |folders: [&str; 2]| {
        let told = place.admix(&["table", folders[0], folders[1], "--format", "json"]).good();
        assert!(told.stderr.contains("begun has the settings and the seed of run"), "{}", told.stderr);
        let mut table: Value = serde_json::from_str(&told.stdout).expect("JSON");
        table["cells"].take()
    };
    assert_eq!(table(["run", "begun"]), table(["begun", "run"]));
}

#[test]
fn what_cannot_be_measured_is_refused_and_no_other_figure_told() {
    let place = trained(&[]);
    for number in ["inf", "nan"] {
        let eval = ["eval", "run", "--protocol", "linear-cached", "--lr", number];
        place.compute(&eval).refused(2, &["--lr", "expected a finite number"]);
    }
    let grey = ["eval", "run", "--protocol", "knn", "--set", "data.name=\"fashion-mini\""];
    place.compute(&grey).refused(2, &["`fashion-mini` have 1 channels", "take 3"]);
    place.write("five.ron", TINY.replace("size: 16", "size: 16, channels: 5"));
    place.compute(&["run", "five.ron", "--out", "five", "--max-steps", "1"]).good();
    place.write("a.png", "no picture");
    place
        .compute(&["predict", "five", "a.png"])
        .refused(2, &["takes images of 5 channels, and pictures have 3"]);
}

#[test]
fn a_run_without_heads_is_measured_by_its_features_alone() {
    let place = Place::new();
    let text = TINY
        .replace("crop: None,", "crop: None, views: 2,")
        .replace("heads: [\"one\", \"mix\"],", "heads: [], neck: Mlp(hidden: 8, out: 8),")
        .replace("pairs: [(from: \"q\", to: \"k\", momentum: 0.99)],", "")
        .replace("method: \"amix\"", "method: \"simclr\"")
        .replace("mixers: {\"amix\": AMix(alpha: 2.0)},", "")
        .replace("losses: {\"mask\": Mask(margin: 0.1)},", "");
    place.write("s.ron", text);
    place.compute(&["run", "s.ron", "--out", "run", "--max-steps", "1"]).good();
    place.compute(&["eval", "run"]).refused(2, &["no head whose accuracy can be told", "--protocol knn"]);
    place.compute(&["eval", "run", "--protocol", "knn", "--k", "3"]).good();
}

#[test]
fn a_resume_whose_logger_cannot_be_opened_drops_no_metrics() {
    let place = trained(&["--set", "log_every=1"]);
    let metrics = || fs::read(place.path("run/metrics.jsonl")).expect("metrics");
    let before = metrics();
    place.write("run/tensorboard", "a file");
    let from = "run/checkpoints/step-00000014.safetensors";
    let resume = ["run", "r.ron", "--out", "run", "--set", "log_every=1", "--resume", from];
    let outcome = place.compute(&[&resume[..], &["--log-to", "tensorboard"]].concat());
    assert_ne!(outcome.code, Some(0));
    assert_eq!(metrics(), before);
}

#[test]
fn a_network_of_another_architecture_is_exported_as_what_it_is() {
    let place = Place::new();
    let other =
        "other_nets: {\"big\": (model: ResNet(width: 0.125), heads: [\"one\"])}, heads: [\"one\", \"mix\"],";
    place.write("r.ron", TINY.replace("heads: [\"one\", \"mix\"],", other));
    let method = "fn weights(t) { #{ one: 1.0 } }
        fn step(t) {
            let loss = 0.0;
            for head in [\"one\", \"mix\"] { loss += t.loss(\"cross_entropy\", t.pass(\"q\", t.images).logits(head), t.labels); }
            loss += t.loss(\"cross_entropy\", t.pass(\"big\", t.images).logits(\"one\"), t.labels);
            t.learn(#{ one: loss });
        }";
    place.write("m.rhai", method);
    let run = ["run", "r.ron", "--script", "m.rhai", "--out", "run", "--max-steps", "1"];
    place
        .compute(&[&run[..], &["--set", "mixers={}", "--set", "losses={}", "--set", "pairs=[]"]].concat())
        .good();
    let told = place.compute(&["export", "run", "--net", "big", "-o", "big.pth"]).good().stdout;
    assert!(told.contains("by the names of torchvision"), "{told}");
    let card = fs::read_to_string(place.path("big.pth.md")).expect("a card");
    assert!(card.contains("| network | resnet"), "{card}");
    let told = place.compute(&["export", "run", "--net", "q", "-o", "q.pth"]).good().stdout;
    assert!(!told.contains("torchvision"), "{told}");
    // Its heads are its own.
    place
        .compute(&["export", "run", "--net", "big", "--head", "mix", "-o", "c.pth"])
        .refused(2, &["--head mix: network `big` has `one`"]);
}

#[test]
fn damage_of_a_run_s_figures_is_told_and_the_rest_is_read() {
    let place = trained(&["--set", "log_every=1"]);
    let metrics = fs::read_to_string(place.path("run/metrics.jsonl")).expect("metrics");
    // A line that a crash cut is no damage.
    place.write("run/metrics.jsonl", format!("{metrics}{{\"event\":\"tr"));
    let whole = place.admix(&["runs", "run", "--format", "json"]).good();
    assert_eq!(whole.stderr, "");
    let figures = |told: &str| {
        let runs: Value = serde_json::from_str(told).expect("JSON");
        runs[0]["accuracy"].clone()
    };
    assert!(
        figures(&whole.stdout)["median_last_10"].is_number() && figures(&whole.stdout)["last"].is_number()
    );
    let mut lines: Vec<&str> = metrics.lines().collect();
    (lines[1], lines[2]) = ("{", "\u{0}");
    place.write("run/metrics.jsonl", lines.join("\n") + "\n");
    place.write("run/run.json", "{\"status\": \"done\"");
    place.compute(&["run", "r.ron", "--out", "other", "--max-steps", "1"]).good();
    for command in [&["runs", "run"][..], &["table", "run"], &["diff", "run", "other"]] {
        let told = place.admix(command).good().stderr;
        for part in ["run/metrics.jsonl:2: this line and 1 more are no event", "run/run.json cannot be read"]
        {
            assert!(told.contains(part), "{command:?}: {told}");
        }
    }
    place.admix(&["report", "run", "-o", "page.html"]).good();
    assert!(
        fs::read_to_string(place.path("page.html"))
            .expect("a page")
            .contains("run/metrics.jsonl:2: this line")
    );
    // Without its facts a run has the figures of its events.
    let damaged = place.admix(&["runs", "run", "--format", "json"]).good();
    assert_eq!(figures(&damaged.stdout), figures(&whole.stdout));
}

#[test]
fn a_run_is_shown_once_and_in_one_form() {
    let place = Place::new();
    place.write("r.ron", TINY);
    let forms: [(&str, &[&str]); 3] = [
        ("a", &["--format", "json", "--log-to", "terminal"]),
        ("b", &["--log-to", "Terminal(format: Json)"]),
        ("c", &["--log-to", "terminal"]),
    ];
    for (out, more) in forms {
        let told =
            place.compute(&[&["run", "r.ron", "--out", out, "--max-steps", "1"], more].concat()).good();
        let read =
            |line: &str| serde_json::from_str::<Value>(line).ok().and_then(|row| row.get("event").cloned());
        let events: Vec<Option<Value>> = told.stdout.lines().map(read).collect();
        let started = events.iter().filter(|event| **event == Some("started".into())).count();
        match out {
            "c" => {
                assert!(events.iter().all(Option::is_none), "{}", told.stdout);
                assert_eq!(told.stdout.matches("trained values").count(), 1, "{}", told.stdout);
            }
            _ => assert!(started == 1 && events.iter().all(Option::is_some), "{}", told.stdout),
        }
    }
}

#[test]
fn errors_and_warnings_are_events_where_the_log_is_json() {
    let place = Place::new();
    place.write("r.ron", TINY.replace("epochs: 2", "epochs: 0"));
    let told = place.admix(&["--log-format", "json", "check", "r.ron"]);
    assert_eq!(told.code, Some(2));
    let event: Value = serde_json::from_str(&told.stderr).expect("one event");
    assert_eq!(event["level"], "ERROR");
    assert!(event["fields"]["message"].as_str().is_some_and(|text| text.contains("epochs")), "{event}");
}

#[test]
fn changes_that_cannot_be_heeded_are_refused_by_their_flag() {
    let place = trained(&["--max-steps", "1"]);
    place.write("a.png", "no picture");
    let set = |command: &[&str], change: &str| place.compute(&[command, &["--set", change]].concat());
    set(&["eval", "run"], "model.widths=[8, 8, 16]")
        .refused(2, &["--set model.widths", "leave out what changes them"]);
    set(&["predict", "run", "a.png", "--net", "q"], "data.name=\"cifar10\"")
        .refused(2, &["--set data.name", "leave it out"]);
    set(&["eval", "run"], "evaluate.batch=3").good();
    place.compute(&["eval", "run", "--best"]).refused(2, &["holds no best checkpoint", "leave out --best"]);
    let check = |settings: &str| place.admix(&["plugin", "check", "mixup", "--settings", settings]);
    check(r#"{"aplha": 2}"#).refused(2, &["mixup has no setting `aplha`", "Did you mean `alpha`"]);
    for wrong in [r#"{"alpha": -2}"#, r#"{"alpha": "x"}"#] {
        let told = check(wrong);
        assert!(told.code == Some(2) && told.stdout.is_empty(), "{} {}", told.stdout, told.stderr);
        assert!(told.stderr.contains("--settings") && told.stderr.contains("alpha"), "{}", told.stderr);
    }
}

#[test]
fn other_images_are_normalised_as_those_that_were_trained_on() {
    let place = trained(&["--set", "data.mean=[0.1, 0.2, 0.3]"]);
    let loss = |more: &[&str]| {
        let told = place.compute(&[&["eval", "run", "--format", "json"], more].concat()).good();
        let told_by: Value = serde_json::from_str(&told.stdout).expect("JSON");
        (told_by["heads"]["mix_k"]["loss"].as_f64().expect("a loss"), told.stderr)
    };
    let (own, silent) = loss(&[]);
    assert_eq!(silent, "");
    let (same, told) = loss(&["--set", "data.mean=None"]);
    assert_eq!(same, own);
    assert!(told.contains("normalised as those of `toy`"), "{told}");
    assert_ne!(loss(&["--set", "data.mean=[0.5, 0.5, 0.5]"]).0, own);
    // Each of both by itself: the deviation is another one, the mean is the recipe's.
    let place = trained(&["--set", "data.std=[0.5, 0.6, 0.7]"]);
    let eval =
        ["eval", "run", "--format", "json", "--set", "data.std=None", "--set", "data.mean=[0.5, 0.5, 0.5]"];
    let told = place.compute(&eval).good();
    let set = ["eval", "run", "--format", "json", "--set", "data.mean=[0.5, 0.5, 0.5]"];
    assert_eq!(told.stdout, place.compute(&set).good().stdout);
    assert!(told.stderr.contains("normalised as those"), "{}", told.stderr);
}
