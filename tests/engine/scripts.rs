//! Mixers and losses written as scripts: what they compute, and what they are told.

use std::collections::BTreeMap;

use admix_api::{
    Ask, Loss, LossInput, MixInput, Mixed, Mixer, MixerConfig, MixerContext, Pairing, Partner, Per, Store,
    Streams, Value, uniform_field,
};
use admix_engine::{Execution, Param, ScriptedLoss, ScriptedMixer, StepOptions, bundled};
use admix_plugins::mixers::CutMix;
use admix_torch::{Device, Kind, Tensor};

use super::{batch, differing, recipe, session};

fn mixer(text: &str) -> ScriptedMixer {
    ScriptedMixer::compile(text, "m.rhai", &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"))
}

fn bundled_mixer(name: &str) -> ScriptedMixer {
    let (text, file) = bundled::part(name).expect("a bundled script");
    ScriptedMixer::compile(text, file, &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"))
}

fn ask(batch: usize, per: Per) -> Ask {
    Ask {
        batch,
        height: 6,
        width: 9,
        pairing: Pairing { per, partner: Partner::Derangement, ..Pairing::alpha(1.0) },
        lambda: None,
        quiet: false,
        progress: 0.0,
    }
}

fn images(n: i64) -> Tensor {
    uniform_field(&Tensor::from(7i64), &[n, 3, 6, 9]).expect("images")
}

fn shares(mixed: &Mixed) -> Tensor {
    mixed.credit.shares().expect("shares").1
}

#[test]
fn the_scripted_cutmix_makes_the_plans_and_the_bits_of_the_one_that_is_compiled_in() {
    let mut script = bundled_mixer("mixers/cutmix");
    let store = Store::new(Device::Cpu, Streams::new(0));
    let context = MixerContext::default();
    let mut plugin = MixerConfig::build(&CutMix::default(), &store.root(), &context).expect("CutMix");
    for per in [Per::Batch, Per::Sample] {
        for (step, n) in [(0, 1), (1, 2), (2, 5), (3, 5), (4, 8)] {
            let draws = || Streams::new(4).draws("mix", "a", 0, step);
            let plan = script.plan(&ask(n, per), &mut draws()).expect("a plan");
            assert_eq!(plan, plugin.plan(&ask(n, per), &mut draws()).expect("a plan"), "{per:?} {n}");
            let planned = plan.on(Device::Cpu).expect("on the device");
            let images = images(n as i64);
            let before = images.copy();
            let ours = script.mix(&MixInput::of(&images), &planned).expect("a mix");
            let theirs = plugin.mix(&MixInput::of(&images), &planned).expect("a mix");
            assert!(ours.images.equal(&theirs.images) && images.equal(&before));
            assert!(ours.mask.as_ref().expect("a mask").equal(theirs.mask.as_ref().expect("a mask")));
            assert!(shares(&ours).equal(&shares(&theirs)));
        }
    }
}

#[test]
fn stripes_are_credited_by_the_area_that_is_seen() {
    let mut script = bundled_mixer("mixers/stripes");
    for (per, lambda) in [(Per::Batch, Value::Float(0.3)), (Per::Sample, Value::Floats(vec![0.0, 0.5, 1.0]))]
    {
        let plan = script.plan(&ask(3, per), &mut Streams::new(1).draws("mix", "a", 0, 0)).expect("a plan");
        let plan = plan.with("lambda", lambda).on(Device::Cpu).expect("a plan");
        let images = images(3);
        let mixed = script.mix(&MixInput::of(&images), &plan).expect("a mix");
        let mask = mixed.mask.as_ref().expect("a mask");
        let partners = images.index_select(0, &plan.partner().expect("partners"));
        assert!(mixed.images.equal(&(mask * &images + (1.0 - mask) * partners)));
        let area = mask.mean_dim([1i64, 2, 3].as_slice(), false, Kind::Float);
        assert!((shares(&mixed).select(1, 0) - area).abs().max().double_value(&[]) < 1e-6);
    }
}

/// The largest difference between a gradient and central differences, in float64.
fn slope_error(at: &Tensor, value: impl Fn(&Tensor) -> Tensor) -> f64 {
    let leaf = at.detach().copy().set_requires_grad(true);
    value(&leaf).backward();
    let gradient = leaf.grad().flatten(0, -1);
    assert!(gradient.abs().max().double_value(&[]) > 1e-6, "there is a gradient");
    let flat = at.flatten(0, -1);
    let step = 1e-6;
    let mut worst = 0f64;
    for i in 0..flat.size()[0] {
        let moved = |by: f64| {
            let point = flat.copy();
            let _ = point.get(i).fill_(flat.double_value(&[i]) + by);
            value(&point.reshape(at.size())).double_value(&[])
        };
        let slope = (moved(step) - moved(-step)) / (2.0 * step);
        worst = worst.max((slope - gradient.double_value(&[i])).abs());
    }
    worst
}

#[test]
fn scripted_mixers_and_losses_have_the_gradients_of_their_formulas() {
    let features =
        (uniform_field(&Tensor::from(3i64), &[3, 4, 2, 3]).expect("features") + 0.1).to_kind(Kind::Double);
    let images = images(3).to_kind(Kind::Double);
    for name in ["mixers/cutmix", "mixers/stripes", "mixers/attentive", "mixers/inputmix"] {
        let script = bundled_mixer(name);
        let plan =
            script.plan(&ask(3, Per::Sample), &mut Streams::new(2).draws("mix", "a", 0, 0)).expect("a plan");
        let planned = plan.on(Device::Cpu).expect("a plan");
        let value = |images: &Tensor, features: &Tensor| {
            let input = MixInput { features: Some(features), ..MixInput::of(images) };
            (script.clone().mix(&input, &planned).expect("a mix").images * 3.0).sin().sum(Kind::Double)
        };
        let error = slope_error(&images, |x| value(x, &features));
        assert!(error < 1e-7, "{name}: {error}");
        if name == "mixers/attentive" {
            let error = slope_error(&features, |z| value(&images, z));
            assert!(error < 1e-7, "{name}, features: {error}");
        }
    }
    let logits = (Tensor::arange(12, (Kind::Double, Device::Cpu)) * 1.7).sin().reshape([4, 3]) * 2.0;
    let error = slope_error(&logits, |logits| focal(2.0, logits));
    assert!(error < 1e-8, "focal: {error}");
}

fn focal(gamma: f64, logits: &Tensor) -> Tensor {
    let (text, file) = bundled::part("losses/focal").expect("a bundled script");
    let given = BTreeMap::from([("gamma".to_string(), Param::Number(gamma))]);
    let loss = ScriptedLoss::compile(text, file, &given).expect("a loss");
    let input = LossInput::default()
        .with("logits", logits.shallow_clone())
        .with("target.labels", Tensor::from_slice(&[0i64, 1, 1, 2, 2, 2, 0, 1]).reshape([4, 2]))
        .with(
            "target.shares",
            Tensor::from_slice(&[0.3f64, 0.7, 1.0, 0.0, 0.5, 0.5, 0.2, 0.8]).reshape([4, 2]),
        );
    loss.loss(&input).expect("a value")
}

#[test]
fn the_focal_loss_is_the_cross_entropy_at_gamma_0_and_finite_at_the_extremes() {
    let logits = Tensor::from_slice(&[2f64.ln(), 0.0, 0.0, 0.0, 2f64.ln(), 0.0]).reshape([2, 3]);
    let logits = Tensor::cat(&[&logits, &logits], 0);
    // Rows 0 and 2: p = (1/2, 1/4, 1/4); rows 1 and 3: p = (1/4, 1/2, 1/4).
    let (two, four) = (2f64.ln(), 4f64.ln());
    let plain = (0.3 * two + 0.7 * four + two + four + 0.2 * four + 0.8 * two) / 4.0;
    assert!((focal(0.0, &logits).double_value(&[]) - plain).abs() < 1e-12);
    let (two, four) = (two * 0.25, four * 0.5625);
    let squared = (0.3 * two + 0.7 * four + two + four + 0.2 * four + 0.8 * two) / 4.0;
    assert!((focal(2.0, &logits).double_value(&[]) - squared).abs() < 1e-12);
    let far = (logits * 1e4).set_requires_grad(true);
    let value = focal(0.5, &far);
    value.backward();
    assert!(value.double_value(&[]).is_finite() && far.grad().isfinite().all().int64_value(&[]) == 1);
}

const TINY: &str = r#"(
    epochs: 2, batch: 8, method: "mixup", seed: 5,
    model: ConvNet(widths: [8, 8, 8], strides: [2, 1, 1]),
    mixers: {"mix": MIXER}, losses: {"focal": Script("losses/focal")},
    optimizer: Sgd(lr: 0.05),
)"#;

/// The bundled method `mixup` with the focal loss, for mixers with and without features.
fn method(features: bool) -> String {
    let (text, _) = bundled::script("mixup").expect("a method");
    let text = text.replace("\"mixup_cross_entropy\"", "\"focal\"");
    let given = "images: x, features: t.pass(\"q\", x).features(\"mix\") }";
    if features { text.replace("images: x }", given) } else { text }
}

#[test]
fn every_bundled_script_trains_and_recorded_steps_have_the_bits_of_direct_ones() {
    for (mixer, features) in [
        ("Script(\"mixers/cutmix\")", false),
        ("Script(file: \"mixers/stripes\", per: Sample, params: {\"stripes\": 4})", false),
        ("Script(file: \"mixers/attentive\", alpha: 2.0)", true),
    ] {
        let text = TINY.replace("MIXER", mixer);
        let run = |execution| {
            let mut session =
                session(&text, &method(features), 6).unwrap_or_else(|error| panic!("{mixer}: {error}"));
            let copied = |tensors: BTreeMap<String, Tensor>| -> BTreeMap<String, Tensor> {
                tensors.into_iter().map(|(name, tensor)| (name, tensor.copy())).collect()
            };
            let start = copied(session.tensors());
            let mut losses = Vec::new();
            for step in 0..6 {
                let options = StepOptions { execution, detail: true, ..StepOptions::default() };
                let report = session.step_with(vec![batch(step, 8)], &options).expect("a step");
                assert!(report.mixes["mix"].mask.is_some());
                losses.push(report.losses[0].1.double_value(&[]));
            }
            assert!(losses.iter().all(|loss| loss.is_finite()));
            let changed = differing(&start, &session.tensors());
            assert!(
                changed.iter().any(|name| name.contains("head") && name.ends_with("weight")),
                "{changed:?}"
            );
            (session, losses)
        };
        let (direct, direct_losses) = run(Execution::Direct);
        let (recorded, recorded_losses) = run(Execution::Recorded);
        assert_eq!(direct_losses, recorded_losses, "{mixer}");
        assert_eq!(differing(&direct.tensors(), &recorded.tensors()), Vec::<String>::new(), "{mixer}");
        assert_eq!(recorded.recorded_variants(), 1);
    }
}

#[test]
fn a_step_with_scripts_reads_nothing_back_from_the_device() {
    let text = TINY.replace("MIXER", "Script(file: \"mixers/attentive\", per: Sample)");
    let mut session = session(&text, &method(true), 4).expect("a session");
    session.step(batch(0, 8)).expect("a step");
    let input = batch(1, 8);
    let counter = admix_torch::SyncCounter::start();
    session.step(input).expect("a step");
    assert_eq!(counter.count(), 0, "{:?}", counter.names());
}

/// The message that a mixer's first plan and mix end with.
fn message(text: &str) -> String {
    let outcome = ScriptedMixer::compile(text, "m.rhai", &BTreeMap::new()).map_err(|e| e.to_string());
    let outcome = outcome.and_then(|mut script| {
        let plan = script.plan(&ask(4, Per::Batch), &mut Streams::new(0).draws("mix", "a", 0, 0));
        let planned = plan.map_err(|e| e.to_string())?.on(Device::Cpu).map_err(|e| e.to_string())?;
        script.mix(&MixInput::of(&images(4)), &planned).map(drop).map_err(|e| e.to_string())
    });
    outcome.expect_err(text)
}

#[test]
fn mistakes_in_mixers_are_told_with_their_place_and_the_remedy() {
    let mix = |body: &str| format!("fn mix(m) {{\n  {body}\n}}");
    let plan = |body: &str| format!("fn plan(d) {{\n  {body}\n}}\nfn mix(m) {{ #{{ images: m.images }} }}");
    for (text, parts) in [
        ("fn mix(m) {\n  let = 3;\n}".to_string(), &["m.rhai:2:7: "][..]),
        ("fn mixx(m) { }".into(), &["m.rhai: a mixer needs a function `mix(m)`", "docs/scripts.md"]),
        ("fn mix(m, n) { }".into(), &["m.rhai:1:1: `mix` takes 2 arguments, expected 1"]),
        (
            mix("#{ images: sofmax(m.images, 1) }"),
            &["m.rhai:2:14: no verb or function named `sofmax`. Did you mean `softmax`?"],
        ),
        (
            mix("if m.lambda > 0.5 { return #{ images: m.partners }; } #{ images: m.images }"),
            &[
                "m.rhai:2:",
                "a condition must be true or false, got a tensor",
                "where(condition, a, b)",
                "t.flip(name, p)",
            ],
        ),
        (
            mix("#{ images: m.images, switch: m.images }"),
            &[
                "m.rhai:2:",
                "`switch` is a word of the language: as a key it stands in quotes, \"switch\": ...",
            ],
        ),
        (
            mix("#{ images: m.imges }"),
            &["m.rhai:2:", "no property `imges` on this value. Did you mean `images`?"],
        ),
        (
            mix("#{ images: mean(m.images) }"),
            &["m.rhai:1:1: `mix` returned `images` of the shape [], expected [4, 3, 6, 9]"],
        ),
        (mix("#{ mask: m.images }"), &["m.rhai:1:1: `mix` returned no `images`: return #{ images: ..."]),
        (
            mix("#{ images: m.images, mask: m.images }"),
            &["`mask` of the shape [4, 3, 6, 9], expected [4, 1, 6, 9] or [1, 1, 6, 9]"],
        ),
        (
            mix("#{ images: m.images, lambda: m.images }"),
            &["`lambda` of the shape", "one number (0-dim) or [4]"],
        ),
        (mix("#{ images: m.images, lambda: 0.5 }"), &["`mix` returned `lambda` that is no tensor but 0.5"]),
        (mix("#{ images: m.images > 0.5 }"), &["`images` of the kind Bool, expected Float"]),
        (mix("#{ images: m.images, shares: m.images }"), &["`shares` without `sources`"]),
        (mix("m.images"), &["m.rhai:1:1: `mix` must return a map `#{ ... }`, it returned a tensor"]),
        (mix("loop { }"), &["m.rhai:", "more than 1000000 operations", "a loop that does not end"]),
        (mix("mix(m)"), &["m.rhai:", "recursion that does not end"]),
        (
            mix("#{ images: m.images + m.partner }"),
            &["m.rhai:2:", "`+` takes shapes whose sizes are equal or 1", "from the last one on: got ["],
        ),
        (
            mix("#{ images: m.features }"),
            &["m.rhai:2:", "`features` was not given: ask for it in `fn needs()`: #{ features: STAGE }"],
        ),
        (
            mix("m.plan(\"lamda\")"),
            &["m.rhai:2:5: the plan holds no `lamda`; it has `lambda`, `partner`. Did you mean `lambda`?"],
        ),
        (mix("m.param(\"x\")"), &["m.rhai:2:5: no parameter named `x`; `params` has none"]),
        (mix("if m.images > 0.5 { 1 } else { 2 }"), &["m.rhai:2:"]),
        (
            mix("#{ images: chunk(m.images, 2, 0, 1) }"),
            &["m.rhai:2:14: `chunk` cannot cut the axis 1 of [4, 3, 6, 9] into 2 equal parts"],
        ),
        (
            mix("#{ images: resize(m.images, 1000000, 1000000) }"),
            &["m.rhai:2:14: `resize` makes a tensor of", "expected at most 1073741824"],
        ),
        (mix("#{ images: blur(m.images, 2) }"), &["m.rhai:2:14: `blur` takes an odd side from 1, got 2"]),
        (mix("open_file(\"x\")"), &["m.rhai:2:3: no verb or function named `open_file`"]),
        (
            plan("#{ x: \"one\" }"),
            &["m.rhai:1:1: the value `x` of the plan must be a number or an array of numbers, got a text"],
        ),
        (
            plan("#{ x: [1, 2, 3] }"),
            &[
                "the value `x` of the plan has 3 elements, expected 4: one number for each sample, or one for all",
            ],
        ),
        (plan("#{ x: 0.0 / 0.0 }"), &["the value `x` of the plan is NaN, expected a finite number"]),
        (plan("#{ lambda: 1.5 }"), &["the value `lambda` of the plan is 1.5, expected numbers in [0, 1]"]),
        (
            plan("#{ partner: [0, 1, 2, 4] }"),
            &["the value `partner` of the plan names the sample 4, but the batch has 0 to 3"],
        ),
        (
            plan("#{ structure: -1 }"),
            &["the value `structure` of the plan must be a whole number from 0, got -1"],
        ),
        (
            format!("fn params() {{ #{{ n: 2.5 }} }} {}", plan("d.count(\"n\", 1); #{}")),
            &["params.n is 2.5, expected a whole number from 1"],
        ),
        (
            format!("fn params() {{ #{{ n: 0 }} }} {}", mix("m.count(\"n\", 1)")),
            &["m.rhai:2:5: ", "params.n is 0, expected a whole number from 1"],
        ),
        (plan("d.below(0); #{}"), &["m.rhai:2:5: `below` takes a whole number from 1"]),
        (plan("d.beta(0.0, 1.0); #{}"), &["m.rhai:2:5: ", "two positive, finite numbers"]),
        (
            plan("d.unifrm(); #{}"),
            &["m.rhai:2:5: no verb or function named `unifrm`. Did you mean `uniform`?"],
        ),
        (
            "fn needs() { #{ feature: 3 } } fn mix(m) { #{} }".into(),
            &["`needs` returned `feature`; it may return", "Did you mean `features`?"],
        ),
        (
            "fn needs() { #{ features: 0 } } fn mix(m) { #{} }".into(),
            &["`features` in `needs` must be the number of a stage, from 1, got 0"],
        ),
    ] {
        let message = message(&text);
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}\n{text}");
        }
        assert!(!message.contains('\n'), "one line: {message}");
    }
}

