//! `admix run --profile`: where the time of a step goes.

use serde_json::Value;

use super::{Place, TINY, repository};

/// The line of the bundled AMix that holds this text.
fn line_of(text: &str) -> u64 {
    let script = std::fs::read_to_string(repository().join("scripts/amix.rhai")).expect("the script");
    script.lines().position(|line| line.contains(text)).expect(text) as u64 + 1
}

#[test]
fn a_profiled_run_tells_the_parts_of_a_step_and_ends_with_its_state_saved() {
    let place = Place::new();
    place.write("r.ron", TINY);
    let run = ["run", "r.ron", "--out", "run", "--profile", "4", "--format", "json"];
    let outcome = place.compute(&run).good();
    assert_eq!(outcome.stderr, "");
    let events: Vec<Value> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let profile = events.iter().find(|event| event["event"] == "profile").expect("a profile");
    assert_eq!((&profile["steps"], &profile["synchronised"]), (&Value::from(4), &Value::from(false)));
    let rows = profile["rows"].as_array().expect("rows");
    let number = |value: &Value| value.as_f64().expect("a number");
    let sum = |key: &str| rows.iter().map(|row| number(&row[key])).sum::<f64>();
    assert!((sum("ms_per_step") - number(&profile["ms_per_step"])).abs() < 1e-6, "{profile}");
    assert!((sum("share") - 1.0).abs() < 1e-6, "{profile}");
    let lesson = line_of("t.quiet(\"amix\"");
    for (name, line, count) in [
        ("pass q", Some(lesson + 1), 1.0),
        ("pass k", Some(line_of("clean.features")), 1.0),
        ("quiet amix as lesson", Some(lesson), 1.0),
        ("plan amix", Some(lesson), 1.0),
        ("mix amix as attempt", Some(line_of("t.mix(\"amix\"")), 1.0),
        ("loss mask", Some(line_of("t.loss(\"mask\"")), 1.0),
        ("learn gen+mask", Some(line_of("gen: answer(")), 1.0),
        ("learn one", Some(line_of("t.learn(#{ one:")), 1.0),
        ("optimiser", None, 1.0),
        ("pair q to k", None, 1.0),
        ("data", None, 1.0),
        ("script and engine", None, 1.0),
    ] {
        let row = rows.iter().find(|row| row["name"] == name && row["line"].as_u64() == line);
        let row = row.unwrap_or_else(|| panic!("{name} {line:?}: {profile}"));
        assert_eq!(number(&row["per_step"]), count, "{row}");
        assert!(number(&row["ms_per_step"]) >= 0.0 && number(&row["share"]) <= 1.0, "{row}");
    }

    // Three steps before the four; then as by --max-steps.
    assert!(place.path("run/checkpoints/step-00000007.safetensors").exists());
    let end = events.last().expect("an end");
    assert_eq!(
        (&end["event"], &end["step"], &end["finished"]),
        (&"finished".into(), &7.into(), &false.into())
    );
    let trace = std::fs::read_to_string(place.path("run/profile.json")).expect("the trace");
    let trace: Value = serde_json::from_str(&trace).expect("JSON");
    let spans = trace["traceEvents"].as_array().expect("events");
    let steps: Vec<&Value> = spans.iter().filter(|span| span["name"] == "step").collect();
    assert_eq!(steps.len(), 4);
    let wall = steps.iter().map(|span| number(&span["dur"])).sum::<f64>() / 4e3;
    assert!((wall - number(&profile["ms_per_step"])).abs() < 1e-3, "{wall}: {profile}");
    assert!(spans.iter().all(|span| span["ph"] == "X" && number(&span["dur"]) >= 0.0));
}

#[test]
fn a_profile_for_people_is_a_table_and_the_run_goes_on_later() {
    let place = Place::new();
    place.write("r.ron", TINY);
    let outcome = place.compute(&["run", "r.ron", "--out", "run", "--profile", "2"]).good();
    for part in ["profile of 2 steps, ", "\npart  ", "\nscript and engine  ", "run/profile.json"] {
        assert!(outcome.stdout.contains(part), "`{part}` is not in: {}", outcome.stdout);
    }
    assert!(outcome.stdout.contains("stopped by --profile after"), "{}", outcome.stdout);
    let more = ["run", "r.ron", "--out", "run", "--resume", "--profile", "20"];
    let outcome = place.compute(&more).good();
    assert!(outcome.stdout.contains("profile of 11 steps, "), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("done:"), "{}", outcome.stdout);
    let outcome = place.compute(&more).good();
    assert!(outcome.stdout.contains("no step was taken, the run is at its end"), "{}", outcome.stdout);
}

#[test]
fn what_a_profile_cannot_go_with_is_refused() {
    let place = Place::new();
    place.write("r.ron", TINY);
    let flags = |more: &[&'static str]| [&["run", "r.ron", "--profile"], more].concat();
    place.admix(&flags(&["0"])).bad_flag(&["--profile", "0"]);
    place.admix(&flags(&["3", "--max-steps", "5"])).bad_flag(&["--profile", "--max-steps"]);
    place.admix(&flags(&["3", "--dry-run"])).bad_flag(&["--profile", "--dry-run"]);
}

#[test]
fn a_stage_that_is_not_kept_is_run_again_in_each_backward_pass_through_it() {
    let place = Place::new();
    place.write("r.ron", TINY);
    let run = ["run", "r.ron", "--out", "run", "--profile", "2", "--format", "json"];
    let outcome = place.compute(&[&run[..], &["--set", "recompute_stages=[1]"]].concat()).good();
    let events = outcome.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let profile = events.into_iter().find(|event| event["event"] == "profile").expect("a profile");
    let rows = profile["rows"].as_array().expect("rows");
    // Clean and mixed images go through q; the attempt goes through k, whose pass for features has no graph.
    for (name, count) in [("stage 1 of q again", 2.0), ("stage 1 of k again", 1.0)] {
        let row = rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}: {profile}"));
        assert_eq!(row["per_step"], count, "{row}");
    }
}
