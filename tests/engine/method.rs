//! What a method script may say, and what it is told when it says something else.

use admix_engine::{Error, Method};

use super::{AMIX, batch, session};

/// The message that the first step of a method ends with.
fn message(body: &str) -> String {
    let script = format!("fn weights(t) {{ #{{ a: 1.0, b: 1.0 }} }}\nfn step(t) {{\n{body}\n}}");
    let outcome = session(AMIX, &script, 10).and_then(|mut s| s.step(batch(0, 8)).map(drop));
    outcome.expect_err("an error").to_string()
}

#[track_caller]
fn says(body: &str, parts: &[&str]) {
    let message = message(body);
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
    assert!(!message.contains('\n'), "one line: {message}");
}

#[test]
fn an_unknown_verb_is_named_with_its_place_and_the_nearest() {
    says("t.pas(\"q\", t.images);", &["test.rhai:3:3", "`pas`", "`pass`"]);
}

#[test]
fn an_unknown_property_is_named_with_its_place_and_the_nearest() {
    says("let x = t.imges;", &["test.rhai:3:", "`imges`", "`images`"]);
}

#[test]
fn unknown_networks_heads_mixers_and_losses_are_named_with_those_that_are_there() {
    says("t.pass(\"kk\", t.images);", &["test.rhai:3:", "`kk`", "`q`", "`k`"]);
    says("t.pass(\"q\", t.images).logits(\"on\");", &["`on`", "`one`", "`mix`"]);
    says("t.mix(\"amx\", #{ as: \"m\", images: t.images });", &["`amx`", "`amix`"]);
    says("t.loss(\"cross_entrpy\", t.images, t.labels);", &["`cross_entrpy`", "`cross_entropy`"]);
}

#[test]
fn a_mix_wants_exactly_the_keys_that_its_mixer_needs() {
    says("t.mix(\"amix\", #{ as: \"m\", images: t.images });", &["test.rhai:3:", "needs `features`"]);
    says(
        "let z = t.pass(\"k\", t.images).features(\"amix\");\nt.mix(\"amix\", #{ as: \"m\", images: t.images, features: z, saliency: z });",
        &["test.rhai:4:", "takes no `saliency`"],
    );
    says("t.mix(\"amix\", #{ images: t.images });", &["needs `as`"]);
}

#[test]
fn a_draw_name_is_used_once() {
    says(
        "let x = t.images; let z = t.pass(\"k\", x).features(\"amix\");\n\
         t.quiet(\"amix\", #{ as: \"m\", images: x, features: z });\n\
         t.quiet(\"amix\", #{ as: \"m\", images: x, features: z });",
        &["test.rhai:5:", "`m`", "line 4"],
    );
}

#[test]
fn a_term_is_learned_once() {
    says(
        "let p = t.pass(\"q\", t.images);\n\
         t.learn(#{ a: t.loss(\"cross_entropy\", p.logits(\"one\"), t.labels) });\n\
         let r = t.pass(\"q\", t.images);\n\
         t.learn(#{ a: t.loss(\"cross_entropy\", r.logits(\"one\"), t.labels) });",
        &["`a`", "line 4", "line 6"],
    );
}

#[test]
fn a_spent_graph_is_refused_naming_both_lines() {
    says(
        "let p = t.pass(\"q\", t.images);\n\
         t.learn(#{ a: t.loss(\"cross_entropy\", p.logits(\"one\"), t.labels) });\n\
         t.learn(#{ b: t.loss(\"cross_entropy\", p.logits(\"mix\"), t.labels) });",
        &["test.rhai:5:", "`b`", "line 4"],
    );
    // The mask of a mix whose image was learned from.
    says(
        "let x = t.images; let z = t.pass(\"k\", x).features(\"amix\");\n\
         let m = t.mix(\"amix\", #{ as: \"m\", images: x, features: z });\n\
         t.learn(#{ a: t.loss(\"mixup_cross_entropy\", t.pass(\"k\", m).logits(\"one\"), m.target(t.labels)) });\n\
         t.learn(#{ b: t.loss(\"mask\", m) });",
        &["test.rhai:6:", "`b`", "line 5"],
    );
}

