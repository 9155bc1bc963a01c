//! Mixers that mix more than pairs: no lambda and no partners in the plan, shares of many samples.

use admix_engine::{Execution, Session, StepOptions, StepReport};
use admix_torch::{Kind, Tensor};

use super::{batch, differing, session};

const RECIPE: &str = r#"(epochs: 2, batch: 8, method: "mixup", seed: 3, optimizer: Sgd(lr: 0.05),
    model: ConvNet(widths: [8, 12], strides: [2, 2]), mixers: {"mix": CoMixup(part: 5)})"#;

/// Mixes by saliency, and logs how much of the own image is in each mix.
const SCRIPT: &str = r#"
fn weights(t) { #{ loss: 1.0 } }

fn step(t) {
    let x = t.images;
    let seen = t.leaf(x);
    let clean = t.pass(t.evaluating("q"), seen).logits("one");
    let map = saliency(t.gradient(t.loss("cross_entropy", clean, t.labels), seen));
    let mixed = t.quiet("mix", #{ as: "mix", images: x, saliency: map });
    t.log("own", mixed.lambda);
    t.learn(#{ loss: t.loss("mixup_cross_entropy", t.pass("q", mixed).logits("one"), mixed.target(t.labels)) });
}
"#;

fn trained(execution: Execution) -> (Session, Vec<StepReport>) {
    let mut session = session(RECIPE, SCRIPT, 8).expect("a session");
    let options = StepOptions { execution, detail: true, ..StepOptions::default() };
    let reports =
        (0..4).map(|number| session.step_with(vec![batch(number, 8)], &options).expect("a step")).collect();
    (session, reports)
}

#[test]
fn a_mix_of_many_trains_and_is_reported_without_partners() {
    let (session, reports) = trained(Execution::Direct);
    let before = super::session(RECIPE, SCRIPT, 8).expect("a session").tensors();
    assert!(!differing(&before, &session.tensors()).is_empty());
    let mut own = Vec::new();
    for report in &reports {
        let mix = &report.mixes["mix"];
        assert!(mix.partner.is_none() && mix.mask.is_none());
        assert_eq!((mix.images.size(), mix.lambda.size()), (vec![8, 3, 16, 16], vec![8]));
        assert!(report.losses.iter().all(|(_, loss)| loss.double_value(&[]).is_finite()));
        let logged = &report.logged.iter().find(|(name, _)| name == "own").expect("logged").1;
        assert!((logged - mix.lambda.mean(Kind::Float)).abs().double_value(&[]) < 1e-6);
        own.push(mix.lambda.shallow_clone());
    }
    // Shares of cells of a 4 x 4 grid, not all of them 0.
    let halves: Tensor = Tensor::cat(&own, 0) * 32.0;
    assert!(halves.equal(&halves.round()) && halves.max().double_value(&[]) > 0.0, "{halves}");
}

#[test]
fn recorded_steps_with_a_solver_on_the_host_are_the_direct_ones_bit_for_bit() {
    let ((direct, _), (recorded, _)) = (trained(Execution::Direct), trained(Execution::Recorded));
    assert_eq!(differing(&direct.tensors(), &recorded.tensors()), Vec::<String>::new());
}

#[test]
fn settings_that_mean_nothing_to_a_mix_of_many_are_refused() {
    for setting in ["per: Sample", "fold: true", "partner: Flip"] {
        let text = RECIPE.replace("part: 5", &format!("part: 5, {setting}"));
        let message = super::recipe(&text).expect_err("refused").to_string();
        let name = setting.split(':').next().expect("a name");
        assert!(message.contains("test.ron") && message.contains(name), "{message}");
    }
}
