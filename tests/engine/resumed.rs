//! A session that is filled from the state of another one goes on as that one does.

use std::collections::BTreeMap;

use admix_data::Batch;
use admix_engine::{Execution, Session, StepOptions, bundled};
use admix_torch::Tensor;

use super::capture::{bundled_session, one, takes_two_views, two_views};
use super::differing;

const STEPS: i64 = 6;
const STOP: i64 = 3;

fn go(session: &mut Session, method: &str, steps: std::ops::Range<i64>) {
    for number in steps {
        let batches: Vec<Batch> = if takes_two_views(method) { two_views(number) } else { one(number) };
        let options = StepOptions { execution: Execution::Recorded, ..StepOptions::default() };
        session.step_with(batches, &options).unwrap_or_else(|error| panic!("{method}: {error}"));
    }
}

fn state(session: &Session) -> BTreeMap<String, Tensor> {
    session.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect()
}

#[test]
fn every_bundled_method_goes_on_from_its_state_to_the_same_bits() {
    for method in bundled::script_names() {
        let mut whole = bundled_session(method);
        go(&mut whole, method, 0..STOP);
        let (kept, clock) = (state(&whole), whole.clock());
        go(&mut whole, method, STOP..STEPS);
        let mut resumed = bundled_session(method);
        // What it did before is of no account.
        go(&mut resumed, method, 7..9);
        resumed.load(&kept).expect("the state");
        resumed.set_clock(clock);
        go(&mut resumed, method, STOP..STEPS);
        assert_eq!(differing(&state(&whole), &state(&resumed)), Vec::<String>::new(), "{method}");
    }
}