#[test]
fn a_gradient_wants_a_graph_that_leads_to_its_input() {
    let pass = "let x = t.leaf(t.images); let p = t.pass(\"q\", t.images);\n\
                let loss = t.loss(\"cross_entropy\", p.logits(\"one\"), t.labels);\n";
    says(&format!("{pass}t.gradient(loss, x);"), &["test.rhai:5:", "line 3", "t.leaf(t.images)"]);
    says(&format!("{pass}t.gradient(loss, t.images);"), &["test.rhai:5:", "no graph"]);
    says(&format!("{pass}t.gradient(detach(loss), p.features(2));"), &["test.rhai:5:", "no graph"]);
    says(
        &format!("{pass}t.learn(#{{ a: loss }}, #{{ input_grad: x }});"),
        &["test.rhai:5:", "line 3", "no term"],
    );
    says(
        &format!("{pass}t.learn(#{{ a: loss }}, #{{ input_grad: t.images }});"),
        &["takes a leaf", "line 3"],
    );
    says(&format!("{pass}t.learn(#{{ a: loss }}, #{{ input_grad: 3 }});"), &["must be a leaf", "a number"]);
    says(&format!("{pass}t.learn(#{{ a: loss }}, #{{ input_grd: x }});"), &["`input_grd`", "`input_grad`"]);
    says(&format!("{pass}t.learn(#{{ a: loss }}, #{{ }});"), &["test.rhai:5:", "input_grad"]);
    says("let x = t.leaf(t.images);\nt.gradient(x, x);", &["test.rhai:4:", "[8, 3, 16, 16]", "`mean`"]);
    says("let x = t.leaf(t.labels);", &["test.rhai:3:", "floating point"]);
    says("let x = t.leaf(3);", &["`leaf` takes images", "a number"]);
    says("t.evaluating(\"kk\");", &["test.rhai:3:", "`kk`", "`q`, `k`"]);
    // A leaf alone is nothing to learn from.
    says(
        "let x = t.leaf(t.images);\n\
         t.learn(#{ a: t.loss(\"cross_entropy\", t.pass(\"k\", x).logits(\"one\"), t.labels) }, #{ input_grad: x });",
        &["test.rhai:4:", "reaches a trained parameter"],
    );
}

#[test]
fn a_graph_that_a_gradient_used_up_is_refused_naming_both_lines_and_the_way_to_both() {
    let pass = "let x = t.leaf(t.images); let p = t.pass(\"q\", x);\n\
                let loss = t.loss(\"cross_entropy\", p.logits(\"one\"), t.labels);\n\
                let g = t.gradient(loss, x);\n";
    let parts = ["test.rhai:6:", "`gradient` in line 5", "`a`", "input_grad"];
    says(&format!("{pass}t.learn(#{{ a: loss }});"), &parts);
    says(&format!("{pass}t.gradient(loss, x);"), &["test.rhai:6:", "this `gradient`", "line 5"]);
    // The leaf is a place: another pass over it has another graph.
    let again = "t.learn(#{ a: t.loss(\"cross_entropy\", t.pass(\"q\", x).logits(\"one\"), t.labels) });";
    let script = format!("fn weights(t) {{ #{{ a: 1.0 }} }}\nfn step(t) {{\n{pass}{again}\n}}");
    session(AMIX, &script, 10).and_then(|mut s| s.step(batch(0, 8)).map(drop)).expect("a step");
    says(
        "let x = t.leaf(t.images); let p = t.pass(\"q\", x);\n\
         let loss = t.loss(\"cross_entropy\", p.logits(\"one\"), t.labels);\n\
         let g = t.learn(#{ a: loss }, #{ input_grad: x });\n\
         t.gradient(t.loss(\"cross_entropy\", p.logits(\"mix\"), t.labels), x);",
        &["test.rhai:6:", "`learn` in line 5"],
    );
}

#[test]
fn draws_of_a_method_have_names_of_their_own_and_chances_in_range() {
    says("t.coin(\"a\", 0.5);\nt.uniform(\"a\");", &["test.rhai:4:", "`a`", "line 3"]);
    says("t.coin(\"a\", 1.5);", &["test.rhai:3:", "`a`", "1.5", "[0, 1]"]);
    says("t.coin(\"a\", t.images);", &["must be a number", "a tensor"]);
    says("t.uniform(\"a\", 3);", &["test.rhai:3:", "`uniform` does not take these arguments"]);
}

