//! Mixers and losses without the engine: the same bits as in a run, and settings refused by name.

use admix_api::{Driver, MixInput, Mixer, MixerContext, Operand, Registry, Turn};
use admix_engine::{Execution, StepOptions};
use admix_torch::{Device, Kind, Tensor};
use serde_json::{Value, json};

use super::{batch, session};

const SEED: u64 = 5;

/// What a recipe tells a mixer: maps of three channels, so that the images may stand for them.
fn driver() -> Driver {
    let context = MixerContext { feature_channels: Some(3), classes: 5, ..MixerContext::default() };
    Driver::new(Registry::linked().expect("a registry"), SEED).knowing(context)
}

/// Every mixer that mixes by itself, as a recipe spells it, with its settings as an object.
fn mixers() -> Vec<(String, String, Value)> {
    let registry = Registry::linked().expect("a registry");
    let own = registry.of::<dyn Mixer>().filter(|entry| entry.name != "choice");
    let mut all: Vec<_> =
        own.map(|entry| (entry.name.clone(), format!("{}()", entry.type_name), json!({}))).collect();
    let of = |text: &str| (text.split('(').next().unwrap_or_default().to_lowercase(), text.to_string());
    for (text, settings) in [
        (
            "CutMix(alpha: 0.5, per: Sample, partner: Flip)",
            json!({"alpha": 0.5, "per": "Sample", "partner": "Flip"}),
        ),
        ("MixUp(prob: 0.5, fold: true)", json!({"prob": 0.5, "fold": true})),
        ("AMix(preset: Code, dropout: 0.2)", json!({"preset": "Code", "dropout": 0.2})),
    ] {
        let (name, text) = of(text);
        all.push((name, text, settings));
    }
    all
}

#[test]
fn a_mix_has_the_bits_that_it_has_in_a_run_of_the_same_seed() {
    for (name, text, settings) in mixers() {
        let mut mixer = driver().mixer(&name, &settings).unwrap_or_else(|error| panic!("{text}: {error}"));
        let needs = mixer.needs().clone();
        let mut keys = String::new();
        keys.push_str(if needs.features.is_some() { ", features: x" } else { "" });
        keys.push_str(if needs.saliency { ", saliency: saliency(x)" } else { "" });
        keys.push_str(if needs.pseudo { ", pseudo: t.labels" } else { "" });
        let script = format!(
            r#"fn weights(t) {{ #{{ loss: 1.0 }} }}
            fn step(t) {{
                let x = t.images;
                let m = t.quiet("{name}", #{{ as: "mix", images: x{keys} }});
                t.learn(#{{ loss: t.loss("mixup_cross_entropy", t.pass("q", m).logits("one"), m.target(t.labels)) }});
            }}"#
        );
        let recipe = format!(
            r#"(epochs: 1, batch: 6, method: "mixup", seed: {SEED}, mixers: {{"{name}": {text}}},
                model: ConvNet(widths: [3, 3, 3], strides: [2, 1, 1]), optimizer: Sgd(lr: 0.05))"#
        );
        let mut session = session(&recipe, &script, 3).unwrap_or_else(|error| panic!("{text}: {error}"));
        let weights = session.tensors();
        for (tensor, own) in mixer.store().tensors() {
            assert!(own.equal(&weights[&format!("mixer.{name}.{tensor}")]), "{text}: {tensor}");
        }
        for step in 0..3 {
            let given = batch(step, 6);
            let (images, labels) = (given.images.shallow_clone(), given.labels.shallow_clone());
            let options =
                StepOptions { execution: Execution::Direct, detail: true, ..StepOptions::default() };
            let report = session.step_with(vec![given], &options);
            let mut report = report.unwrap_or_else(|error| panic!("{text}: {error}"));
            let theirs = report.mixes.remove("mix").expect("the mix");
            let input = MixInput {
                features: needs.features.map(|_| &images),
                saliency: theirs.saliency.as_ref().filter(|_| needs.saliency),
                pseudo: needs.pseudo.then_some(&labels),
                quiet: true,
                ..MixInput::of(&images)
            };
            let ours = mixer.mix(&input, &Turn::at(0, step as u64)).unwrap_or_else(|e| panic!("{text}: {e}"));
            let same = |what: &str, one: &Tensor, other: &Tensor| {
                assert!(one.equal(other), "{text}, step {step}: {what}");
            };
            same("images", &ours.mixed.images, &theirs.images);
            same("lambda", &ours.lambda, &theirs.lambda);
            assert_eq!(ours.mixed.hidden.map_or(0, |hidden| hidden.stage), theirs.stage, "{text}");
            assert_eq!(ours.mixed.mask.is_some(), theirs.mask.is_some(), "{text}");
            if let (Some(one), Some(other)) = (&ours.mixed.mask, &theirs.mask) {
                same("mask", one, other);
            }
            if needs.features.is_some() {
                // The run trains its own weights from here on.
                break;
            }
        }
    }
}

#[test]
fn a_choice_picks_what_it_picks_in_a_run() {
    let recipe = format!(
        r#"(epochs: 1, batch: 8, method: "mixup", seed: {SEED}, model: ConvNet(widths: [8, 8], strides: [2, 2]),
            mixers: {{"mix": Choice(of: {{"mixup": 1.0, "cutmix": 1.0}}), "mixup": MixUp(), "cutmix": CutMix()}},
            optimizer: Sgd(lr: 0.05))"#
    );
    let mut session =
        session(&recipe, admix_engine::bundled::script("mixup").expect("a script").0, 6).expect("a session");
    let mut choice =
        driver().mixer("choice", &json!({"of": {"mixup": 1.0, "cutmix": 1.0}})).expect("a mixer");
    let mut picked = std::collections::BTreeSet::new();
    for step in 0..6 {
        let given = batch(step, 8);
        let images = given.images.shallow_clone();
        let options = StepOptions { execution: Execution::Direct, detail: true, ..StepOptions::default() };
        let report = session.step_with(vec![given], &options).expect("a step");
        let ours = choice.mix(&MixInput::of(&images), &Turn::at(0, step as u64)).expect("a mix");
        assert!(ours.mixed.images.equal(&report.mixes["mix"].images), "step {step}: {}", ours.mixer);
        picked.insert(ours.mixer);
    }
    assert_eq!(picked.len(), 2, "both are picked: {picked:?}");
}

