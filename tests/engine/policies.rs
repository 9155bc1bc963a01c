//! Published policies that come as scripts: what they do on a few pixels, and that they train like every other.

use std::collections::{BTreeMap, BTreeSet};

use admix_api::{Ask, MixInput, Mixed, Mixer, Pairing, Per, Plan, Streams, Value};
use admix_engine::{Execution, Param, ScriptedMixer, StepOptions, bundled};
use admix_torch::{Device, Kind, Tensor};

use super::{batch, capture, contrast, differing, session};

fn mixer(name: &str, params: &[(&str, Param)]) -> ScriptedMixer {
    let (text, file) = bundled::part(&format!("mixers/{name}")).expect("a bundled script");
    let params: BTreeMap<String, Param> =
        params.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
    ScriptedMixer::compile(text, file, &params).unwrap_or_else(|error| panic!("{error}"))
}

fn ask(batch: usize, per: Per, lambda: Option<f64>, (height, width): (i64, i64)) -> Ask {
    let pairing = Pairing { per, ..Pairing::alpha(1.0) };
    Ask { batch, height, width, pairing, lambda, quiet: false, progress: 0.0 }
}

fn plan(mixer: &ScriptedMixer, ask: &Ask, step: u64) -> Plan {
    mixer.plan(ask, &mut Streams::new(4).draws("mix", "a", 0, step)).unwrap_or_else(|error| panic!("{error}"))
}

fn ramp(shape: &[i64]) -> Tensor {
    Tensor::arange(shape.iter().product::<i64>(), (Kind::Float, Device::Cpu)).reshape(shape)
}

fn area(mixed: &Mixed) -> Vec<f64> {
    let mask = mixed.mask.as_ref().expect("a mask");
    Vec::<f64>::try_from(&mask.mean_dim([1i64, 2, 3].as_slice(), false, Kind::Double)).expect("areas")
}

#[test]
fn gridmix_gives_the_image_as_many_cells_of_its_own_as_lambda_says() {
    let mut script = mixer("gridmix", &[]);
    let images = ramp(&[3, 2, 8, 8]);
    let mut raised = mixer("gridmix", &[("up", Param::Switch(true))]);
    let above = plan(&raised, &ask(3, Per::Batch, Some(0.26), (8, 8)), 1).on(Device::Cpu).expect("a plan");
    assert_eq!(area(&raised.mix(&MixInput::of(&images), &above).expect("a mix")), [5.0 / 16.0; 3]);
    for (lambda, own) in [(0.0, 0.0), (0.26, 0.25), (0.3, 5.0 / 16.0), (0.5, 0.5), (1.0, 1.0)] {
        let plan = plan(&script, &ask(3, Per::Batch, Some(lambda), (8, 8)), 1);
        let mixed =
            script.mix(&MixInput::of(&images), &plan.on(Device::Cpu).expect("a plan")).expect("a mix");
        assert_eq!(area(&mixed), [own; 3]);
        // Cells of 2 x 2 pixels.
        let mask = mixed.mask.as_ref().expect("a mask");
        let cells = mask.slice(2, 0, None, 2).slice(3, 0, None, 2);
        assert!(
            mask.equal(&cells.repeat_interleave_self_int(2, 2, None).repeat_interleave_self_int(2, 3, None))
        );
    }
    let plan = plan(&script, &ask(3, Per::Sample, None, (8, 8)), 1);
    let mixed = script.mix(&MixInput::of(&images), &plan.on(Device::Cpu).expect("a plan")).expect("a mix");
    let first = mixed.mask.as_ref().expect("a mask").get(0);
    assert!(!first.equal(&mixed.mask.as_ref().expect("a mask").get(1)), "each image has a grid of its own");
}

