//! Groups that a step leaves as they are.

use std::collections::BTreeMap;

use admix_engine::{Execution, Session, StepOptions, StepReport, bundled};
use admix_torch::Tensor;

use super::{AMIX, batch, differing, session};

/// The bundled script with another first line of its step.
fn begins_with(line: &str) -> String {
    let (script, _) = bundled::script("amix").expect("the bundled script");
    assert_eq!(script.matches("fn step(t) {\n").count(), 1);
    script.replace("fn step(t) {\n", &format!("fn step(t) {{ {line}\n"))
}

fn step(session: &mut Session, number: i64, execution: Execution) -> StepReport {
    let options = StepOptions { execution, detail: true, ..StepOptions::default() };
    session.step_with(vec![batch(number, 8)], &options).unwrap_or_else(|error| panic!("{error}"))
}

fn copies(session: &Session) -> BTreeMap<String, Tensor> {
    session.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect()
}

/// Whether a tensor is a parameter of the optimiser or its state.
fn is_trained(name: &str) -> bool {
    !name.starts_with("net.k.") && !name.contains("running_")
}

#[test]
fn a_frozen_group_keeps_every_bit_of_its_parameters_and_momenta_for_the_step() {
    for (group, prefix) in [("q.backbone", "net.q.backbone."), ("q.head.one", "net.q.head.one.")] {
        let script = begins_with(&format!("if t.step == 1 {{ t.freeze(\"{group}\"); }}"));
        let mut ends = Vec::new();
        for execution in [Execution::Direct, Execution::Recorded] {
            let mut session = session(AMIX, &script, 4).expect("a session");
            // Momentum is there, and weight decay would move every weight.
            step(&mut session, 0, execution);
            for (number, frozen) in [(1, true), (2, false)] {
                let before = copies(&session);
                let report = step(&mut session, number, execution);
                let moved = differing(&before, &session.tensors());
                let within = |name: &String| {
                    name.strip_prefix("optimizer.momentum.").unwrap_or(name).starts_with(prefix)
                };
                let parameters: Vec<&String> =
                    before.keys().filter(|name| is_trained(name) && within(name)).collect();
                assert!(parameters.len() >= 4, "{parameters:?}");
                for name in parameters {
                    assert_eq!(moved.contains(name), !frozen, "{group}, step {number}: {name}");
                }
                assert_eq!(report.gradients.keys().any(within), !frozen, "{group}, step {number}");
                for other in
                    ["net.q.head.mix.fc.weight", "mixer.amix.value.fc1.weight", "net.k.head.mix.fc.weight"]
                {
                    assert!(moved.iter().any(|name| name == other), "{group}, step {number}: {other}");
                }
                // BatchNorms of a train-mode pass see the batch all the same.
                assert!(moved.iter().any(|name| name == "net.q.backbone.bn1.running_mean"), "{group}");
            }
            ends.push(copies(&session));
        }
        assert_eq!(differing(&ends[0], &ends[1]), Vec::<String>::new(), "{group}: recorded steps");
    }
}

/// In which of four steps the mixer of AMix learns, and from how many images; in which steps k sees images.
fn lessons(recipe: &str, script: &str) -> (Vec<(i64, i64)>, Vec<i64>) {
    let mut session = session(recipe, script, 4).expect("a session");
    let (mut taught, mut seen) = (Vec::new(), Vec::new());
    for number in 0..4 {
        let before = copies(&session);
        let report = step(&mut session, number, Execution::Direct);
        let moved = differing(&before, &session.tensors());
        assert!(moved.iter().any(|name| name == "net.q.backbone.conv1.weight"));
        let of_mixer = moved.iter().any(|name| name.starts_with("mixer.amix.") && is_trained(name));
        assert_eq!(of_mixer, report.mixes.contains_key("attempt"), "step {number}");
        taught.extend(report.mixes.get("attempt").map(|mix| (number, mix.images.size()[0])));
        seen.extend(moved.iter().any(|name| name == "net.k.backbone.bn1.running_mean").then_some(number));
    }
    (taught, seen)
}

#[test]
fn the_clock_can_say_when_a_mixer_begins_to_learn() {
    let (script, _) = bundled::script("amix").expect("the bundled script");
    let every = "t.step % t.count(\"attempt_every\", 1) == 0";
    assert!(script.contains(every), "{script}");
    assert_eq!(lessons(AMIX, &script.replace(every, "t.step >= 2")).0, [(2, 8), (3, 8)]);
}

#[test]
fn amix_can_learn_in_some_steps_from_a_part_of_the_batch_and_the_features_of_q() {
    let (script, _) = bundled::script("amix").expect("the bundled script");
    let less = |params: &str| AMIX.replacen("mixers:", &format!("params: {{{params}}}, mixers:"), 1);
    let all = r#""attempt_every": 2, "attempt_parts": 2, "features_of": "q""#;
    assert_eq!(lessons(&less(all), script), (vec![(0, 4), (2, 4)], vec![0, 2]));
    assert_eq!(lessons(AMIX, script).0, [(0, 8), (1, 8), (2, 8), (3, 8)]);
    for name in ["attempt_every", "attempt_parts"] {
        for (wrong, told) in [("0.0", "0"), ("1.5", "1.5")] {
            let message = session(&less(&format!("{name:?}: {wrong}")), script, 4)
                .and_then(|mut session| session.step(batch(0, 8)))
                .expect_err("refused")
                .to_string();
            assert!(message.contains(&format!("params.{name} is {told}, expected a whole")), "{message}");
        }
    }
}

#[track_caller]
fn refused(script: &str, parts: &[&str]) {
    let message = session(AMIX, script, 4)
        .and_then(|mut session| session.step(batch(0, 8)))
        .expect_err("a mistake")
        .to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn what_cannot_be_frozen_is_told_with_a_way_out() {
    let groups = ["no group named `q.backbon`", "`q`", "`q.head`", "`amix`", "Did you mean `q.backbone`?"];
    refused(&begins_with("t.freeze(\"q.backbon\");"), &groups);
    // Nobody trains what follows.
    refused(&begins_with("t.freeze(\"k\");"), &["no group named `k`", "`q.backbone`"]);
    let late =
        "t.learn(#{ one: t.loss(\"cross_entropy\", t.pass(\"q\", t.images).logits(\"one\"), t.labels) });";
    refused(
        &begins_with(&format!("\n{late}\nt.freeze(\"q\");")),
        &["`learn` in line", "before the first `learn`"],
    );
    refused(
        &begins_with("t.freeze(\"amix\");"),
        &["reaches a trained parameter", "Frozen since line", "`amix`"],
    );
    refused(
        &begins_with("t.freeze(\"q.backbone\"); t.freeze(\"q.head\"); t.freeze(\"amix\");"),
        &["reaches a trained parameter", ": `q.backbone`, `q.head`, `amix`;"],
    );
}

#[test]
fn a_step_that_fails_leaves_nothing_frozen() {
    let script = begins_with("if t.step == 0 { t.freeze(\"q\"); throw \"stop\"; }");
    let mut session = session(AMIX, &script, 4).expect("a session");
    session.step(batch(0, 8)).expect_err("stopped");
    let mut clock = session.clock();
    clock.step = 1;
    session.set_clock(clock);
    let report = step(&mut session, 0, Execution::Direct);
    assert!(report.gradients.contains_key("net.q.backbone.conv1.weight"));
}