#[test]
fn the_same_turn_gives_the_same_bits_and_any_other_gives_others() {
    let images = batch(0, 6).images.shallow_clone();
    let mix = |turn: Turn| {
        driver()
            .mixer("mixup", &json!({}))
            .expect("a mixer")
            .mix(&MixInput::of(&images), &turn)
            .expect("a mix")
            .mixed
            .images
    };
    let first = mix(Turn::at(1, 7));
    assert!(first.equal(&mix(Turn::at(1, 7))));
    for other in [
        Turn::at(1, 8),
        Turn::at(2, 7),
        Turn::at(1, 7).named("lesson"),
        Turn { worker: "worker 1".into(), ..Turn::at(1, 7) },
        Turn { lambda: Some(0.25), ..Turn::at(1, 7) },
    ] {
        assert!(!first.equal(&mix(other)));
    }
    let mut reseeded = driver().mixer("mixup", &json!({})).expect("a mixer");
    reseeded.reseed(SEED + 1);
    assert!(
        !first.equal(&reseeded.mix(&MixInput::of(&images), &Turn::at(1, 7)).expect("a mix").mixed.images)
    );
}

#[test]
fn given_partners_and_lambda_take_the_place_of_drawn_ones() {
    let images = batch(0, 4).images.shallow_clone();
    let partner = Tensor::from_slice(&[1i64, 1, 3, 0]);
    let mut mixer = driver().mixer("mixup", &json!({})).expect("a mixer");
    let turn = Turn { lambda: Some(0.25), partner: Some(partner.shallow_clone()), ..Turn::at(0, 0) };
    let mixed = mixer.mix(&MixInput::of(&images), &turn).expect("a mix");
    let wanted = images.index_select(0, &partner).lerp(&images, 0.25);
    assert!(mixed.mixed.images.equal(&wanted));
    assert_eq!(mixed.lambda.double_value(&[]), 0.25);
}