#[test]
fn mistakes_in_losses_are_told_with_their_place_and_the_remedy() {
    let logits = || LossInput::default().with("logits", Tensor::ones([2, 3], (Kind::Float, Device::Cpu)));
    let input = || logits().with_labels(&Tensor::from_slice(&[0i64, 1])).expect("labels");
    for (text, part) in [
        ("fn losss(l) { }", "l.rhai: a loss needs a function `loss(l)`"),
        (
            "fn loss(l) { l.logits }",
            "l.rhai:1:1: `loss` must return one number as a tensor, it returned the shape [2, 3]; take its `mean`",
        ),
        ("fn loss(l) { 1.0 }", "it returned a number"),
        (
            "fn loss(l) { mean(l.mask) }",
            "l.rhai:1:21: this loss is given no `mask`; its `arguments` give `logits`, `labels`, `shares`",
        ),
        ("fn loss(l) { mean(l.tensor(\"logit\")) }", "Did you mean `logits`?"),
        (
            "fn arguments() { [3] } fn loss(l) { l.logits }",
            "`arguments` must return an array of one to five different names in quotes, it holds a number",
        ),
        ("fn arguments() { [\"a\", \"a\"] } fn loss(l) { l.logits }", "it holds `a` twice"),
        ("fn arguments() { [] } fn loss(l) { l.logits }", "it holds 0"),
    ] {
        let outcome = ScriptedLoss::compile(text, "l.rhai", &BTreeMap::new()).map_err(|e| e.to_string());
        let message =
            outcome.and_then(|loss| loss.loss(&input()).map_err(|e| e.to_string())).expect_err(text);
        assert!(message.contains(part) && !message.contains('\n'), "`{part}` is not in: {message}");
    }
}

