//! The mixer that CONTRIBUTING writes.

use admix_api::contract::{self, Verdict};
use admix_api::{Describe, MixInput, Mixer, Plan, Value};
use admix_engine::{Clock, Method, Recipe, Session, Shape, StepOptions, bundled};
use admix_torch::{Device, Kind, Tensor};
use serde_json::json;

use super::registry;
use super::snippets::STAGE;
use crate::engine::batch;

#[path = "../../docs/stripes.rs"]
mod stripes;

pub use stripes::Stripes;

#[test]
fn the_mixer_of_the_contributing_page_keeps_the_contract() {
    let verdicts = contract::check(&Stripes::entry(), &[json!({}), json!({"period": 3})]);
    assert!(!verdicts.iter().any(Verdict::is_broken), "{}", contract::table(&verdicts));
}

#[test]
fn the_mixer_of_the_contributing_page_shows_whole_rows_of_each_image() {
    for (n, height, width) in [(1, 8, 8), (3, 6, 9), (4, 5, 4)] {
        let images = (Tensor::arange(n * 2 * height * width, (Kind::Float, Device::Cpu)) * 0.7).sin();
        let images = images.reshape([n, 2, height, width]);
        let before = images.copy();
        let lambdas: Vec<f64> = (0..n).map(|i| i as f64 / n as f64).collect();
        let partner: Vec<i64> = (0..n).rev().collect();
        for lambda in [Value::Float(0.4), Value::Floats(lambdas)] {
            let plan = Plan::given(0.4, &partner).with("lambda", lambda).on(Device::Cpu).expect("a plan");
            let mix = || Stripes { period: 4 }.mix(&MixInput::of(&images), &plan).expect("a mix");
            let (first, second) = (mix(), mix());
            assert!(first.images.equal(&second.images) && images.equal(&before));
            let mask = first.mask.expect("a mask");
            assert_eq!(mask.size(), [n, 1, height, width]);
            let theirs = images.index_select(0, &Tensor::from_slice(&partner));
            let wanted = &mask * &images + (1.0 - &mask) * theirs;
            assert!(first.images.equal(&wanted), "each pixel is its own or its partner's");
            let (_, shares) = first.credit.shares().expect("shares");
            let seen = mask.mean_dim([1i64, 2, 3].as_slice(), false, Kind::Float);
            assert!(shares.select(1, 0).equal(&seen), "the label is credited by area");
            assert!(
                (shares.sum_dim_intlist(1i64, false, Kind::Float) - 1.0).abs().max().double_value(&[]) < 1e-6
            );
        }
    }
    // Rows 0 and 1 of each four are below 0.4, rows 2 and 3 are not.
    let images = Tensor::stack(
        &[
            Tensor::zeros([1, 4, 1], (Kind::Float, Device::Cpu)),
            Tensor::ones([1, 4, 1], (Kind::Float, Device::Cpu)),
        ],
        0,
    );
    let plan = Plan::given(0.4, &[1, 0]).on(Device::Cpu).expect("a plan");
    let mixed = Stripes::default().mix(&MixInput::of(&images), &plan).expect("a mix");
    assert!(mixed.images.get(0).flatten(0, -1).equal(&Tensor::from_slice(&[0f32, 0.0, 1.0, 1.0])));
}

#[test]
fn the_mixer_of_the_contributing_page_trains_under_a_bundled_method() {
    let choice = r#"Choice(of: {"mixup": 0.5, "cutmix": 0.5})"#;
    let text = STAGE.replace(choice, "Stripes(period: 2, alpha: 0.5)");
    let recipe = Recipe::parse(&text, "test.ron", &[], &registry()).expect("a recipe");
    let (script, file) = bundled::script("mixup").expect("bundled");
    let method = Method::compile(script, file).expect("a method");
    let clock = Clock { step: 0, steps: 3, epoch: 0, epochs: 1 };
    let shape = Shape::new(3, 5);
    let mut session =
        Session::build(&recipe, method, &registry(), shape, clock, Device::Cpu).expect("a session");
    for number in 0..3 {
        let options = StepOptions { detail: true, ..StepOptions::default() };
        let report = session.step_with(vec![batch(number, 8)], &options).expect("a step");
        assert!(report.losses[0].1.double_value(&[]).is_finite());
        assert!(report.mixes["mix"].mask.is_some());
    }
    let wrong = text.replace("period: 2", "period: 0");
    let error = Recipe::parse(&wrong, "test.ron", &[], &registry()).expect_err("refused").to_string();
    assert!(error.contains("period") && error.contains("at least 1"), "{error}");
}