#[test]
fn trained_tensors_of_somebody_else_take_the_place_of_its_own() {
    let images = batch(0, 4).images.shallow_clone();
    let mut mixer = driver().mixer("amix", &json!({})).expect("a mixer");
    let input = MixInput { features: Some(&images), ..MixInput::of(&images) };
    let before = mixer.mix(&input, &Turn::at(0, 0)).expect("a mix").mixed.images;
    let tensors: Vec<(String, Tensor)> = mixer
        .store()
        .tensors()
        .into_iter()
        .map(|(name, tensor)| {
            let copy = tensor.detach().copy();
            (name, copy.set_requires_grad(tensor.requires_grad()))
        })
        .collect();
    let leaves: Vec<Tensor> = tensors.iter().map(|(_, tensor)| tensor.shallow_clone()).collect();
    mixer.bind(Device::Cpu, tensors).expect("tensors that fit");
    let after = mixer.mix(&input, &Turn::at(0, 0)).expect("a mix").mixed.images;
    assert!(before.equal(&after));
    after.square().sum(Kind::Float).backward();
    assert!(
        leaves.iter().any(|leaf| leaf.grad().defined() && leaf.grad().abs().max().double_value(&[]) > 0.0)
    );
    let short: Vec<(String, Tensor)> = mixer.store().tensors().into_iter().skip(1).collect();
    assert!(mixer.bind(Device::Cpu, short).expect_err("refused").to_string().contains("no tensor named"));
    assert!(
        mixer.mix(&input, &Turn::at(0, 0)).expect("a mix").mixed.images.equal(&after),
        "nothing was changed"
    );
}

#[test]
fn losses_take_a_mix_its_target_and_plain_labels() {
    let given = batch(0, 6);
    let (images, labels) = (given.images.shallow_clone(), Tensor::from_slice(&[0i64, 1, 2, 3, 4, 0]));
    let logits = (Tensor::arange(30, (Kind::Float, Device::Cpu)) * 0.7).sin().reshape([6, 5]);
    let driver = driver();
    let mixed = driver
        .mixer("cutmix", &json!({}))
        .expect("a mixer")
        .mix(&MixInput::of(&images), &Turn::at(0, 3))
        .expect("a mix");
    let mixup = driver.loss("mixup_cross_entropy", &json!({})).expect("a loss");
    let shared = Operand::shared(&mixed.mixed.credit, &labels).expect("a mix");
    let value =
        mixup.loss(vec![Operand::Tensor(logits.shallow_clone()), shared]).expect("a mix").double_value(&[]);
    let (sources, shares) = mixed.mixed.credit.shares().expect("a mix");
    let log = logits.log_softmax(1, Kind::Float);
    let each = labels.index_select(0, &sources.reshape([-1])).reshape([6, 2]);
    let wanted = -(log.gather(1, &each, false) * shares).sum(Kind::Float).double_value(&[]) / 6.0;
    assert!((value - wanted).abs() < 1e-5, "{value} {wanted}");

    let mask = driver.loss("mask", &json!({})).expect("a loss");
    assert!(mask.loss(vec![Operand::mask(&mixed)]).expect("a mix").double_value(&[]).is_finite());
    let message = |operands| mask.loss(operands).expect_err("refused").to_string();
    assert!(message(vec![]).contains("takes a mix that has a mask; it was given 0"), "{}", message(vec![]));
    let wrong = message(vec![Operand::Tensor(logits.shallow_clone())]);
    assert!(wrong.contains("expects a mix that has a mask, got a tensor [6, 5] of Float"), "{wrong}");
    let plain = driver
        .mixer("mixup", &json!({}))
        .expect("a mixer")
        .mix(&MixInput::of(&images), &Turn::at(0, 3))
        .expect("a mix");
    assert!(message(vec![Operand::mask(&plain)]).contains("needs `mask`"));
}

