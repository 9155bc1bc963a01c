//! Mixers that leave some batches as they are: `prob` and `until`.

use std::collections::BTreeMap;

use admix_engine::{Clock, Execution, Session, StepOptions};
use admix_torch::Tensor;

use super::{batch, differing, session};

const MIXUP: &str = include_str!("../../scripts/mixup.rhai");
const STEPS: u64 = 6;

fn of(settings: &str) -> Session {
    let recipe = format!(
        r#"(epochs: 2, batch: 8, method: "mixup", seed: 3, model: ConvNet(widths: [8, 16], strides: [2, 2]),
            mixers: {{"mix": {settings}}}, optimizer: Sgd(lr: 0.05))"#
    );
    session(&recipe, MIXUP, STEPS).unwrap_or_else(|error| panic!("{error}"))
}

/// The lambda of every step, and the state at the end.
fn trained(settings: &str, execution: Execution) -> (Vec<Vec<f64>>, BTreeMap<String, Tensor>) {
    let mut session = of(settings);
    let options = StepOptions { execution, detail: true, ..StepOptions::default() };
    let lambdas = (0..STEPS).map(|step| {
        let clock = Clock { epoch: 2 * step / STEPS, ..session.clock() };
        session.set_clock(clock);
        let report = session.step_with(vec![batch(step as i64, 8)], &options).expect("a step");
        let mix = report.mixes.values().next().expect("a mix");
        Vec::try_from(&mix.lambda.to_kind(admix_torch::Kind::Double).reshape([-1])).expect("numbers")
    });
    let lambdas: Vec<Vec<f64>> = lambdas.collect();
    (lambdas, session.tensors())
}

fn rests(lambdas: &[Vec<f64>]) -> Vec<bool> {
    lambdas.iter().map(|lambda| lambda.iter().all(|one| *one == 1.0)).collect()
}

#[test]
fn a_batch_that_is_not_mixed_trains_as_one_without_a_mixer() {
    let mut rested = of("MixUp(prob: 0.0)");
    let mut plain = session(
        r#"(epochs: 2, batch: 8, method: "mixup", seed: 3, model: ConvNet(widths: [8, 16], strides: [2, 2]),
            optimizer: Sgd(lr: 0.05))"#,
        MIXUP,
        STEPS,
    )
    .expect("a session");
    for step in 0..STEPS as i64 {
        let value = |session: &mut Session| {
            let report = session.step(batch(step, 8)).expect("a step");
            report.losses[0].1.double_value(&[])
        };
        let (one, other) = (value(&mut rested), value(&mut plain));
        assert!((one - other).abs() < 1e-5, "step {step}: {one} and {other}");
    }
}

#[test]
fn prob_and_until_say_which_batches_are_mixed() {
    let direct = |settings: &str| rests(&trained(settings, Execution::Direct).0);
    assert_eq!(direct("MixUp()"), [false; 6]);
    assert_eq!(direct("MixUp(prob: 0.0)"), [true; 6]);
    assert_eq!(direct("MixUp(until: Epochs(1))"), [false, false, false, true, true, true]);
    assert_eq!(direct("MixUp(until: Share(0.8), per: Sample)"), [false, false, false, false, false, true]);
    let some = direct("CutMix(prob: 0.5)");
    assert!(some.contains(&true) && some.contains(&false), "{some:?}");
}

#[test]
fn a_recorded_step_rests_as_a_direct_one_does() {
    for settings in ["CutMix(prob: 0.5)", "MixUp(until: Epochs(1))"] {
        let (lambdas, direct) = trained(settings, Execution::Direct);
        let (again, recorded) = trained(settings, Execution::Recorded);
        assert_eq!(lambdas, again, "{settings}");
        assert!(differing(&direct, &recorded).is_empty(), "{settings}");
    }
}

#[test]
fn settings_that_let_no_batch_rest_change_no_bit() {
    let (_, plain) = trained("CutMix()", Execution::Direct);
    let (_, all) = trained("CutMix(prob: 1.0, until: End)", Execution::Direct);
    assert!(differing(&plain, &all).is_empty());
}

#[test]
fn a_mixer_that_learns_may_not_rest() {
    let text = super::AMIX.replace("dropout: 0.2", "dropout: 0.2, prob: 0.5");
    let refused =
        session(&text, include_str!("../../scripts/amix.rhai"), STEPS).expect_err("refused").to_string();
    assert!(refused.contains("mixers.amix.prob") && refused.contains("it mixes every batch"), "{refused}");
    let choice = r#""amix": Choice(of: {"own": 1.0, "other": 1.0}, until: Epochs(1)), "own": AMix(stage: 2), "other": MixUp()"#;
    let text = super::AMIX.replace(r#""amix": AMix(stage: 2, dropout: 0.2)"#, choice);
    let refused =
        session(&text, include_str!("../../scripts/amix.rhai"), STEPS).expect_err("refused").to_string();
    assert!(refused.contains("mixers.amix.until") && refused.contains("`own` is trained"), "{refused}");
}

#[test]
fn the_dry_calls_mix_by_every_option_of_a_choice_that_may_rest() {
    // The second option has its turn in the second call: it must be one that mixes.
    let place = tempfile::tempdir().expect("a folder");
    let file = place.path().join("broken.rhai");
    std::fs::write(&file, "fn mix(m) { throw \"broken on purpose\"; }").expect("written");
    let options = format!("\"a\": MixUp(), \"b\": Script({:?})", file.display().to_string());
    let mut session = of(&format!("Choice(of: {{\"a\": 1.0, \"b\": 1.0}}, prob: 0.5), {options}"));
    let refused = session.dry_run([8, 3], 5, &[(16, 16)]).expect_err("refused").to_string();
    assert!(refused.contains("broken on purpose"), "{refused}");
}