#[test]
fn smoothmix_hides_the_image_most_at_the_centre_of_the_spot() {
    let mut script = mixer("smoothmix", &[]);
    let images = Tensor::from_slice(&[1f32, 1.0, 1.0, 0.0, 0.0, 0.0]).reshape([2, 1, 1, 3]);
    // The centre lies on the middle of the first of three pixels, sigma is a third of the width.
    let plan = Plan::given(0.5, &[1, 0])
        .with("row", Value::Float(0.5))
        .with("column", Value::Float(0.5))
        .with("sigma", Value::Float(1.0 / 3.0));
    let mixed = script.mix(&MixInput::of(&images), &plan.on(Device::Cpu).expect("a plan")).expect("a mix");
    // G = exp(-d^2 / 2) for d = 0, 1, 2 pixels of a sigma each.
    for (pixel, distance) in [0f64, 1.0, 2.0].into_iter().enumerate() {
        let spot = (-0.5 * distance * distance).exp();
        let found = [0, 1].map(|image| mixed.images.double_value(&[image, 0, 0, pixel as i64]));
        assert!((found[0] - (1.0 - spot)).abs() < 1e-6 && (found[1] - spot).abs() < 1e-6, "{found:?}");
    }
}

#[test]
fn moex_gives_each_position_the_moments_of_the_partner() {
    let mut script = mixer("moex", &[]);
    let images = ramp(&[2, 1, 4, 4]);
    let plan = plan(&script, &ask(2, Per::Batch, None, (4, 4)), 0).with("partner", Value::Ints(vec![1, 0]));
    let mixed = script.mix(&MixInput::of(&images), &plan.on(Device::Cpu).expect("a plan")).expect("a mix");
    assert_eq!(mixed.hidden.expect("inside of the network").stage, 1);
    assert!((mixed.credit.shares().expect("shares").1.double_value(&[0, 0]) - 0.9).abs() < 1e-6);
    // One position, two channels: (1, 3) has mean 2 and deviation 1; (10, 30) mean 20 and deviation 10.
    let maps = Tensor::from_slice(&[1f32, 3.0, 10.0, 30.0]).reshape([2, 2, 1, 1]);
    let wanted = Tensor::from_slice(&[10f32, 30.0, 1.0, 3.0]).reshape([2, 2, 1, 1]);
    let found = mixed.blended(&maps, &maps).expect("maps");
    assert!((found - wanted).abs().max().double_value(&[]) < 1e-3);
}

#[test]
fn alignmix_finds_the_positions_that_belong_together() {
    let mut script = mixer("alignmix", &[("stage", Param::Number(1.0)), ("epsilon", Param::Number(0.01))]);
    let images = ramp(&[2, 1, 4, 4]);
    let maps = Tensor::from_slice(&[1f32, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0]).reshape([2, 2, 1, 2]);
    for swapped in [0.0, 1.0] {
        let plan = plan(&script, &ask(2, Per::Batch, Some(0.25), (4, 4)), 0)
            .with("partner", Value::Ints(vec![1, 0]))
            .with("swapped", Value::Float(swapped));
        let mixed =
            script.mix(&MixInput::of(&images), &plan.on(Device::Cpu).expect("a plan")).expect("a mix");
        // The partner has the same two columns in the other order: aligned, the blend is the map whose order is kept.
        let found = mixed.blended(&maps, &maps).expect("maps");
        let wanted = if swapped == 0.0 { maps.shallow_clone() } else { maps.flip([0]) };
        assert!((found - wanted).abs().max().double_value(&[]) < 1e-3, "{swapped}");
    }
}

