//! Mixers of libraries as objects, with plans that a test chooses.

use std::collections::BTreeMap;

use admix_api::{
    Ask, Credit, Error, Loss, LossInput, MixInput, Mixed, Mixer, MixerContext, Pairing, Partner, Path, Per,
    Plan, Registry, Store, Streams, Value, abi, erased_serde, uniform_field,
};
use admix_torch::{Device, Kind, Tensor};
use serde_json::json;

use super::library;

const GRID_MIX: &str = "examples/plugin_cpp/grid_mix.cpp";
const SOFT_GRID: &str = "examples/plugin_cpp/soft_grid.cpp";
const MISBEHAVING: &str = "tests/plugins/misbehaving.cpp";

/// A mixer of a library with these settings, built under a path.
fn built(
    source: &str,
    name: &str,
    settings: serde_json::Value,
    path: &Path,
) -> Result<Box<dyn Mixer>, Error> {
    built_for(source, name, settings, path, &MixerContext::default())
}

/// The same for some data.
fn built_for(
    source: &str,
    name: &str,
    settings: serde_json::Value,
    path: &Path,
    context: &MixerContext,
) -> Result<Box<dyn Mixer>, Error> {
    admix_torch::set_threads(1);
    let mut registry = Registry::linked().expect("plugins");
    abi::load(library(source), &mut registry).expect("it loads");
    let (_, reader) = registry.find::<dyn Mixer>(name).expect("it is there");
    let config = (reader.read)(&mut <dyn erased_serde::Deserializer<'_>>::erase(settings)).expect("settings");
    config.validate()?;
    config.build(path, context)
}

fn store() -> Store {
    Store::new(Device::Cpu, Streams::new(7))
}

fn ask(batch: usize, (height, width): (i64, i64), per: Per) -> Ask {
    let pairing =
        Pairing { alpha: 1.0, per, fold: false, partner: Partner::Derangement, ..Pairing::default() };
    Ask { batch, height, width, pairing, lambda: None, quiet: false, progress: 0.5 }
}

/// A mix of images that are all different, by a plan of step `step`.
fn mixed(mixer: &mut dyn Mixer, ask: &Ask, step: u64) -> (Tensor, Plan, Mixed) {
    let size = [ask.batch as i64, 3, ask.height, ask.width];
    let images = Tensor::arange(size.iter().product::<i64>(), (Kind::Float, Device::Cpu)).reshape(size);
    let plan = mixer.plan(ask, &mut Streams::new(1).draws("mixer", "test", 0, step)).expect("a plan");
    let mix = mixer.mix(&MixInput::of(&images), &plan.on(Device::Cpu).expect("tensors")).expect("a mix");
    (images, plan, mix)
}

fn pair(mixed: &Mixed) -> (&Tensor, &Tensor) {
    let Credit::Pair { partner, lambda } = &mixed.credit else { panic!("a pair") };
    (partner, lambda)
}

#[test]
fn a_mixer_of_a_library_finds_partners_by_pseudo_label_in_its_plan() {
    let mut mixer = built(GRID_MIX, "grid_mix", json!({"cells": 4}), &store().root()).expect("a mixer");
    let mut ask = ask(8, (16, 16), Per::Batch);
    ask.pairing.partner = Partner::ClusterAware { share: 1.0 };
    let plan = mixer.plan(&ask, &mut Streams::new(1).draws("mixer", "test", 0, 0)).expect("a plan");
    let labels = Tensor::from_slice(&[0i64, 1, 2, 3, 0, 1, 2, 3]);
    let paired =
        plan.on(Device::Cpu).expect("tensors").paired(Some(&labels)).expect("labels").expect("a pairing");
    let images =
        Tensor::arange(8, (Kind::Float, Device::Cpu)).reshape([8, 1, 1, 1]).expand([8, 3, 16, 16], false);
    let mix = mixer.mix(&MixInput::of(&images), &paired).expect("a mix");
    let (partner, _) = pair(&mix);
    assert!(partner.equal(&Tensor::from_slice(&[4i64, 5, 6, 7, 0, 1, 2, 3])), "{partner}");
    // Each image holds itself and its partner, four further.
    let far = (&mix.images - &images).abs();
    assert!(
        far.eq(0.0).logical_or(&far.eq(4.0)).all().int64_value(&[]) == 1
            && far.max().double_value(&[]) == 4.0
    );
}

#[test]
fn grid_mix_credits_the_visible_area_of_cells_of_any_size() {
    for (cells, size) in [(4, (16, 16)), (3, (16, 16)), (5, (7, 13)), (8, (5, 9)), (1, (6, 4))] {
        let mut mixer =
            built(GRID_MIX, "grid_mix", json!({"cells": cells}), &store().root()).expect("a mixer");
        for (step, per) in [(0, Per::Batch), (1, Per::Sample), (2, Per::Batch), (3, Per::Sample)] {
            let ask = ask(6, size, per);
            let (images, plan, mix) = mixed(mixer.as_mut(), &ask, step);
            let (partner, credit) = pair(&mix);
            let mask = mix.mask.as_ref().expect("a mask");
            let at = format!("{cells} cells on {size:?}, {per:?}");
            let is_binary = (mask.eq(0.0) + mask.eq(1.0)).all();
            assert!(bool::try_from(&is_binary).expect("a flag"), "{at}");
            // What is seen is what is credited, and every pixel is of the one or the other.
            let dims = [1i64, 2, 3];
            let area = mask.mean_dim(dims.as_slice(), false, Kind::Float);
            assert!(area.allclose(&credit.expand([6], false), 1e-6, 1e-6, false), "{at}");
            assert_eq!(credit.size(), if per == Per::Batch { vec![] } else { vec![6] }, "{at}");
            let wanted = images.where_self(&mask.gt(0.5), &images.index_select(0, partner));
            assert!(mix.images.equal(&wanted), "{at}");
            // As near to lambda as the next cell allows.
            let lambdas = plan.lambdas(6).expect("lambda");
            let largest = (size.0 + cells - 1).div_euclid(cells) * (size.1 + cells - 1).div_euclid(cells);
            for (index, lambda) in lambdas.iter().enumerate() {
                let off = (area.double_value(&[index as i64]) - lambda).abs();
                assert!(off <= largest as f64 / (size.0 * size.1) as f64 / 2.0 + 1e-6, "{at}: {off} off");
            }
        }
    }
}

#[test]
fn grid_mix_draws_other_cells_for_each_mix_and_each_sample() {
    let mut mixer = built(GRID_MIX, "grid_mix", json!({}), &store().root()).expect("a mixer");
    let fixed = |per| Ask { lambda: (per == Per::Batch).then_some(0.5), ..ask(8, (16, 16), per) };
    let mut mask = |step, per| mixed(mixer.as_mut(), &fixed(per), step).2.mask.expect("a mask");
    assert!(mask(1, Per::Batch).equal(&mask(1, Per::Batch)));
    assert!(!mask(1, Per::Batch).equal(&mask(2, Per::Batch)));
    let all = mask(1, Per::Sample);
    assert!((1..8).any(|i| !all.get(i).equal(&all.get(0))));
    // Eight of sixteen cells: each is kept in half of the draws (200 draws; five standard errors are 0.18).
    let kept =
        (0..200).map(|step| mask(step, Per::Batch).get(0)).fold(Tensor::from(0f32), |sum, one| sum + one);
    let share = kept / 200.0;
    assert!(share.min().double_value(&[]) > 0.32 && share.max().double_value(&[]) < 0.68);
}

#[test]
fn soft_grid_gives_its_parameter_a_gradient_and_the_mean_of_its_mask_as_credit() {
    let store = store();
    let mut mixer = built(SOFT_GRID, "soft_grid", json!({"cells": 3}), &store.root()).expect("a mixer");
    let [(name, logits, hints)] = &store.parameters()[..] else { panic!("one parameter") };
    assert_eq!((name.as_str(), logits.size(), hints.weight_decay), ("logits", vec![1, 1, 3, 3], false));
    for per in [Per::Batch, Per::Sample] {
        let ask = ask(4, (9, 6), per);
        let (_, _, mix) = mixed(mixer.as_mut(), &ask, 3);
        let (_, credit) = pair(&mix);
        let mask = mix.mask.as_ref().expect("a mask");
        let area = mask.mean_dim([1i64, 2, 3].as_slice(), false, Kind::Float);
        assert!(area.allclose(&credit.expand([4], false), 1e-5, 1e-6, false));
        assert!(!credit.requires_grad());
        (&mix.images * mix.images.sin()).mean(Kind::Float).backward();
        let mut gradient = logits.grad();
        assert!(gradient.defined() && gradient.abs().max().double_value(&[]) > 0.0, "{per:?}: {gradient}");
        let _ = gradient.zero_();
    }
}

/// A loss with these settings.
fn loss(registry: &Registry, name: &str, settings: serde_json::Value) -> Box<dyn Loss> {
    let (_, reader) = registry.find::<dyn Loss>(name).expect("it is there");
    let config = (reader.read)(&mut <dyn erased_serde::Deserializer<'_>>::erase(settings)).expect("settings");
    config.build().expect("a loss")
}

#[test]
fn smooth_focal_is_cross_entropy_without_its_two_factors_and_finite_for_large_logits() {
    admix_torch::set_threads(1);
    let mut registry = Registry::linked().expect("plugins");
    abi::load(library(SOFT_GRID), &mut registry).expect("it loads");
    let labels = Tensor::from_slice(&[2i64, 0, 4, 1, 1]);
    let credit = Credit::Pair {
        partner: Tensor::from_slice(&[4i64, 3, 2, 1, 0]),
        lambda: Tensor::from_slice(&[0.1f32, 0.5, 1.0, 0.0, 0.7]),
    };
    let value = |name: &str, settings: serde_json::Value, scale: f64| {
        let ramp = Tensor::arange(25, (Kind::Float, Device::Cpu)).reshape([5, 5]);
        let logits = ((ramp * 1.7).sin() * scale).set_requires_grad(true);
        let input = LossInput::default().with("logits", logits.shallow_clone());
        let input = input.with_target(&credit, &labels).expect("a target");
        let value = loss(&registry, name, settings).loss(&input).expect("a value");
        value.backward();
        let is_finite = bool::try_from(&logits.grad().isfinite().all()).expect("a flag");
        assert!(is_finite, "{name}: the gradient at {scale} is not finite");
        value.double_value(&[])
    };
    let plain = value("smooth_focal", json!({"gamma": 0.0, "smoothing": 0.0}), 3.0);
    let wanted = value("mixup_cross_entropy", json!({}), 3.0);
    assert!((plain - wanted).abs() < 1e-5, "{plain} is not {wanted}");
    assert!(value("smooth_focal", json!({"smoothing": 0.0}), 3.0) < plain);
    // Every class has the same share: the mean over classes, whatever the labels.
    let spread = value("smooth_focal", json!({"gamma": 0.0, "smoothing": 1.0}), 0.0);
    assert!((spread - 5f64.ln()).abs() < 1e-6, "{spread}");
    assert!(value("smooth_focal", json!({"gamma": 0.5}), 1e6).is_finite());
}

#[test]
fn the_sdk_hands_over_draws_fields_settings_and_tensors_as_they_are() {
    let store = store();
    let settings = json!({"number": 0.125, "whole": -9007199254740993i64, "flag": false, "text": "ä\n\"\\", "form": "Round"});
    let mut mixer = built(MISBEHAVING, "probe", settings, &store.root()).expect("a mixer");
    let ask = ask(6, (8, 5), Per::Sample);
    let (_, plan, mix) = mixed(mixer.as_mut(), &ask, 5);
    // The same stream, drawn from directly.
    let mut draws = Streams::new(1).draws("mixer", "test", 0, 5);
    let mut wanted = Plan::draw(&ask, &mut draws).expect("a plan");
    let key = draws.field_key();
    wanted = wanted.with("key", Value::Int(key));
    wanted = wanted.with("uniform", Value::Float(draws.uniform()));
    wanted = wanted.with("normal", Value::Float(draws.normal()));
    wanted = wanted.with("beta", Value::Float(draws.beta(2.0, 3.0).expect("a draw")));
    wanted = wanted.with("choice", Value::Int(draws.below(10) as i64));
    wanted = wanted.with("permutation", Value::Ints(draws.permutation(6)));
    wanted = wanted.with("derangement", Value::Ints(draws.derangement(6)));
    wanted = wanted.with("size", Value::Ints(vec![6, 8, 5, 0, 1])).structured(42);
    assert_eq!(plan, wanted);
    assert_eq!(mix.extras["data"].size(), [1], "nothing is known of the data but that it has no classes");
    assert!(mix.extras["field"].equal(&uniform_field(&Tensor::from(key), &[6, 3, 7]).expect("a field")));
    let told: Vec<f64> = Vec::try_from(&mix.extras["settings"].to_kind(Kind::Double)).expect("numbers");
    // -9007199254740993 is no double; four bytes of text and a rounded number are enough to see that all came through.
    assert_eq!((told[0], told[2], told[3], told[4]), (0.125, 0.0, 5.0, 0.0));
    assert!((told[1] + 9007199254740993.0).abs() < 1e9);

    let own: BTreeMap<String, Tensor> = store.tensors().into_iter().collect();
    assert_eq!(own.keys().map(String::as_str).collect::<Vec<_>>(), ["adopted", "counter", "inner.weight"]);
    assert!(mix.extras["weight"].equal(&own["inner.weight"]));
    let trained: Vec<String> = store.parameters().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(trained, ["inner.weight", "adopted"]);
    assert_eq!(own["counter"].double_value(&[]), 5.0);
    mixer.train(false);
    assert_eq!(own["counter"].double_value(&[]), 2.0);
    assert!(own["inner.weight"].abs().max().double_value(&[]) > 0.01);
    {
        let _no_graph = admix_torch::no_grad();
        mixer.after_step().expect("a step");
    }
    assert!(own["inner.weight"].abs().max().double_value(&[]) <= 0.01001);
}

#[test]
fn the_data_s_normalisation_and_classes_reach_a_plugin_in_build() {
    let context = MixerContext {
        mean: vec![0.25, 0.5, 0.75],
        std: vec![0.125, 2.0, 4.0],
        classes: 7,
        ..MixerContext::default()
    };
    let mut mixer = built_for(MISBEHAVING, "probe", json!({}), &store().root(), &context).expect("a mixer");
    let (_, _, mix) = mixed(mixer.as_mut(), &ask(6, (8, 5), Per::Sample), 1);
    let told: Vec<f64> = Vec::try_from(&mix.extras["data"].to_kind(Kind::Double)).expect("numbers");
    assert_eq!(told, [0.25, 0.5, 0.75, 0.125, 2.0, 4.0, 7.0]);
    let uneven = MixerContext { mean: vec![0.5], ..MixerContext::default() };
    assert!(built_for(MISBEHAVING, "probe", json!({}), &store().root(), &uneven).is_err());
}

#[test]
fn a_hidden_mix_of_a_library_has_its_stage_from_the_plan_and_the_images_it_was_given() {
    let mut mixer = built(MISBEHAVING, "deep", json!({}), &store().root()).expect("a mixer");
    assert_eq!(mixer.needs().hidden, Some(2));
    let mut seen = [false; 3];
    for step in 0..12 {
        let (images, plan, mix) = mixed(mixer.as_mut(), &ask(4, (8, 5), Per::Sample), step);
        let stage = mix.hidden.map_or(0, |hidden| hidden.stage);
        assert_eq!(stage as u64, plan.structure);
        assert_eq!(mix.images.equal(&images), stage > 0);
        assert_eq!(mix.mask.map(|mask| mask.size()), (stage > 0).then(|| vec![4, 1, 1, 1]));
        seen[stage] = true;
    }
    assert_eq!(seen, [true; 3]);
}

#[test]
fn what_the_host_refuses_in_build_reaches_the_user() {
    let error =
        built(MISBEHAVING, "probe", json!({"text": "twice"}), &store().root()).expect_err("two of one name");
    let told = error.to_string();
    assert!(told.contains("`inner.weight`") && told.contains("libmisbehaving.so"), "{told}");
}