#[test]
fn a_recipe_says_which_script_is_wrong_and_where() {
    for (mixer, parts) in [
        (
            "Script(\"nowhere.rhai\")",
            &[
                "test.ron:4:",
                "`mixers.mix.file` is \"nowhere.rhai\", expected a script's file",
                "`mixers/cutmix`",
            ][..],
        ),
        ("Script(\"mixers/cutmx\")", &["Did you mean `mixers/cutmix`?"]),
        (
            "Script(file: \"mixers/stripes\", params: {\"strips\": 4.0})",
            &[
                "test.ron:4:",
                "mixers/stripes.rhai: no parameter named `strips`; its `params` has `stripes`. Did you mean `stripes`?",
            ],
        ),
        (
            "Script(file: \"mixers/stripes\", params: {\"stripes\": \"x\"})",
            &["the parameter `stripes` is \"x\", expected a number"],
        ),
        (
            "Script(file: \"mixers/stripes\", alhpa: 1.0)",
            &["test.ron:4:", "unknown field `alhpa`", "Did you mean `alpha`?"],
        ),
        ("Script(alpha: 1.0)", &["test.ron:4:", "`file`"]),
        ("Script(3)", &["test.ron:4:", "a script's path in quotes, or fields"]),
        ("Script(file: \"mixers/stripes\", alpha: -1.0)", &["test.ron:4:", "`mixers.mix.alpha` is -1"]),
    ] {
        let message = recipe(&TINY.replace("MIXER", mixer)).expect_err(mixer).to_string();
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
        assert!(!message.contains('\n'), "one line: {message}");
    }
    let good = recipe(&TINY.replace("MIXER", "Script(file: \"mixers/stripes\", alpha: 0.5, per: Sample)"))
        .expect("good");
    let (_, choice) = &good.mixers[0];
    assert_eq!((choice.served.alpha, choice.served.per), (0.5, Per::Sample));
    assert_eq!(choice.config.resolved()["params"]["stripes"], 8.0);
    let names: Vec<_> =
        good.scripts.iter().map(|s| (s.table.as_str(), s.name.as_str(), s.file.as_str())).collect();
    assert_eq!(names, [("mixers", "mix", "mixers/stripes.rhai"), ("losses", "focal", "losses/focal.rhai")]);
}