#[test]
fn snapmix_weighs_either_box_by_the_activation_that_it_holds() {
    let mut script = mixer("snapmix", &[]);
    let images = ramp(&[2, 1, 2, 2]);
    // All activation of image 0 in its first pixel; that of image 1 a quarter to three quarters in its last row.
    let saliency = Tensor::from_slice(&[1f32, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25, 0.75]).reshape([2, 2, 2]);
    let edges = |plan: Plan, whose: &str, [top, bottom, left, right]: [f64; 4]| {
        [("top", top), ("bottom", bottom), ("left", left), ("right", right)]
            .into_iter()
            .fold(plan, |plan, (name, at)| plan.with(&format!("{whose}_{name}"), Value::Float(at)))
    };
    // The own box is the first pixel, the partner's the whole last row.
    let plan = edges(Plan::given(0.75, &[1, 0]), "own", [0.0, 1.0, 0.0, 1.0]);
    let plan = edges(plan, "their", [1.0, 2.0, 0.0, 2.0]).on(Device::Cpu).expect("a plan");
    let input = MixInput { saliency: Some(&saliency), ..MixInput::of(&images) };
    let mixed = script.mix(&input, &plan).expect("a mix");
    let (sources, weights) = mixed.credit.shares().expect("weights");
    assert!(sources.equal(&Tensor::from_slice(&[0i64, 1, 1, 0]).reshape([2, 2])));
    let wanted = Tensor::from_slice(&[0f32, 1.0, 1.0, 0.0]).reshape([2, 2]);
    assert!((weights - wanted).abs().max().double_value(&[]) < 1e-4);
    // Of a box of one pixel the first place is taken: the partner's pixel 2.
    assert_eq!(mixed.images.double_value(&[0, 0, 0, 0]), images.double_value(&[1, 0, 1, 0]));
    assert!(
        mixed
            .images
            .get(0)
            .flatten(0, -1)
            .narrow(0, 1, 3)
            .equal(&images.get(0).flatten(0, -1).narrow(0, 1, 3))
    );
}

#[test]
fn attentivemix_keeps_the_cells_with_the_most_attention() {
    let mut script = mixer("attentivemix", &[]);
    let images = ramp(&[2, 1, 4, 4]);
    let features = Tensor::from_slice(&[4f32, 1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0]).reshape([2, 1, 2, 2]);
    for (lambda, kept) in
        [(0.0, [1.0, 0.0, 0.0, 0.0]), (0.5, [1.0, 0.0, 0.0, 1.0]), (0.99, [1.0, 0.0, 1.0, 1.0])]
    {
        let plan = Plan::given(lambda, &[1, 0]).on(Device::Cpu).expect("a plan");
        let input = MixInput { features: Some(&features), ..MixInput::of(&images) };
        let mixed = script.mix(&input, &plan).expect("a mix");
        let mask = mixed.mask.as_ref().expect("a mask");
        let cells = mask.slice(2, 0, None, 2).slice(3, 0, None, 2).get(0).flatten(0, -1);
        assert_eq!(Vec::<f64>::try_from(&cells.to_kind(Kind::Double)).expect("cells"), kept, "{lambda}");
        // Where all cells are alike, as many are kept.
        assert_eq!(area(&mixed)[0], area(&mixed)[1]);
    }
}

