//! Numbers that float32 does not hold, and values that are none.

use super::{Outcome, Place, TINY};

const WEIGHTS: &str = "fn weights(t) { #{ one: 1.0, mix: 1.0 } }";

/// Learns both terms from the images as they are.
const LEARN: &str = "let p = t.pass(\"q\", x);
    t.pass(\"k\", x).finish();
    t.learn(#{
        one: t.loss(\"cross_entropy\", p.logits(\"one\"), t.labels),
        mix: t.loss(\"cross_entropy\", p.logits(\"mix\"), t.labels),
    });";

fn run(recipe: &str, files: &[(&str, &str)], flags: &[&str]) -> (Place, Outcome) {
    let place = Place::new();
    place.write("r.ron", recipe);
    files.iter().for_each(|(name, text)| place.write(name, text));
    let outcome = place.compute(&[&["run", "r.ron", "--out", "run"], flags].concat());
    (place, outcome)
}

#[test]
fn a_number_of_a_recipe_that_float32_does_not_hold_is_refused_with_its_field() {
    for (flag, parts) in [
        ("optimizer.lr=1e300", &["`optimizer.lr` is 1e300", "3.4e38"][..]),
        ("optimizer.weight_decay=1e39", &["`optimizer.weight_decay` is 1e39", "3.4e38"]),
        ("weights.one=-1e39", &["`weights.one` is -1e39", "3.4e38"]),
        ("losses.mask.margin=1e40", &["`losses.mask.margin` is 1e40", "3.4e38"]),
        ("mixers.amix.alpha=1e300", &["`mixers.amix.alpha` is 1e300", "3.4e38"]),
        ("mixers.amix.prob=1e300", &["`mixers.amix.prob` is 1e300", "[0, 1]"]),
        ("mixers.amix.until=Share(1e300)", &["`mixers.amix.until` is 1e300"]),
        ("params.min_lr=1e300", &["`params.min_lr` is 1e300", "3.4e38"]),
        ("data.mean=[1e39]", &["`data.mean` is [1e39]", "3.4e38"]),
        ("data.std=[1e-300]", &["`data.std` is [1e-300]", "numbers above"]),
        (
            "data.mean=[123.675, 116.28, 103.53]",
            &["`data.mean` is", "numbers from 0 to 1", "divide values for 0 to 255"],
        ),
        ("data.std=[58.395, 57.12, 57.375]", &["`data.std` is", "numbers from 0.001 to 1"]),
        ("min_lr=1e300", &["`min_lr` is 1e300"]),
        ("weights={\"one\": 1.0, \"one\": 2.0}", &["`one` is there twice"]),
    ] {
        let (place, outcome) = run(TINY, &[], &["--set", flag]);
        outcome.refused(2, parts);
        assert!(!place.path("run").exists(), "{flag}");
    }
    let (_, outcome) = run(&TINY.replace("lr: 0.1", "lr: 1e300"), &[], &[]);
    outcome.refused(2, &["r.ron:11:24: ", "`optimizer.lr` is 1e300"]);
}

#[test]
fn a_number_of_a_method_that_float32_does_not_hold_is_refused_with_its_line() {
    let step = |body: &str| format!("{WEIGHTS}\nfn step(t) {{ let x = t.images;\n{body}\n{LEARN} }}");
    let schedule = |map: &str| format!("fn schedule(t) {{ {map} }}\n{}", step(""));
    for (script, parts) in [
        (step("x = x * 1e39;"), &["s.rhai:3:7: ", "the number of `mul` is 1e39", "3.4e38"][..]),
        (step("x = clamp(x, 0.0, 1.0 / 0.0);"), &["s.rhai:3:5: ", "the number of `clamp` is inf"]),
        (step("").replace("one: 1.0", "one: 1e39"), &["s.rhai:1:1: ", "the weight of `one` is 1e39"]),
        (
            step("").replace("one: 1.0, mix", "one: 1.0, one: 2.0, mix"),
            &["s.rhai:1:", "Duplicated property for object map literal: one"],
        ),
        (schedule("#{ lr: 1e39 }"), &["s.rhai:1:1: ", "`lr` in `schedule` is 1e39", "3.4e38"]),
        (
            schedule("#{ lr: -0.1 }"),
            &["s.rhai:1:1: ", "`lr` in `schedule` is -0.1", "a learning rate from 0"],
        ),
    ] {
        let (place, outcome) = run(TINY, &[("s.rhai", &script)], &["--script", "s.rhai"]);
        outcome.refused(2, parts);
        assert!(!place.path("run").exists(), "{script}");
    }
}

#[test]
fn a_scripted_mix_whose_mask_or_lambda_is_none_is_blamed_for_it() {
    let recipe = TINY
        .replace("{\"amix\": AMix(alpha: 2.0)}", "{\"mine\": Script(\"mine.rhai\")}")
        .replace("method: \"amix\"", "method: \"mixup\"")
        .replace(r#"heads: ["one", "mix"]"#, r#"heads: ["one"]"#)
        .replace("heads: [\"one\", \"mix\"]", "heads: [\"one\"]")
        .replace("losses: {\"mask\": Mask(margin: 0.1)},", "")
        .replace("pairs: [(from: \"q\", to: \"k\", momentum: 0.99)],", "")
        .replace("\"mine\":", "\"mix\":");
    for (returned, parts) in [
        ("mask: zeros_like(narrow(m.images, 1, 0, 1)) + 50.0", &["a mask that is off by 49", "[0, 1]"][..]),
        ("lambda: log(m.plan(\"lambda\") - 2.0)", &["a `lambda` or shares that are not finite"]),
        ("mask: log(zeros_like(narrow(m.images, 1, 0, 1)) - 1.0)", &["a mask that is not finite"]),
    ] {
        let mixer = format!("fn mix(m) {{ #{{ images: m.images, {returned} }} }}");
        let (_, outcome) = run(&recipe, &[("mine.rhai", &mixer)], &[]);
        outcome.refused(2, &[&["mine.rhai"], parts].concat());
    }
    // Of a plan, before anything is mixed.
    let mixer = "fn plan(d) { #{ far: 1e39 } }\nfn mix(m) { #{ images: m.images } }";
    let (_, outcome) = run(&recipe, &[("mine.rhai", mixer)], &[]);
    outcome.refused(2, &["mine.rhai:1:1: ", "`far`", "1e39", "3.4e38"]);
}

#[test]
fn a_method_that_stops_learning_is_told_once() {
    let learns = |when: &str| format!("fn step(t) {{ let x = t.images; if {when} {{ {LEARN} }} }}");
    let fading = "fn weights(t) { let w = if t.step < 8 { 1.0 } else { 0.0 }; #{ one: w, mix: w } }";
    for script in [format!("{WEIGHTS}\n{}", learns("t.step < 8")), format!("{fading}\n{}", learns("true"))] {
        let flags = ["--script", "s.rhai", "--set", "epochs=4"];
        let outcome = run(TINY, &[("s.rhai", &script)], &flags).1.good();
        let told: Vec<_> =
            outcome.stderr.lines().filter(|line| line.contains("nothing was learned")).collect();
        let [told] = told[..] else { panic!("{}", outcome.stderr) };
        assert!(told.contains("in the last 8 steps, up to step 16: `step` of s.rhai"), "{told}");
    }
    let script = format!("{WEIGHTS}\n{}", learns("t.step % 4 == 0"));
    let outcome = run(TINY, &[("s.rhai", &script)], &["--script", "s.rhai"]).1.good();
    assert!(!outcome.stderr.contains("nothing was learned"), "{}", outcome.stderr);
}

#[test]
fn a_logged_value_that_is_not_finite_is_named_once_and_skips_nothing() {
    let script =
        format!("{WEIGHTS}\nfn step(t) {{ let x = t.images; t.log(\"far\", mean(x) / 0.0); {LEARN} }}");
    let outcome = run(TINY, &[("s.rhai", &script)], &["--script", "s.rhai"]).1.good();
    let told = outcome.stderr.matches("the logged value `far` was not finite").count();
    assert!(told == 1 && outcome.stderr.contains("at step 1 (epoch 1)"), "{}", outcome.stderr);
    assert!(!outcome.stdout.contains("were skipped"), "{}", outcome.stdout);
}
