//! Stages whose activations are computed again: the same training, with less kept.

use admix_engine::{Session, StepOptions, StepReport, bundled};
use admix_torch::{Kind, Tensor};

use super::{AMIX, batch, contrast, session};

const STAGES: &str = "recompute_stages: [0, 1, 2],";

fn script(name: &str) -> &'static str {
    bundled::script(name).expect("a bundled method").0
}

fn detail() -> StepOptions {
    StepOptions { detail: true, ..StepOptions::default() }
}

fn with_stages(text: &str) -> String {
    text.replacen('(', &format!("({STAGES} "), 1)
}

fn far(a: &Tensor, b: &Tensor) -> f64 {
    let scale = a.abs().max().double_value(&[]).max(1e-3);
    (a - b).abs().max().double_value(&[]) / scale
}

/// Fails unless both steps have the same losses and, up to rounding, the same gradients and state.
#[track_caller]
fn alike(what: &str, (kept, again): (&Session, &Session), (a, b): (&StepReport, &StepReport)) {
    for ((name, a), (_, b)) in a.losses.iter().zip(&b.losses) {
        assert!(far(a, b) < 1e-4, "{what}, {name}: {a:?} {b:?}");
    }
    assert!(!a.gradients.is_empty() && a.gradients.keys().eq(b.gradients.keys()), "{what}");
    for (name, a) in &a.gradients {
        assert!(far(a, &b.gradients[name]) < 1e-3, "{what}, gradient of {name}");
    }
    let (a, b) = (kept.tensors(), again.tensors());
    for (name, a) in &a {
        if a.kind() == Kind::Float {
            assert!(far(a, &b[name]) < 1e-3, "{what}, {name}");
        }
    }
}

#[test]
fn every_method_trains_alike_whether_activations_are_kept_or_computed_again() {
    let plain = |more: &str| {
        format!(
            r#"(epochs: 4, batch: 8, method: "any", seed: 3, optimizer: Sgd(lr: 0.05),
                model: ConvNet(widths: [8, 16], strides: [2, 1]), {more})"#
        )
    };
    let manifold = plain(r#"mixers: {"mix": ManifoldMix(stages: [1])}"#);
    let salient = plain(r#"mixers: {"mix": PuzzleMix(blocks: [4])}, params: {"adv_p": 0.6}"#);
    let one = |number: i64| batch(number, 8);
    let two = |number: i64| contrast::batch(contrast::views(number));
    type Build<'a> = &'a dyn Fn(bool) -> Session;
    type Batches<'a> = &'a dyn Fn(i64) -> admix_data::Batch;
    let of = |text: &str, name: &str, again: bool| {
        let text = if again { with_stages(text) } else { text.to_string() };
        session(&text, script(name), 12).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let views = |name: &'static str| {
        move |again: bool| {
            contrast::session_of(
                name,
                script(name),
                if again { "bn_groups: 2, recompute_stages: [0, 1]," } else { "bn_groups: 2," },
            )
        }
    };
    let cases: [(&str, Build<'_>, Batches<'_>); 6] = [
        ("amix", &|again| of(AMIX, "amix", again), &one),
        ("hidden", &|again| of(&manifold, "mixup", again), &one),
        ("puzzlemix", &|again| of(&salient, "puzzlemix", again), &one),
        ("moco", &views("moco"), &two),
        ("amix_i", &views("amix_i"), &two),
        ("amix_c", &views("amix_c"), &two),
    ];
    for (name, build, batches) in cases {
        let (mut kept, mut again) = (build(false), build(true));
        for number in 0..2 {
            let a =
                kept.step_with(vec![batches(number)], &detail()).unwrap_or_else(|e| panic!("{name}: {e}"));
            let b =
                again.step_with(vec![batches(number)], &detail()).unwrap_or_else(|e| panic!("{name}: {e}"));
            alike(name, (&kept, &again), (&a, &b));
        }
    }
}

#[test]
fn a_batch_norm_moves_once_though_its_stage_runs_twice() {
    let script = script("amix");
    let (mut kept, mut again) = (
        session(AMIX, script, 12).expect("a session"),
        session(&with_stages(AMIX), script, 12).expect("a session"),
    );
    for session in [&mut kept, &mut again] {
        session.step_with(vec![batch(0, 8)], &detail()).expect("a step");
    }
    let (a, b) = (kept.tensors(), again.tensors());
    let mut buffers = 0;
    for (name, a) in a.iter().filter(|(name, _)| name.contains("running_")) {
        assert!(a.equal(&b[name]), "{name}");
        buffers += 1;
    }
    assert!(buffers > 4, "{buffers}");
}

#[test]
fn a_stage_that_is_not_there_is_refused_by_name() {
    let script = script("amix");
    let text = AMIX.replacen('(', "(recompute_stages: [1, 7], ", 1);
    let error = session(&text, script, 12).expect_err("no stage 7").to_string();
    assert!(error.contains("recompute_stages") && error.contains('7'), "{error}");
}

#[test]
fn losses_keep_their_bits() {
    let run = |text: &str| {
        let mut session = session(text, script("amix"), 12).expect("a session");
        let report = session.step_with(vec![batch(0, 8)], &StepOptions::default()).expect("a step");
        report
            .losses
            .into_iter()
            .map(|(name, value)| (name, value.double_value(&[]).to_bits()))
            .collect::<Vec<_>>()
    };
    assert_eq!(run(AMIX), run(&with_stages(AMIX)));
}