#[test]
fn wrong_settings_are_refused_by_name_with_what_was_expected() {
    for (name, settings, words) in [
        ("cutmx", json!({}), &["no mixer named `cutmx`", "Did you mean `cutmix`?"][..]),
        (
            "cutmix",
            json!({"alpah": 1.0}),
            &["`alpah` is no setting of the mixer `cutmix`", "Did you mean `alpha`?"],
        ),
        ("cutmix", json!({"alpha": "one"}), &["`alpha` of the mixer `cutmix` is \"one\", expected a number"]),
        (
            "cutmix",
            json!({"alpha": -1.0}),
            &["`alpha` of the mixer `cutmix` is -1, expected a number above 0"],
        ),
        ("cutmix", json!({"per": "Sampel"}), &["`per` of the mixer `cutmix`", "Did you mean `Sample`?"]),
        ("cutmix", json!({"fold": 1, "per": "Sample"}), &["`fold`", "is 1, expected true or false"]),
        ("cutmix", json!({"box_rule": "Reel"}), &["`box_rule`", "Did you mean `Real`?"]),
        ("cutmix", json!([]), &["the settings of the mixer `cutmix` are [], expected an object"]),
        (
            "amix",
            json!({"dropout": 1.5}),
            &["`dropout` of the mixer `amix` is 1.5, expected a number in [0, 0.99]"],
        ),
        ("amix", json!({"prob": 0.5}), &["`prob` of the mixer `amix` is for mixers without parameters"]),
        (
            "choice",
            json!({"of": {"mixup": 1.0}, "alpha": 0.5}),
            &["`alpha` of the mixer `choice` plays no part"],
        ),
        ("choice", json!({"of": {"mixpu": 1.0}}), &["no mixer named `mixpu`"]),
        ("choice", json!({"of": {"amix": 1.0}}), &["cannot pick `amix`, which is trained"]),
    ] {
        let message = driver().mixer(name, &settings).expect_err("refused").to_string();
        assert!(words.iter().all(|word| message.contains(word)) && !message.contains('\n'), "{message}");
    }
    let loss = |settings| driver().loss("mask", &settings).expect_err("refused").to_string();
    assert!(loss(json!({"margn": 0.1})).contains("`margn` is no setting of the loss `mask`"));
    let blind = Driver::new(Registry::linked().expect("a registry"), 0)
        .mixer("amix", &json!({}))
        .expect_err("refused");
    assert!(blind.to_string().contains("needs `channels`"), "{blind}");
}

#[test]
fn inputs_that_do_not_fit_are_refused_before_anything_is_mixed() {
    let float = (Kind::Float, Device::Cpu);
    let images = Tensor::rand([4, 3, 8, 8], float);
    let other = Tensor::rand([4, 8, 9], float);
    let plain = MixInput::of(&images);
    let turn = || Turn::at(0, 0);
    let refused = |name: &str, input: &MixInput<'_>, turn: &Turn| {
        driver().mixer(name, &json!({})).expect("a mixer").mix(input, turn).expect_err("refused").to_string()
    };
    let flat = Tensor::rand([4, 3], float);
    let bytes = images.to_kind(Kind::Uint8);
    let none = Tensor::rand([0, 3, 8, 8], float);
    let partner = |list: &[i64]| Turn { partner: Some(Tensor::from_slice(list)), ..turn() };
    for (message, words) in [
        (refused("puzzlemix", &plain, &turn()), "the mixer `puzzlemix` needs `saliency`"),
        (
            refused("mixup", &MixInput { saliency: Some(&other), ..MixInput::of(&images) }, &turn()),
            "takes no `saliency`",
        ),
        (
            refused("puzzlemix", &MixInput { saliency: Some(&other), ..MixInput::of(&images) }, &turn()),
            "expected [4, 8, 8]",
        ),
        (refused("mixup", &MixInput::of(&flat), &turn()), "expected [N, C, H, W]"),
        (refused("mixup", &MixInput::of(&bytes), &turn()), "divide by 255"),
        (refused("mixup", &MixInput::of(&none), &turn()), "at least one image"),
        (refused("mixup", &plain, &partner(&[0, 1])), "`partner` of the mixer `mixup` is [2] of Int64"),
        (
            refused("mixup", &plain, &partner(&[0, 1, 2, 4])),
            "out of range, expected numbers of samples, 0 to 3",
        ),
        (
            refused("mixup", &plain, &Turn { lambda: Some(1.5), ..turn() }),
            "`lambda` of the mixer `mixup` is 1.5",
        ),
    ] {
        assert!(message.contains(words) && !message.contains('\n'), "{message}");
    }
}