#[test]
fn timm_draws_for_the_batch_for_pairs_or_for_each_image() {
    for (mode, count) in [("batch", 1), ("pair", 4), ("elem", 8)] {
        let script = mixer("timm", &[("mode", Param::Text(mode.into()))]);
        let (mut cuts, mut seen) = (0, 0);
        for step in 0..40 {
            let plan = plan(&script, &ask(8, Per::Batch, None, (8, 8)), step);
            // One for the batch, or one for each image.
            let all = |name: &str| match plan.value(name).expect("it is planned") {
                Value::Float(one) if mode == "batch" => vec![*one; 8],
                Value::Floats(all) if mode != "batch" => all.clone(),
                other => panic!("{mode}: {other:?}"),
            };
            let (lambdas, cut) = (all("lambda"), all("cut"));
            let different: BTreeSet<u64> = lambdas.iter().map(|lambda| lambda.to_bits()).collect();
            assert!(different.len() <= count, "{mode}");
            seen = seen.max(different.len());
            if mode != "elem" {
                assert!((0..8).all(|i| lambdas[i] == lambdas[7 - i] && cut[i] == cut[7 - i]));
            }
            if mode != "batch" {
                assert_eq!(plan.value("partner").expect("partners"), &Value::Ints((0..8).rev().collect()));
            }
            cuts += cut.iter().filter(|cut| **cut == 1.0).count();
        }
        assert_eq!(seen, count, "{mode}");
        assert!((80..240).contains(&cuts), "{mode}: {cuts} of 320");
    }
    let wrong = mixer("timm", &[("mode", Param::Text("elm".into()))]);
    let refused = wrong.plan(&ask(8, Per::Batch, None, (8, 8)), &mut Streams::new(4).draws("mix", "a", 0, 0));
    let message = refused.expect_err("no such mode").to_string();
    assert!(message.contains(r#"params.mode is "elm", expected "batch", "pair" or "elem""#), "{message}");
    let mut script = mixer("timm", &[]);
    let images = ramp(&[2, 1, 2, 2]);
    let whole = |name: &str, at: Vec<i64>| (name.to_string(), Value::Ints(at));
    // Image 0 is cut in its first row, image 1 is blended by a quarter.
    let plan = [
        whole("top", vec![0, 0]),
        whole("bottom", vec![1, 0]),
        whole("left", vec![0, 0]),
        whole("right", vec![2, 0]),
    ]
    .into_iter()
    .fold(Plan::given(0.5, &[1, 0]), |plan, (name, value)| plan.with(&name, value))
    .with("lambda", Value::Floats(vec![0.5, 0.25]))
    .with("cut", Value::Floats(vec![1.0, 0.0]));
    let mixed = script.mix(&MixInput::of(&images), &plan.on(Device::Cpu).expect("a plan")).expect("a mix");
    let wanted = Tensor::from_slice(&[4f32, 5.0, 2.0, 3.0, 1.0, 2.0, 3.0, 4.0]).reshape([2, 1, 2, 2]);
    assert!(mixed.images.equal(&wanted), "{}", mixed.images);
}

/// The loss of a first step of these methods, after `change` has been made to the network.
fn first_loss(method: &str, mixer: &str, params: &str, change: &dyn Fn(&str, &mut Tensor)) -> f64 {
    let text = capture::plain("m.rhai", &format!("mixers: {{\"mix\": {mixer}}}, params: {{{params}}}"));
    let (script, _) = bundled::script(method).expect("a method");
    let mut session = session(&capture::vit(&text), script, 8).unwrap_or_else(|error| panic!("{error}"));
    {
        let _guard = admix_torch::no_grad();
        session.tensors().iter_mut().for_each(|(name, tensor)| change(name, tensor));
    }
    session.step(batch(1, 8)).expect("a step").losses[0].1.double_value(&[])
}

#[test]
fn attention_that_is_the_same_everywhere_credits_by_area_and_other_attention_does_not() {
    // Cells of the mix are those of the network, so that no pixel of a cell is another image's.
    let mixer = r#"Script(file: "mixers/gridmix", params: {"up": true})"#;
    let flat = |name: &str, tensor: &mut Tensor| {
        if name.contains("blocks.11.attn.qkv") {
            let _ = tensor.fill_(0.0);
        }
    };
    let sharp = |name: &str, tensor: &mut Tensor| {
        if name.contains("blocks.11.attn.qkv.weight") || name.contains("head.one") {
            let _ = tensor.g_mul_scalar_(200.0);
        }
    };
    for (method, plain) in [("transmix", "\"ratio\": 1.0"), ("mixpro", "")] {
        let by_area = |change: &dyn Fn(&str, &mut Tensor)| first_loss("mixup", mixer, "", change);
        let found = first_loss(method, mixer, plain, &flat);
        let wanted = by_area(&flat);
        assert!((found - wanted).abs() < 1e-5, "{method}: {found}, {wanted} by area");
        let found = first_loss(method, mixer, plain, &sharp);
        let by_area = by_area(&sharp);
        assert!((found - by_area).abs() > 1e-4, "{method}: {found}, {by_area} by area");
    }
    let half = first_loss("transmix", mixer, "", &sharp);
    let ends =
        ["0.0", "1.0"].map(|ratio| first_loss("transmix", mixer, &format!("\"ratio\": {ratio}"), &sharp));
    assert!((half / (ends[0] + ends[1]) * 2.0 - 1.0).abs() < 1e-5, "{half} lies between {ends:?}");
}

/// What a first step of a bundled method logs when `more` stands before its `learn`; the head's outputs are 0.
fn logged(method: &str, params: &str, more: &str) -> BTreeMap<String, f64> {
    let (script, _) = bundled::script(method).expect("a method");
    let mixer = r#"Script(file: "mixers/gridmix", params: {"up": true})"#;
    let text = capture::plain("m.rhai", &format!("mixers: {{\"mix\": {mixer}}}, params: {{{params}}}"));
    let script = script.replace("    t.learn(", &format!("{more}\n    t.learn("));
    let mut session = session(&capture::vit(&text), &script, 8).unwrap_or_else(|error| panic!("{error}"));
    {
        let _guard = admix_torch::no_grad();
        for (name, tensor) in &mut session.tensors() {
            match name {
                _ if name.contains("head.one") => drop(tensor.fill_(0.0)),
                _ if name.contains("blocks.11.attn.qkv.weight") => drop(tensor.g_mul_scalar_(200.0)),
                _ => {}
            }
        }
    }
    let report = session.step(batch(1, 8)).expect("a step");
    report.logged.iter().map(|(name, value)| (name.clone(), value.double_value(&[]))).collect()
}

#[test]
fn transmix_credits_the_image_with_the_attention_that_lies_on_its_own_cells() {
    let more = r#"
        let theirs = 1.0 - nearest_like(mixed.mask, seen);
        t.log("apart", abs(lambda - (1.0 - mean_of(seen * theirs) / mean_of(seen))));
        t.log("moved", abs(lambda - mean_of(mixed.mask)));"#;
    let found = logged("transmix", "\"ratio\": 1.0", more);
    assert!(found["apart"] < 1e-6 && found["moved"] > 1e-3, "{found:?}");
}

#[test]
fn mixpro_trusts_attention_by_the_cosine_of_guess_and_label() {
    // All five classes are guessed alike: the cosine is 1 / (sqrt(5) |label|).
    let more = r#"
        t.log("apart", abs(trust - 0.4472136 / sqrt(sum_over(label ** 2.0, 1))));
        t.log("credit", abs(lambda - area - trust * (attended - area)));
        t.log("smooth", abs(sum_over(label, 1) - 1.0));"#;
    let found = logged("mixpro", "", more);
    assert!(found["apart"] < 1e-5 && found["credit"] < 1e-6 && found["smooth"] < 1e-6, "{found:?}");
}

#[test]
fn augmix_tells_views_apart_by_the_divergence_from_their_mean() {
    let (script, _) = bundled::script("augmix").expect("a method");
    let more = r#"    t.log("here", mean(sum_over(exp(log_p) * (log_p - centre), 2)));
        t.log("mass", abs(sum_over(exp(centre), 1) - 1.0));
    t.learn("#;
    let mut session = contrast::built(&capture::plain("m.rhai", ""), &script.replace("    t.learn(", more));
    let [own, other] = contrast::views(3);
    let report = contrast::step(&mut session, [own.shallow_clone(), other * 30.0]);
    let logged = |name: &str| {
        let (_, value) = report.logged.iter().find(|(own, _)| own == name).expect("logged");
        value.double_value(&[])
    };
    // The Jensen-Shannon divergence of two views: above 0, at most log 2, and the mean of the views is a distribution.
    let same = contrast::term(&report, "same");
    assert!((same - logged("here")).abs() < 1e-7 && same > 1e-5 && same <= 2f64.ln(), "{same}");
    assert!(logged("mass") < 1e-5);
    // Views that are alike differ by nothing.
    let report = contrast::step(&mut session, [own.shallow_clone(), own]);
    assert!(contrast::term(&report, "same").abs() < 1e-6);
}

#[test]
fn attention_needs_a_class_token_and_comes_before_the_logits() {
    let script = bundled::script("transmix").expect("a method").0;
    let text = capture::plain("m.rhai", "mixers: {\"mix\": CutMix()}");
    let told = |text: &str, script: &str| {
        let mut session = session(text, script, 8).expect("a session");
        session.step(batch(1, 8)).map(drop).expect_err("no attention").to_string()
    };
    let message = told(&text, script);
    assert!(
        message.contains("test.rhai:23:") && message.contains("network `q` has no class token"),
        "{message}"
    );
    let late = "fn weights(t) { #{ loss: 1.0 } }\nfn step(t) { let p = t.pass(\"q\", t.images); p.logits(\"one\"); \
                t.log(\"seen\", p.attention()); }";
    let message = told(&capture::vit(&capture::plain("m.rhai", "")), late);
    assert!(
        message.contains("test.rhai:2:") && message.contains("ask for the attention before the logits"),
        "{message}"
    );
}

#[test]
fn what_a_script_needs_may_depend_on_its_parameters() {
    for (name, stage) in [("alignmix", 3.0), ("attentivemix", 2.0)] {
        let needs = mixer(name, &[("stage", Param::Number(stage))]).needs();
        assert_eq!(needs.hidden.or(needs.features), Some(stage as usize), "{name}");
    }
    let refused = ScriptedMixer::compile("fn mix(m) { }\nfn needs(a, b) { #{} }", "m.rhai", &BTreeMap::new());
    let message = refused.expect_err("two arguments").to_string();
    assert!(message.contains("m.rhai:2:1: `needs` takes 2 arguments, expected 1"), "{message}");
}

/// A recipe and a method for each policy.
fn recipes() -> Vec<(&'static str, String, String)> {
    let recipe = |mixer: &str, more: &str| {
        format!(
            r#"(epochs: 2, batch: 8, method: "m.rhai", seed: 3, model: ConvNet(widths: [8, 16, 16, 16], strides: [2, 2, 1, 1]),
                mixers: {{{mixer}}}, {more} optimizer: Sgd(lr: 0.05))"#
        )
    };
    let method = |name: &str| bundled::script(name).expect("a method").0.to_string();
    let plain = |mixer: &str| recipe(&format!("\"mix\": {mixer}"), "");
    let scripted = |name: &str| plain(&format!("Script(\"mixers/{name}\")"));
    let taught = method("mixup")
        .replace("images: x }", "images: x, features: t.pass(\"teacher\", x).features(\"mix\") }");
    let teacher = "other_nets: {\"teacher\": (model: ConvNet(widths: [4, 4, 4, 8], strides: [2, 2, 1, 1]))},";
    let auto = (
        r#""amix": AutoMix(stage: 2)"#,
        r#"heads: ["one", "mix"], pairs: [(from: "q", to: "k", momentum: 0.9)],"#,
    );
    let mut all: Vec<(&str, String, String)> = ["gridmix", "smoothmix", "moex", "alignmix", "timm"]
        .map(|name| (name, scripted(name), method("mixup")))
        .into();
    all.push(("snapmix", scripted("snapmix"), method("snapmix")));
    all.push(("attentivemix", recipe("\"mix\": Script(\"mixers/attentivemix\")", teacher), taught));
    let with_class_token =
        |mixer: &str| capture::vit(&capture::plain("m.rhai", &format!("mixers: {{\"mix\": {mixer}}}")));
    all.push(("transmix", with_class_token("CutMix()"), method("transmix")));
    all.push((
        "mixpro",
        with_class_token("Script(file: \"mixers/gridmix\", params: {\"up\": true})"),
        method("mixpro"),
    ));
    all.push(("recursivemix", plain("ResizeMix(tau: Uniform)"), method("recursivemix")));
    all.push(("adautomix", recipe(auto.0, auto.1), method("adautomix")));
    let losses = r#"losses: {"mixup_cross_entropy": DecoupledMixup(eta: 0.1)},"#;
    all.push(("decoupled", recipe("\"mix\": CutMix()", losses), method("mixup")));
    all.push((
        "plain",
        recipe(r#""mix": Choice(of: {"none": 0.5, "cut": 0.5}), "none": Plain(), "cut": CutMix()"#, ""),
        method("mixup"),
    ));
    all
}

/// Weights of a network that are the same to the bit.
fn unmoved(a: &BTreeMap<String, Tensor>, b: &BTreeMap<String, Tensor>, of: &str) -> Vec<String> {
    let weights = a.iter().filter(|(name, _)| name.starts_with(of) && name.ends_with("weight"));
    weights.filter(|(name, tensor)| tensor.equal(&b[*name])).map(|(name, _)| name.clone()).collect()
}

#[test]
fn every_policy_trains_recorded_as_directly_without_waiting_and_goes_on_bit_for_bit() {
    for (name, text, script) in recipes() {
        let new = || session(&text, &script, 60).unwrap_or_else(|error| panic!("{name}: {error}"));
        new().dry_run([8, 3], 5, &[(16, 16)]).unwrap_or_else(|error| panic!("{name}: {error}"));
        let run = |execution, from: i64, to: i64, session: &mut admix_engine::Session| {
            for number in from..to {
                let options = StepOptions { execution, ..StepOptions::default() };
                let report = session.step_with(vec![batch(number, 8)], &options);
                let report = report.unwrap_or_else(|error| panic!("{name}, step {number}: {error}"));
                assert!(report.losses.iter().all(|(_, loss)| loss.double_value(&[]).is_finite()), "{name}");
            }
        };
        let (mut direct, mut recorded) = (new(), new());
        run(Execution::Direct, 0, 50, &mut direct);
        run(Execution::Recorded, 0, 23, &mut recorded);
        let state = recorded.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect();
        let mut resumed = new();
        resumed.load(&state).expect("the state fits");
        resumed.set_clock(recorded.clock());
        run(Execution::Recorded, 23, 50, &mut resumed);
        assert_eq!(differing(&direct.tensors(), &resumed.tensors()), Vec::<String>::new(), "{name}");
        let still = unmoved(&new().tensors(), &direct.tensors(), "net.q.backbone.");
        assert_eq!(still, Vec::<String>::new(), "{name}: every layer learns");
        let input = batch(51, 8);
        let counter = admix_torch::SyncCounter::start();
        resumed.step(input).expect("a step");
        assert_eq!(counter.count(), 0, "{name}: {:?}", counter.names());
    }
}

#[test]
fn a_frozen_network_of_its_own_architecture_stays_as_it_is() {
    let (_, text, script) =
        recipes().into_iter().find(|(name, ..)| *name == "attentivemix").expect("it has a teacher");
    let mut session = session(&text, &script, 4).expect("a session");
    let of_teacher = |session: &admix_engine::Session| -> BTreeMap<String, Tensor> {
        let all = session.tensors().into_iter().filter(|(name, _)| name.starts_with("net.teacher."));
        all.map(|(name, tensor)| (name, tensor.copy())).collect()
    };
    let before = of_teacher(&session);
    assert_eq!(before["net.teacher.backbone.conv1.weight"].size()[0], 4);
    (0..2).for_each(|number| drop(session.step(batch(number, 8)).expect("a step")));
    assert_eq!(differing(&before, &of_teacher(&session)), Vec::<String>::new());
    for (change, part) in [
        ("\"teacher\": (", "\"q\": ("),
        ("widths: [4, 4, 4, 8]", "widths: []"),
        ("\"teacher\": (", "\"teacher\": (heads: [\"a\", \"a\"], "),
    ] {
        let wrong = text.replace(change, part);
        let message = super::recipe(&wrong).map(drop).expect_err(part).to_string();
        assert!(message.contains("other_nets."), "{message}");
    }
}