#[test]
fn the_words_for_images_compute_what_they_say() {
    let mut script = mixer(
        "fn plan(d) { #{ key: d.field_key(), structure: 3 } }
         fn where_last(plane) { whole(zeros_like(narrow(flatten(plane), 1, 0, 2)) + 3.9) }
         fn mix(m) {
             let x = m.images;
             let plane = narrow(x, 1, 0, 1);
             #{
                 images: lerp(x, m.partners, over_images(m.lambda)),
                 field: field(m.plan(\"key\"), plane),
                 part: chunk(x, 3, 1, 1),
                 top: top_k(reshape(plane, [m.batch, -1]), 2),
                 where_top: top_k_indices(reshape(plane, [m.batch, -1]), 2),
                 blurred: blur(ones_like(x), 3),
                 clamped: clamp(floor(x * 4.0), 1, 2),
                 whole: whole(x * 4.0),
                 picked: select(flatten(plane), where_last(plane)),
                 both: (rows(x) == 0 | columns(x) != 0) & !(rows(x) > 3),
                 small: resize_like(x, narrow(plane, 2, 0, 3)),
             }
         }",
    );
    let plan =
        script.plan(&ask(4, Per::Batch), &mut Streams::new(0).draws("mix", "a", 0, 0)).expect("a plan");
    assert_eq!(plan.structure, 3);
    let planned = plan.on(Device::Cpu).expect("a plan");
    let x = images(4);
    let mixed = script.mix(&MixInput::of(&x), &planned).expect("a mix");
    let extra = |name: &str| mixed.extras[name].shallow_clone();
    let key = planned.get("key").expect("a key");
    assert!(extra("field").equal(&uniform_field(&key, &[4, 1, 6, 9]).expect("a field")));
    assert!(extra("part").equal(&x.narrow(1, 1, 1)));
    let flat = x.narrow(1, 0, 1).reshape([4, -1]);
    assert!(extra("top").select(1, 0).equal(&flat.max_dim(1, false).0));
    assert!(flat.gather(1, &extra("where_top"), false).equal(&extra("top")));
    assert!(extra("blurred").equal(&x.ones_like()), "the border counts what lies in the image");
    assert!(extra("clamped").equal(&(&x * 4.0).floor().clamp(1.0, 2.0)));
    assert!(extra("whole").equal(&(&x * 4.0).floor().to_kind(Kind::Int64)));
    let last = flat.narrow(0, 3, 1);
    assert!(
        extra("picked").equal(&last.unsqueeze(1).expand([4, 2, -1], false)),
        "rows at indices of two axes"
    );
    let both = extra("both");
    assert_eq!(
        (both.size(), both.to_kind(Kind::Int64).sum(Kind::Int64).int64_value(&[])),
        (vec![1, 1, 6, 9], 9 + 3 * 8)
    );
    assert_eq!(extra("small").size(), [4, 3, 3, 9]);
    let partners = x.index_select(0, &planned.partner().expect("partners"));
    assert!(mixed.images.equal(&x.lerp_tensor(&partners, &planned.lambda().expect("lambda"))));
}
