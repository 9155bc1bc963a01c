//! What a script keeps from one step to the next.

use std::collections::BTreeMap;

use admix_engine::{Execution, Session, StepOptions};
use admix_torch::Tensor;

use super::words::{PLAIN, method, step};
use super::{batch, differing, session};

/// Learns from a blend with the batch before, as RecursiveMix does in its way.
const BLEND: &str = r#"fn weights(t) { #{ one: 1.0 } }
fn step(t) {
    let x = 0.5 * (t.images + t.kept("images", t.images));
    t.keep("images", t.images);
    t.learn(#{ one: t.loss("cross_entropy", t.pass("q", x).logits("one"), t.labels) });
}"#;

fn copies(session: &Session) -> BTreeMap<String, Tensor> {
    session.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect()
}

#[test]
fn a_step_finds_what_the_one_before_kept_and_zeros_at_the_start() {
    let script = method(r#"t.log("x", t.kept("labels", t.labels)); t.keep("labels", whole(t.labels + 1));"#);
    for execution in [Execution::Direct, Execution::Recorded] {
        let mut session = session(PLAIN, &script, 4).expect("a session");
        let mut found = Vec::new();
        for number in 0..3 {
            found.push(step(&mut session, number, execution).logged[0].1.double_value(&[]));
        }
        let mean = |number: i64| {
            let labels = batch(number, 8).labels;
            labels.mean(admix_torch::Kind::Double).double_value(&[]) + 1.0
        };
        assert_eq!(found, [0.0, mean(0), mean(1)], "{execution:?}");
    }
}

#[test]
fn a_run_that_goes_on_from_its_state_ends_with_the_bits_of_one_that_was_never_stopped() {
    for execution in [Execution::Direct, Execution::Recorded] {
        let mut whole = session(PLAIN, BLEND, 6).expect("a session");
        (0..2).for_each(|number| drop(step(&mut whole, number, execution)));
        let (state, clock) = (copies(&whole), whole.clock());
        (2..5).for_each(|number| drop(step(&mut whole, number, execution)));
        let mut resumed = session(PLAIN, BLEND, 6).expect("a session");
        resumed.load(&state).expect("the state fits");
        resumed.set_clock(clock);
        (2..5).for_each(|number| drop(step(&mut resumed, number, execution)));
        assert!(whole.tensors().contains_key("memory.images"));
        assert_eq!(differing(&whole.tensors(), &resumed.tensors()), Vec::<String>::new(), "{execution:?}");
    }
}

#[test]
fn a_step_that_is_skipped_or_fails_keeps_nothing() {
    let mut session = session(PLAIN, BLEND, 6).expect("a session");
    step(&mut session, 0, Execution::Direct);
    let before = copies(&session);
    let mut bad = batch(1, 8);
    bad.images *= f64::NAN;
    bad.views = vec![bad.images.shallow_clone()];
    session.step_with(vec![bad], &StepOptions::default()).expect("a skipped step");
    assert_eq!(differing(&before, &session.tensors()), Vec::<String>::new(), "skipped");
    // Of another size: an error that names what is kept.
    let message = session.step(batch(2, 4)).expect_err("another shape").to_string();
    assert!(message.contains("what is kept as `images` is Float [8, 3, 16, 16]"), "{message}");
    assert_eq!(differing(&before, &session.tensors()), Vec::<String>::new(), "failed");
}

#[test]
fn mistakes_with_what_is_kept_are_told() {
    let refused = |body: &str, batches: usize, part: &str| {
        let mut session = session(PLAIN, &method(body), 6).expect("a session");
        let batches = (0..batches).map(|number| batch(number as i64, 8)).collect();
        let message = session.step_with(batches, &StepOptions::default()).expect_err(body).to_string();
        assert!(message.contains(part), "{message}");
    };
    refused(r#"t.keep("a", t.images); t.keep("a", t.images);"#, 1, "`a` is kept in line 3 already");
    refused(r#"t.keep("a", t.images);"#, 2, "`keep` works where a step has one part");
    refused(r#"t.kept("a", t.images);"#, 2, "with `accumulate: 1` and one process");
}