#[test]
fn a_term_without_a_weight_is_refused() {
    says(
        "t.learn(#{ c: t.loss(\"cross_entropy\", t.pass(\"q\", t.images).logits(\"one\"), t.labels) });",
        &["`c`", "`weights`", "`a`", "`b`"],
    );
}

#[test]
fn learning_from_what_reaches_no_parameter_is_refused() {
    says(
        "t.learn(#{ a: t.loss(\"cross_entropy\", t.pass(\"k\", t.images).logits(\"one\"), t.labels) });",
        &["test.rhai:3:", "reaches a trained parameter"],
    );
}

#[test]
fn a_loop_without_end_is_stopped() {
    says("loop { }", &["test.rhai:", "does not end"]);
}

#[test]
fn syntax_errors_have_a_place() {
    let error = Method::compile("fn step(t) {\n  let = 3;\n}", "bad.rhai").expect_err("an error");
    assert!(matches!(&error, Error::Script { line: 2, .. }), "{error}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn scripts_have_no_clock_files_or_evaluation() {
    for body in ["timestamp();", "eval(\"1\");", "open_file(\"x\");"] {
        assert!(
            session(AMIX, &format!("fn weights(t) {{ #{{}} }} fn step(t) {{ {body} }}"), 1)
                .and_then(|mut s| s.step(batch(0, 8)).map(drop))
                .is_err()
        );
    }
    assert!(
        Method::compile("import \"x\" as y; fn weights(t) { #{} } fn step(t) { }", "x.rhai").is_err()
            || message("import \"x\" as y;").contains("module")
    );
}

#[test]
fn weights_and_schedule_cannot_touch_tensors() {
    let script = "fn weights(t) { t.images; #{} } fn step(t) { }";
    let error = session(AMIX, script, 1).expect_err("an error").to_string();
    assert!(error.contains("only `step`"), "{error}");
    let script = "fn weights(t) { #{ a: 1 } } fn schedule(t) { #{ momentun: 0.9 } } fn step(t) { }";
    let error = session(AMIX, script, 1).and_then(|mut s| s.step(batch(0, 8)).map(drop));
    let error = error.expect_err("an error").to_string();
    assert!(error.contains("`momentun`") && error.contains("`ema`"), "{error}");
}

#[test]
fn the_vocabulary_computes_and_differentiates() {
    // A cross-entropy written out; its value equals the bundled one.
    let script = "
        fn weights(t) { #{ own: 1, theirs: 0 } }
        fn step(t) {
            let logits = t.pass(\"q\", t.images).logits(\"one\");
            let picked = gather(log_softmax(logits, 1), resize_labels(t), 1);
            t.learn(#{ own: -mean(picked), theirs: t.loss(\"cross_entropy\", logits, t.labels) });
        }
        fn resize_labels(t) { stack([t.labels], 1) }";
    let mut session = session(AMIX, script, 3).expect("a session");
    let report = session.step(batch(0, 8)).expect("a step");
    let value = |term: &str| {
        report.losses.iter().find(|(n, _)| n == term).map(|(_, v)| v.double_value(&[])).expect("a term")
    };
    assert!((value("own") - value("theirs")).abs() < 1e-6);
}

#[test]
fn a_number_of_the_script_may_change_every_step_without_a_new_trace() {
    let script = "
        fn weights(t) { #{ a: 1.0 } }
        fn step(t) {
            let logits = t.pass(\"q\", t.images).logits(\"one\");
            t.learn(#{ a: t.loss(\"cross_entropy\", logits * (1.0 + t.progress), t.labels) });
        }";
    let options = admix_engine::StepOptions {
        execution: admix_engine::Execution::Recorded,
        ..admix_engine::StepOptions::default()
    };
    let mut session = session(AMIX, script, 10).expect("a session");
    for step in 0..5 {
        session.step_with(vec![batch(step, 8)], &options).expect("a step");
    }
    assert_eq!(session.recorded_variants(), 1);
}
