//! Words that scripts build targets, grids and branches from.

use std::collections::BTreeMap;

use admix_api::{MixInput, Mixer, Plan};
use admix_engine::{Execution, ScriptedMixer, Session, StepOptions, StepReport};
use admix_torch::{Device, Kind, Tensor};

use super::{batch, session};

pub const PLAIN: &str = r#"(
    epochs: 2, batch: 8, method: "mine.rhai", heads: ["one"], seed: 3,
    model: ConvNet(widths: [8, 16, 16], strides: [2, 2, 1]),
    mixers: {"mix": CutMix()}, queues: {"labels": (length: 16, width: 5)},
    optimizer: Sgd(lr: 0.05),
)"#;

/// A method of one step, which learns from the images as they are and does `body` besides.
pub fn method(body: &str) -> String {
    let learn =
        r#"t.learn(#{ one: t.loss("cross_entropy", t.pass("q", t.images).logits("one"), t.labels) });"#;
    format!("fn weights(t) {{ #{{ one: 1.0 }} }}\nfn step(t) {{\n{body}\n{learn}\n}}")
}

pub fn step(session: &mut Session, number: i64, execution: Execution) -> StepReport {
    let options = StepOptions { execution, detail: true, ..StepOptions::default() };
    session.step_with(vec![batch(number, 8)], &options).unwrap_or_else(|error| panic!("{error}"))
}

/// What `log` of a step says under "x", of a method that does `body` before it.
fn logged(body: &str) -> f64 {
    let script = method(body);
    let of = |execution| {
        let mut session = session(PLAIN, &script, 4).unwrap_or_else(|error| panic!("{body}: {error}"));
        let report = step(&mut session, 1, execution);
        let (_, value) = report.logged.iter().find(|(name, _)| name == "x").expect("it is logged");
        value.double_value(&[])
    };
    let (direct, recorded) = (of(Execution::Direct), of(Execution::Recorded));
    assert_eq!(direct.to_bits(), recorded.to_bits(), "{body}");
    direct
}

#[track_caller]
fn is_near(body: &str, wanted: f64) {
    let found = logged(body);
    assert!((found - wanted).abs() < 1e-6, "{body}: {found}, expected {wanted}");
}

