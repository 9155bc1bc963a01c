//! Steps that are skipped or fail leave nothing behind: every tensor of the state is what it was, to the bit.

use std::collections::BTreeMap;

use admix_data::Batch;
use admix_engine::{Execution, Precision, Session, StepOptions, StepReport, bundled};
use admix_torch::Tensor;

use super::capture::{bundled_session, capture_by_stand_in, one, plain, takes_two_views, two_views};
use super::{differing, session};

/// Steps before the bad one: two as recorded, two that are replayed.
const GOOD: i64 = 4;

fn batches(method: &str, number: i64) -> Vec<Batch> {
    if takes_two_views(method) { two_views(number) } else { one(number) }
}

/// The same batch with other images.
fn changed(batch: &Batch, change: &dyn Fn(&Tensor) -> Tensor) -> Batch {
    let Batch { images, views, labels, index } = batch.shallow_clone();
    if views.is_empty() {
        return Batch::new(change(&images), labels, index);
    }
    Batch::of_views(views.iter().map(change).collect(), labels, index).expect("views")
}

/// Images that are this value all over: a mix hides what is not finite, where it can.
fn all(value: f64) -> impl Fn(&Tensor) -> Tensor {
    move |images| images.full_like(value)
}

/// A session of a bundled method. PuzzleMix without transport, which leaves patches black that are not finite.
fn tried(method: &str) -> Session {
    if method != "puzzlemix" {
        return bundled_session(method);
    }
    let text = plain(method, r#"mixers: {"mix": PuzzleMix(blocks: [4], transport: false)}"#);
    session(&text, bundled::script(method).expect("the script").0, 12).expect("a session")
}

fn state(session: &Session) -> BTreeMap<String, Tensor> {
    session.tensors().into_iter().map(|(name, tensor)| (name, tensor.detach().copy())).collect()
}

fn step(session: &mut Session, batches: Vec<Batch>, execution: Execution) -> StepReport {
    let options = StepOptions { execution, ..StepOptions::default() };
    session.step_with(batches, &options).unwrap_or_else(|error| panic!("{error}"))
}

fn skipped(report: &StepReport) -> bool {
    report.found_inf.as_ref().expect("a flag").double_value(&[]) != 0.0
}

/// After good steps, one with these batches must be skipped without a trace, and a good one must move what it trains.
#[track_caller]
fn leaves_no_trace(mut session: Session, method: &str, bad: Vec<Batch>, execution: Execution, what: &str) {
    if execution == Execution::Captured {
        capture_by_stand_in(&mut session);
    }
    let many = |number: i64| (0..bad.len()).flat_map(|_| batches(method, number)).collect::<Vec<_>>();
    for number in 0..GOOD {
        assert!(!skipped(&step(&mut session, many(number), execution)), "{what}: step {number}");
    }
    let before = state(&session);
    let replayed = session.captures().replayed_steps;
    let report = step(&mut session, bad.iter().map(Batch::shallow_clone).collect(), execution);
    assert!(skipped(&report), "{what}: the bad step was taken: {:?}", report.losses);
    assert_eq!(differing(&before, &state(&session)), Vec::<String>::new(), "{what}");
    if execution == Execution::Captured && method != "co_mixup" {
        assert_eq!(session.captures().replayed_steps, replayed + 1, "{what}");
    }
    assert!(!skipped(&step(&mut session, many(GOOD), execution)), "{what}: the step after it was skipped");
    let moved = differing(&before, &state(&session));
    // A transformer has no running values: its first block has moved.
    let moves = |name: &String| name.ends_with("running_mean") || name.ends_with("blocks.0.attn.qkv.weight");
    assert!(moved.iter().any(moves), "{what}: {moved:?}");
}

#[test]
fn a_step_that_is_not_finite_leaves_no_bit_changed_in_any_bundled_method_however_it_is_executed() {
    // A variance of 1e50 is no float32: the running values fail where terms and gradients may not.
    let huge = |images: &Tensor| images * 1e25;
    let (nan, infinite) = (all(f64::NAN), all(f64::INFINITY));
    type Change<'a> = (&'a str, &'a dyn Fn(&Tensor) -> Tensor);
    let changes: [Change<'_>; 3] = [("NaN", &nan), ("inf", &infinite), ("huge", &huge)];
    for method in bundled::script_names() {
        for (what, change) in changes {
            for execution in [Execution::Direct, Execution::Recorded, Execution::Captured] {
                let bad = batches(method, 9).iter().map(|batch| changed(batch, change)).collect();
                let what = format!("{method}, {what}, {execution:?}");
                leaves_no_trace(tried(method), method, bad, execution, &what);
            }
        }
    }
}

#[test]
fn one_bad_part_of_an_accumulated_step_takes_the_others_back() {
    for method in ["amix", "amix_c"] {
        for execution in [Execution::Direct, Execution::Captured] {
            for bad_part in 0..3 {
                let part = |part: i64| {
                    let batch = &batches(method, 20 + part)[0];
                    if part == bad_part { changed(batch, &all(f64::NAN)) } else { batch.shallow_clone() }
                };
                let what = format!("{method}, {execution:?}, part {bad_part}");
                leaves_no_trace(
                    bundled_session(method),
                    method,
                    (0..3).map(part).collect(),
                    execution,
                    &what,
                );
            }
        }
    }
}

#[test]
fn a_bad_step_in_bf16_leaves_no_trace_either() {
    for method in ["amix", "amix_c"] {
        let mut session = bundled_session(method);
        session.set_precision(Precision::Bf16);
        let bad = batches(method, 9).iter().map(|batch| changed(batch, &all(f64::NAN))).collect();
        leaves_no_trace(session, method, bad, Execution::Direct, method);
    }
}

#[test]
fn a_term_that_is_not_finite_is_a_bad_step_also_where_every_gradient_is_finite() {
    let script = "fn weights(t) { #{ loss: 1.0, other: 0.0 } }
        fn step(t) {
            let p = t.pass(\"q\", t.images);
            let loss = t.loss(\"cross_entropy\", p.logits(\"one\"), t.labels);
            let off = if t.step == 2 { 0.0 } else { 1.0 };
            t.learn(#{ loss: loss + detach(loss - loss) / off });
        }";
    for execution in [Execution::Direct, Execution::Recorded] {
        let mut session = session(&plain("mixup", ""), script, 6).expect("a session");
        for number in 0..4 {
            let before = state(&session);
            let report = step(&mut session, one(number), execution);
            assert_eq!(skipped(&report), number == 2, "step {number}, {execution:?}");
            assert_eq!(differing(&before, &state(&session)).is_empty(), number == 2, "step {number}");
        }
    }
}

#[test]
fn a_step_that_fails_in_the_middle_leaves_no_trace() {
    for method in ["moco", "amix_c"] {
        for execution in [Execution::Direct, Execution::Recorded] {
            let mut session = bundled_session(method);
            step(&mut session, two_views(0), execution);
            let before = state(&session);
            // The second view has four channels: one network has followed, and perhaps passed, by then.
            let good = &two_views(1)[0];
            let wide = Tensor::cat(&[good.views[1].shallow_clone(), good.views[1].narrow(1, 0, 1)], 1);
            let views = vec![good.views[0].shallow_clone(), wide];
            let bad = Batch::of_views(views, good.labels.shallow_clone(), good.index.shallow_clone());
            let options = StepOptions { execution, ..StepOptions::default() };
            let error = session.step_with(vec![bad.expect("views")], &options).expect_err("four channels");
            assert!(session.undid_failed_step(), "{error}");
            assert_eq!(differing(&before, &state(&session)), Vec::<String>::new(), "{method}: {error}");
            assert!(!skipped(&step(&mut session, two_views(2), execution)));
        }
    }
}
