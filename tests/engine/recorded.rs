//! Recording a step and executing it later is the same as executing it verb by verb.

use admix_engine::{Execution, Method, StepOptions, bundled};

use super::{AMIX, batch, differing, session};

/// The bundled script with an extra term in the second half of the run.
pub fn branching() -> String {
    let (script, _) = bundled::script("amix").expect("the bundled script");
    let branching = script
        .replace("#{ one: 1.0, mix: 1.0, gen: 1.0, mask: 0.1 }", "#{ one: 1.0, mix: 1.0, gen: 1.0, mask: 0.1, late: 0.5 * t.progress }")
        .replace(
            "    // A second draw without graph",
            "    if t.progress > 0.5 {
        let late = t.quiet(\"amix\", #{ as: \"late\", images: x, features: z });
        t.learn(#{ late: t.loss(\"mixup_cross_entropy\", t.pass(\"q\", late).logits(\"one\"), late.target(t.labels)) });
    }
    // A second draw without graph",
        );
    assert!(branching.contains("as: \"late\"") && branching.contains("late: 0.5"));
    branching
}

#[test]
fn fifty_steps_recorded_then_executed_end_with_the_bits_of_direct_execution() {
    let script = branching();
    let run = |execution: Execution| {
        let mut session = session(AMIX, &script, 50).expect("a session");
        let mut losses = Vec::new();
        for step in 0..50 {
            let options = StepOptions { execution, ..StepOptions::default() };
            let report = session.step_with(vec![batch(step, 8)], &options).expect("a step");
            losses.push(report.losses);
        }
        (session, losses)
    };
    let (direct, direct_losses) = run(Execution::Direct);
    let (recorded, recorded_losses) = run(Execution::Recorded);
    assert_eq!(differing(&direct.tensors(), &recorded.tensors()), Vec::<String>::new());
    for (a, b) in direct_losses.iter().flatten().zip(recorded_losses.iter().flatten()) {
        assert!(a.0 == b.0 && a.1.equal(&b.1), "{}", a.0);
    }
    // The branch was taken in the second half, and only there: two traces.
    assert_eq!(direct_losses.iter().filter(|l| l.iter().any(|(name, _)| name == "late")).count(), 24);
    assert_eq!(recorded.recorded_variants(), 2);
}

#[test]
fn a_step_reads_nothing_back_from_the_device() {
    let (script, _) = bundled::script("amix").expect("the bundled script");
    let mut session = session(AMIX, script, 4).expect("a session");
    session.step(batch(0, 8)).expect("a step");
    let input = batch(1, 8);
    let counter = admix_torch::SyncCounter::start();
    session.step(input).expect("a step");
    assert_eq!(counter.count(), 0, "{:?}", counter.names());
}

#[test]
fn accumulating_two_halves_learns_from_both_and_moves_the_clock_once() {
    let (script, _) = bundled::script("mixup").expect("the bundled script");
    let text = r#"(epochs: 1, batch: 4, accumulate: 2, method: "mixup", model: ConvNet(widths: [8, 8], strides: [1, 2]))"#;
    let mut session = session(text, script, 2).expect("a session");
    let options = StepOptions { detail: true, ..StepOptions::default() };
    let both = session.step_with(vec![batch(0, 4), batch(1, 4)], &options).expect("a step");
    assert_eq!(session.clock().step, 1);
    let gradient = |number: i64| {
        let mut alone = super::session(text, script, 2).expect("a session");
        alone.step_with(vec![batch(number, 4)], &options).expect("a step").gradients
    };
    let (first, second) = (gradient(0), gradient(1));
    for (name, sum) in &both.gradients {
        let mean = (&first[name] + &second[name]) / 2.0;
        assert!((sum - mean).abs().max().double_value(&[]) < 1e-6, "{name}");
    }
}

#[test]
fn a_script_text_compiles_the_same_under_any_name() {
    assert!(Method::compile(&branching(), "elsewhere/other.rhai").is_ok());
}
