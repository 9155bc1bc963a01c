//! Passes that go on from a map, and mixes of maps in a way of a policy's own.

use admix_engine::{Execution, Session};

use super::words::{PLAIN, step};
use super::{batch, differing, session};

fn learn(logits: &str) -> String {
    format!(
        "fn weights(t) {{ #{{ one: 1.0 }} }}\nfn step(t) {{\n  let p = t.pass(\"q\", t.images);\n  \
         t.learn(#{{ one: t.loss(\"cross_entropy\", {logits}, t.labels) }});\n}}"
    )
}

fn trained(text: &str, script: &str, execution: Execution) -> Session {
    let mut session = session(text, script, 4).unwrap_or_else(|error| panic!("{script}: {error}"));
    (0..3).for_each(|number| drop(step(&mut session, number, execution)));
    session
}

#[test]
fn a_pass_that_goes_on_from_its_own_map_is_the_whole_pass() {
    let whole = trained(PLAIN, &learn("p.logits(\"one\")"), Execution::Direct);
    for stage in 0..=3 {
        for execution in [Execution::Direct, Execution::Recorded] {
            let script = learn(&format!("t.resume(\"q\", p.features({stage}), {stage}).logits(\"one\")"));
            let resumed = trained(PLAIN, &script, execution);
            assert_eq!(
                differing(&whole.tensors(), &resumed.tensors()),
                Vec::<String>::new(),
                "stage {stage}"
            );
        }
    }
}

#[test]
fn maps_and_images_in_the_wrong_place_are_told_in_words() {
    for (logits, part) in [
        (
            "t.pass(\"q\", p.features(1)).logits(\"one\")",
            "a pass takes images [N, 3, H, W], got the shape [8, 8, 8, 8]; the map",
        ),
        (
            "t.resume(\"q\", t.images, 2).logits(\"one\")",
            "`resume` of `q` takes the map of its stage 2, [N, 16, h, w]",
        ),
        (
            "t.resume(\"q\", p.features(1), 4).logits(\"one\")",
            "starts with the output of a stage, 0 to 3; got 4",
        ),
        ("t.resume(\"q\", p.features(1), -1).logits(\"one\")", "0 to 3; got -1"),
    ] {
        let outcome = session(PLAIN, &learn(logits), 4).and_then(|mut session| session.step(batch(0, 8)));
        let message = outcome.expect_err(logits).to_string();
        assert!(message.contains(part), "{message}");
    }
    let vit = PLAIN.replace(
        "ConvNet(widths: [8, 16, 16], strides: [2, 2, 1])",
        "ViT(image: 16, patch: 4, width: 0.125)",
    );
    let script = learn("t.resume(\"q\", p.features(1), 1).logits(\"one\")");
    let message =
        session(&vit, &script, 4).and_then(|mut session| session.step(batch(0, 8))).expect_err("cells alone");
    assert!(
        message.to_string().contains("cells alone lack it, so mix inside of the network by a mixer"),
        "{message}"
    );
}

/// Trains with a scripted mixer that mixes at stage 2.
fn with_mixer(name: &str, script: &str, execution: Execution) -> Result<Session, admix_engine::Error> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(name);
    std::fs::write(&file, script).expect("written");
    let text = PLAIN.replace("CutMix()", &format!("Script({:?})", file.display().to_string()));
    let method = "fn weights(t) { #{ one: 1.0 } }\nfn step(t) {\n  let m = t.quiet(\"mix\", #{ as: \"m\", images: t.images });\n  \
                  t.learn(#{ one: t.loss(\"mixup_cross_entropy\", t.pass(\"q\", m).logits(\"one\"), m.target(t.labels)) });\n}";
    let mut session = session(&text, method, 4)?;
    for number in 0..3 {
        let options = admix_engine::StepOptions { execution, ..Default::default() };
        session.step_with(vec![batch(number, 8)], &options)?;
    }
    Ok(session)
}

#[test]
fn a_script_that_mixes_maps_by_lambda_has_the_bits_of_a_mask_of_lambda() {
    let start =
        "fn needs() { #{ hidden: 2 } }\nfn plan(d) { #{ structure: 2 } }\nfn mix(m) { #{ stage: 2 } }\n";
    let masked = with_mixer("a.rhai", start, Execution::Direct).expect("trains");
    let mapped = format!("{start}fn map(m) {{ lerp(m.partner_map, m.map, over_images(m.lambda)) }}");
    for execution in [Execution::Direct, Execution::Recorded] {
        let mapped = with_mixer("b.rhai", &mapped, execution).expect("trains");
        assert_eq!(differing(&masked.tensors(), &mapped.tensors()), Vec::<String>::new(), "{execution:?}");
    }
    // Each channel from one of both.
    let channels = start
        .replace("stage: 2 }", "stage: 2, mask: reshape(1.0 * (arange(m.images, 1) >= 9), [1, -1, 1, 1]) }");
    let message =
        with_mixer("c.rhai", &channels, Execution::Direct).expect_err("3 shares for 16 channels").to_string();
    assert!(message.contains("for maps of 16 channels"), "{message}");
    for (map, part) in [
        ("fn map(m) { 1.0 }", "`map` must return a map, got 1.0"),
        ("fn map(m) { flatten(m.map) }", "`map` returned the shape [8, "),
        ("fn map(m) { m.maps }", "Did you mean `map`?"),
    ] {
        let message =
            with_mixer("d.rhai", &format!("{start}{map}"), Execution::Direct).expect_err(map).to_string();
        assert!(message.contains(part) && message.contains("d.rhai:4:"), "{message}");
    }
    let early = start.replace("stage: 2 }", "stage: 2, mask: m.map }");
    let message = with_mixer("e.rhai", &early, Execution::Direct).expect_err("no map yet").to_string();
    assert!(message.contains("`map` is there while `fn map(m)` runs"), "{message}");
}

#[test]
fn weights_of_sources_need_not_sum_to_one_but_shares_must_be_one_of_both() {
    let mix = |credit: &str| {
        format!(
            "fn mix(m) {{\n  let s = stack([arange(m.images, 0), m.partner], 1);\n  #{{ images: m.images, {credit} }}\n}}"
        )
    };
    let run = |credit: &str| with_mixer("w.rhai", &mix(credit), Execution::Direct);
    let half = run("sources: s, weights: 0.25 + 0.0 * s").expect("trains");
    let whole = run("sources: s, shares: 0.5 + 0.0 * s").expect("trains");
    assert!(!differing(&half.tensors(), &whole.tensors()).is_empty());
    for (credit, part) in [
        ("sources: s", "returned `sources` without `shares` or `weights`"),
        ("weights: 1.0 * s", "returned `weights` without `sources`"),
        ("sources: s, shares: 1.0 * s, weights: 1.0 * s", "return one"),
    ] {
        let message = run(credit).expect_err(credit).to_string();
        assert!(message.contains(part), "{message}");
    }
}