#[test]
fn labels_become_rows_and_rows_become_labels() {
    is_near(r#"t.log("x", sum(one_hot(t.labels, 5)));"#, 8.0);
    is_near(r#"t.log("x", abs(argmax(one_hot(t.labels, 5), 1) - t.labels));"#, 0.0);
    // 1, 2, 3, 4, 0, 1, 2, 3 are the labels.
    is_near(r#"t.log("x", 1.0 * whole(t.labels >= 3));"#, 3.0 / 8.0);
    is_near(r#"t.log("x", 1.0 * arange(t.images, 0));"#, 3.5);
}

#[test]
fn numbers_may_stand_for_tensors_in_choices() {
    is_near(r#"t.log("x", where(t.labels >= 3, 2.0, -1.0));"#, (3.0 * 2.0 - 5.0) / 8.0);
    is_near(r#"t.log("x", where(t.labels, 1, 0));"#, 7.0 / 8.0);
    is_near(r#"t.log("x", maximum(1.0 * t.labels, 2));"#, (2.0 * 4.0 + 3.0 + 4.0 + 2.0 + 3.0) / 8.0);
    is_near(r#"t.log("x", minimum(0.5, 1.0 * t.labels));"#, 7.0 * 0.5 / 8.0);
}

#[test]
fn sizes_of_the_batch_are_numbers_of_the_script() {
    is_near(r#"t.log("x", t.labels * 0 + t.batch);"#, 8.0);
    is_near(r#"t.log("x", t.labels * 0 + size(t.images, -1) * size(t.images, 1));"#, 48.0);
    let message = session(PLAIN, &method("size(t.images, 4);"), 4)
        .and_then(|mut session| session.step(batch(0, 8)))
        .expect_err("no such axis")
        .to_string();
    assert!(message.contains("there is no axis 4 of the shape [8, 3, 16, 16]"), "{message}");
}

#[test]
fn images_are_taken_at_places_between_their_pixels() {
    let text = "fn mix(m) { #{ images: m.images, at: grid_sample(m.images, m.shown), near: resize_nearest(m.images, 4, 6) } }\n\
                fn needs() { #{ shown: true } }";
    let mut mixer = ScriptedMixer::compile(text, "m.rhai", &BTreeMap::new()).expect("a mixer");
    let images = Tensor::from_slice(&[1f32, 2.0, 3.0, 5.0, 7.0, 11.0]).reshape([1, 1, 2, 3]);
    // The centre of the whole, of the first pixel, and a place far outside.
    let grid = Tensor::from_slice(&[0f32, 0.0, -2.0 / 3.0, -0.5, 9.0, 0.0]).reshape([1, 1, 3, 2]);
    let plan = Plan::given(1.0, &[0]).on(Device::Cpu).expect("a plan");
    let input = MixInput { shown: Some(&grid), ..MixInput::of(&images) };
    let mixed = mixer.mix(&input, &plan).expect("a mix");
    let found = &mixed.extras["at"];
    for (at, wanted) in [4.5, 1.0, 0.0].into_iter().enumerate() {
        assert!((found.double_value(&[0, 0, 0, at as i64]) - wanted).abs() < 1e-6, "{found}");
    }
    assert!(
        mixed.extras["near"]
            .equal(&images.repeat_interleave_self_int(2, 2, None).repeat_interleave_self_int(2, 3, None))
    );
}

#[test]
fn what_comes_before_a_reversed_gradient_learns_the_opposite() {
    let script = |loss: &str| {
        format!(
            "fn weights(t) {{ #{{ one: 1.0 }} }}\nfn step(t) {{\n\
             let x = t.leaf(t.images); let p = t.pass(\"q\", {loss});\n\
             let g = t.learn(#{{ one: t.loss(\"cross_entropy\", p.logits(\"one\"), t.labels) }}, #{{ input_grad: x }});\n\
             t.log(\"x\", 1000.0 * g);\n}}"
        )
    };
    let of = |loss: &str| {
        let mut session = session(PLAIN, &script(loss), 4).unwrap_or_else(|error| panic!("{error}"));
        let report = step(&mut session, 1, Execution::Direct);
        (report.logged[0].1.double_value(&[]), report.losses[0].1.double_value(&[]))
    };
    let ((straight, loss), (reversed, same)) = (of("x"), of("reverse_gradient(x)"));
    assert!(
        straight != 0.0 && (straight + reversed).abs() < 1e-6 * straight.abs().max(1.0),
        "{straight} {reversed}"
    );
    assert_eq!(loss.to_bits(), same.to_bits(), "the values stay");
}

#[test]
fn a_flip_takes_both_branches_by_the_seed_and_the_dry_calls_try_both() {
    let script = method(r#"if t.flip("a", 0.5) { t.log("x", 1.0 * t.labels); }"#);
    let of = |execution| {
        let mut session = session(PLAIN, &script, 40).expect("a session");
        let taken: Vec<bool> =
            (0..40).map(|number| !step(&mut session, number, execution).logged.is_empty()).collect();
        (taken, session.recorded_variants())
    };
    let (direct, _) = of(Execution::Direct);
    let (recorded, variants) = of(Execution::Recorded);
    assert_eq!(direct, recorded);
    assert_eq!(variants, 2, "a branch is a step of its own");
    let ones = direct.iter().filter(|taken| **taken).count();
    assert!((8..=32).contains(&ones), "{ones} of 40");
    // A mistake in either branch is found before the run.
    for branch in [
        "if t.flip(\"a\", 0.9) { t.pass(\"oops\", t.images); }",
        "if !t.flip(\"a\", 0.9) { t.pass(\"oops\", t.images); }",
    ] {
        let mut session = session(PLAIN, &method(branch), 4).expect("a session");
        let message = session.dry_run([8, 3], 5, &[(16, 16)]).expect_err(branch).to_string();
        assert!(message.contains("oops"), "{message}");
    }
    for (call, part) in [("t.flip(\"a\", 1.5)", "flip `a` is 1.5"), ("t.coin(\"a\", -1)", "coin `a` is -1")] {
        let mut session = session(PLAIN, &method(&format!("{call};")), 4).expect("a session");
        let message = session.step(batch(0, 8)).expect_err(call).to_string();
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn the_parts_of_a_mix_are_tensors_of_the_script() {
    let mix = r#"let m = t.quiet("mix", #{ as: "m", images: t.images });"#;
    is_near(&format!(r#"{mix} t.log("x", abs(narrow(m.sources, 1, 1, 1) - stack([m.partner], 1)));"#), 0.0);
    is_near(&format!(r#"{mix} t.log("x", sum_over(m.shares, 1));"#), 1.0);
    let message = session(PLAIN, &method(&format!(r#"{mix} m.extra("placed");"#)), 4)
        .and_then(|mut session| session.step(batch(0, 8)))
        .expect_err("CutMix has none")
        .to_string();
    assert!(message.contains("this mix has no `placed`; its extras are none"), "{message}");
}

#[test]
fn a_target_may_name_the_labels_of_partners_of_another_view_and_weights_of_its_own() {
    let script = |target: &str| {
        format!(
            "fn weights(t) {{ #{{ one: 1.0 }} }}\nfn step(t) {{\n\
             let m = t.quiet(\"mix\", #{{ as: \"m\", images: t.images }});\n\
             t.learn(#{{ one: t.loss(\"mixup_cross_entropy\", t.pass(\"q\", m).logits(\"one\"), {target}) }});\n}}"
        )
    };
    let loss = |target: &str| {
        let mut session = session(PLAIN, &script(target), 4).unwrap_or_else(|error| panic!("{error}"));
        step(&mut session, 1, Execution::Direct).losses[0].1.double_value(&[])
    };
    let own = loss("m.target(t.labels)");
    assert_eq!(loss("m.target(t.labels, t.labels)").to_bits(), own.to_bits());
    assert_ne!(loss("m.target(t.labels, whole(t.labels * 0.0))"), own);
    assert_eq!(loss("t.target(m.sources, m.shares, t.labels)").to_bits(), own.to_bits());
    let twice = loss("t.target(m.sources, 2.0 * m.shares, t.labels)");
    assert!((twice - 2.0 * own).abs() < 1e-5, "{twice} {own}");
    let message = session(PLAIN, &script("t.target(m.sources, m.partner, t.labels)"), 4)
        .and_then(|mut session| session.step(batch(0, 8)))
        .expect_err("as many shares as sources")
        .to_string();
    assert!(message.contains("`t.target` takes samples [N, S]"), "{message}");
}

#[test]
fn a_queue_may_have_a_width_of_its_own() {
    let script = method(r#"t.log("x", t.queue("labels")); t.enqueue("labels", one_hot(t.labels, 5));"#);
    let mut session = session(PLAIN, &script, 4).expect("a session");
    for number in 0..2 {
        step(&mut session, number, Execution::Direct);
    }
    let entries = &session.tensors()["queue.labels.entries"];
    assert_eq!(entries.size(), [5, 16]);
    assert_eq!(entries.sum(Kind::Float).double_value(&[]), 16.0);
}

#[test]
fn a_nearest_pixel_is_taken_at_the_size_of_another_image_and_lerp_takes_a_number() {
    let small = "narrow(narrow(t.images, 2, 0, 4), 3, 0, 5)";
    let like = logged(&format!("t.log(\"x\", nearest_like(t.images, {small}) * {small});"));
    let plain = logged(&format!("t.log(\"x\", resize_nearest(t.images, 4, 5) * {small});"));
    assert_eq!(like.to_bits(), plain.to_bits());
    let mixed = logged("t.log(\"x\", lerp(t.images, 3.0 * t.images, 0.25) ** 2.0);");
    let wanted = logged("t.log(\"x\", (1.5 * t.images) ** 2.0);");
    assert!((mixed / wanted - 1.0).abs() < 1e-5, "{mixed}, {wanted}");
    // Labels too: their sum is 16 of 8.
    is_near(r#"t.log("x", lerp(t.labels, 0.0 * t.labels, 0.25));"#, 1.5);
    is_near(r#"t.log("x", lerp(t.labels, t.labels, 0.25));"#, 2.0);
    let script = method("t.log(\"x\", nearest_like(t.labels, t.images));");
    let mut session = session(PLAIN, &script, 4).expect("a session");
    let refused = session.step(batch(1, 8)).expect_err("labels are no images").to_string();
    assert!(refused.contains("`nearest_like` takes images [N, C, H, W], got the shape [8]"), "{refused}");
}

#[test]
fn operands_that_do_not_go_together_are_named_with_their_shapes() {
    for (word, parts) in [
        ("matmul(t.images, t.labels)", &["`matmul` does not go with", "of Float and [8] of Int64"][..]),
        ("reshape(t.images, [7])", &["`reshape` does not go with", "with the numbers [7]"]),
        ("gather(t.images, t.labels, 0)", &["`gather` does not go with", "[8] of Int64"]),
        (
            "select(t.images, t.labels + 100.0)",
            &["`select` does not go with", "[8] of Float", "`whole(...)`"],
        ),
        ("cat([t.images, one_hot(t.labels, 5)], 0)", &["`cat` does not go with", "[8, 5]"]),
    ] {
        let script = method(&format!("t.log(\"x\", {word});"));
        let mut session = session(PLAIN, &script, 4).expect("a session");
        let refused = session.step(batch(1, 8)).expect_err(word).to_string();
        assert!(parts.iter().all(|part| refused.contains(part)), "{word}: {refused}");
    }
}
