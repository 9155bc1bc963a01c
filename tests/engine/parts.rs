//! The parts of a step: shared out to processes or done one after the other, they make the same step.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;

use admix_data::Batch;
use admix_engine::{Execution, Session, StepOptions, bundled};
use admix_torch::{Device, Group, Kind, Membership, Tensor};

use super::capture::{bundled_session, one, takes_two_views, two_views};

const STEPS: i64 = 10;
const PARTS: usize = 2;

/// The batch of a part. Its samples have ids of their own within the step.
fn part(method: &str, step: i64, part: usize) -> Batch {
    let number = step * PARTS as i64 + part as i64;
    let batch = if takes_two_views(method) { two_views(number) } else { one(number) }.remove(0);
    let index = &batch.index + part as i64 * batch.index.size()[0];
    Batch { index, ..batch }
}

fn step(session: &mut Session, method: &str, batches: Vec<Batch>) {
    let options = StepOptions { execution: Execution::Recorded, ..StepOptions::default() };
    session.step_with(batches, &options).unwrap_or_else(|error| panic!("{method}: {error}"));
}

fn state(session: &Session) -> BTreeMap<String, Tensor> {
    session.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect()
}

/// The state of each member of a group after the steps.
fn in_processes(method: &str) -> Vec<BTreeMap<String, Tensor>> {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let member = |rank: usize| {
        let timeout = Duration::from_secs(120);
        let (host, device) = ("127.0.0.1".to_string(), Device::Cpu);
        let place = Membership {
            rank,
            processes: PARTS,
            host,
            port,
            launcher_store: false,
            attempt: 0,
            timeout,
            device,
        };
        let group = Rc::new(Group::join(&place).expect("joins"));
        let mut session = bundled_session(method);
        session.share(&group);
        (0..STEPS).for_each(|number| step(&mut session, method, vec![part(method, number, rank)]));
        let state = state(&session);
        drop(session);
        Rc::into_inner(group).expect("the last one").leave().expect("leaves");
        state
    };
    std::thread::scope(|scope| {
        let members: Vec<_> = (0..PARTS).map(|rank| scope.spawn(move || member(rank))).collect();
        members.into_iter().map(|member| member.join().expect("no panic")).collect()
    })
}

#[test]
fn two_processes_make_the_steps_of_one_that_accumulates_in_every_bundled_method() {
    for method in bundled::script_names() {
        let mut alone = bundled_session(method);
        for number in 0..STEPS {
            step(&mut alone, method, (0..PARTS).map(|at| part(method, number, at)).collect());
        }
        let alone = state(&alone);
        let members = in_processes(method);
        for (name, value) in &alone {
            assert!(
                members[0][name].equal(&members[1][name]),
                "{method}: {name} differs between the processes"
            );
            let found = &members[0][name];
            if !value.is_floating_point() {
                assert!(found.equal(value), "{method}: {name}");
                continue;
            }
            let far =
                (found.to_kind(Kind::Double) - value.to_kind(Kind::Double)).abs().max().double_value(&[]);
            let size = value.abs().max().double_value(&[]).max(1e-2);
            assert!(far <= 1e-5 * size, "{method}: {name} is off by {far} of {size}");
        }
    }
}
