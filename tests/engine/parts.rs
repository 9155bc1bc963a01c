//! The parts of a step: shared out to processes or done one after the other, they make the same step.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;

use admix_api::contract::wild;
use admix_api::{Store, Streams};
use admix_data::Batch;
use admix_engine::{Execution, Session, StepOptions, bundled, evaluate, probes};
use admix_models::BatchNorm2d;
use admix_torch::{Device, Group, Kind, Membership, Tensor};

use super::capture::{bundled_session, capture_by_stand_in, one, takes_two_views, two_views};
use super::toy::Toy;
use super::{AMIX, contrast, session};
use crate::program::recipes;

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

/// What each of some processes makes, in threads of their own.
fn in_processes<T: Send>(processes: usize, work: impl Fn(&Rc<Group>) -> T + Sync) -> Vec<T> {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let member = |rank: usize| {
        let timeout = Duration::from_secs(120);
        let (host, device) = ("127.0.0.1".to_string(), Device::Cpu);
        let place =
            Membership { rank, processes, host, port, launcher_store: false, attempt: 0, timeout, device };
        let group = Rc::new(Group::join(&place).expect("joins"));
        let made = work(&group);
        Rc::into_inner(group).expect("the last one").leave().expect("leaves");
        made
    };
    std::thread::scope(|scope| {
        let members: Vec<_> = (0..processes)
            .map(|rank| {
                scope.spawn({
                    let member = &member;
                    move || member(rank)
                })
            })
            .collect();
        members.into_iter().map(|member| member.join().expect("no panic")).collect()
    })
}

#[test]
fn two_processes_make_the_steps_of_one_that_accumulates_in_every_bundled_method() {
    // With large weights the attention of AMix enlarges what rounding leaves.
    let built = |method: &str| match method {
        "amix" => {
            let text = AMIX.replace("AMix(", "AMix(preset: Paper, per: Sample, ");
            session(&text, bundled::script(method).expect("the script").0, 24).expect("a session")
        }
        _ => bundled_session(method),
    };
    // What a step keeps for the next belongs to one part.
    let keeps = |method: &&str| bundled::script(method).is_some_and(|(text, _)| text.contains("t.keep("));
    assert_eq!(bundled::script_names().filter(keeps).collect::<Vec<_>>(), ["recursivemix"]);
    for method in bundled::script_names().filter(|method| !keeps(method)) {
        let mut alone = built(method);
        for number in 0..STEPS {
            step(&mut alone, method, (0..PARTS).map(|at| part(method, number, at)).collect());
        }
        let alone = state(&alone);
        let members = in_processes(PARTS, |group| {
            let mut session = built(method);
            session.share(group);
            (0..STEPS)
                .for_each(|number| step(&mut session, method, vec![part(method, number, group.rank())]));
            state(&session)
        });
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
            // A momentum is a sum of gradients, whose terms may cancel.
            let most = if name.starts_with("optimizer.") { 1e-4 } else { 1e-5 };
            assert!(far <= most * size, "{method}: {name} is off by {far} of {size}");
        }
    }
}

/// A session of a method that gathers, on a network without BatchNorm: parts share nothing but what they gather.
fn without_batch_norm(method: &str, accumulate: usize) -> Session {
    let (script, _) = bundled::script(method).expect("a bundled method");
    let more = match method {
        // Frozen prototypes, in each part anew.
        "swav" => r#"embedding_heads: {"prototypes": (out: 6, prototypes: true)},"#,
        _ => "",
    };
    let text = format!(
        r#"(epochs: 2, batch: 8, accumulate: {accumulate}, method: "{method}", heads: [], seed: 3,
            model: ViT(image: 12, patch: 4, drop_path: 0.0, width: 0.125), neck: Mlp(hidden: 16, out: 8),
            optimizer: Sgd(lr: 0.1, momentum: 0.0, weight_decay: 0.0), {more})"#
    );
    contrast::built(&text, script)
}

#[test]
fn parts_that_gather_learn_as_one_batch_does() {
    for method in ["simclr", "barlow_twins", "swav"] {
        let parts: Vec<Batch> = (0..3).map(|at| part(method, 1, at)).collect();
        let joined =
            |of: &dyn Fn(&Batch) -> Tensor| Tensor::cat(&parts.iter().map(of).collect::<Vec<_>>(), 0);
        let views = (0..2).map(|view| joined(&|part| part.views[view].shallow_clone())).collect();
        let labels = joined(&|part| part.labels.shallow_clone());
        let index = joined(&|part| part.index.shallow_clone());
        let whole = Batch::of_views(views, labels, index).expect("a batch");
        let detail = StepOptions { detail: true, ..StepOptions::default() };
        let mut one = without_batch_norm(method, 1);
        let wanted = one.step_with(vec![whole], &detail).expect("a step");
        let mut several = without_batch_norm(method, 3);
        let found = several.step_with(parts, &detail).expect("a step");
        assert_eq!(found.losses.len(), 3, "{method}");
        for (name, loss) in &found.losses {
            let far = (loss - &wanted.losses[0].1).abs().double_value(&[]);
            // The loss of SwAV alone is that of its own rows.
            assert!(method == "swav" || far < 1e-4, "{method}: {name} is off by {far}");
        }
        assert!(
            wanted.gradients.keys().eq(found.gradients.keys()) && !wanted.gradients.is_empty(),
            "{method}"
        );
        for (name, wanted) in &wanted.gradients {
            let far = (&found.gradients[name] - wanted).abs().max().double_value(&[]);
            let size = wanted.abs().max().double_value(&[]);
            assert!(far <= 1e-3 * size + 1e-6, "{method}: the gradient of {name} is off by {far} of {size}");
        }
    }
}

#[test]
fn processes_that_share_an_evaluation_find_the_figures_of_one_to_the_digit() {
    let (name, _, text) =
        recipes::bundled().into_iter().find(|(name, ..)| name == "cifar10/r18/amix").expect("the recipe");
    let more = [
        "data.toy.test=50",
        "evaluate.batch=16",
        "evaluate.probes=[Knn(k: 5), LinearCached(epochs: 2), Linear(epochs: 2, batch: 12)]",
    ];
    let found = |group: Option<&Rc<Group>>| {
        let mut toy = Toy::new(&name, &text, &more);
        if let Some(group) = group {
            toy.session.share(group);
        }
        let group = group.map(|group| &**group);
        let mut found = evaluate(&mut toy.session, &toy.dataset, &toy.recipe, group).expect("an evaluation");
        found.extend(probes(&toy.session, &toy.dataset, &toy.recipe).expect("probes"));
        found
    };
    let alone = found(None);
    assert!(alone.len() >= 5, "{alone:?}");
    for shared in in_processes(3, |group| found(Some(group))) {
        assert_eq!(shared, alone);
    }
}

#[test]
fn a_batch_norm_that_processes_share_is_one_over_their_batches_in_both_directions() {
    // Output, gradients of the input, weight and bias, running values.
    let passed = |group: Option<&Rc<Group>>| -> Vec<Tensor> {
        let store = Store::with_kind(Device::Cpu, Kind::Double, Streams::new(1));
        let norm = BatchNorm2d::new(&store.root(), 2).expect("a norm");
        let (start, count) = group.map_or((0, 6), |group| {
            norm.share(group);
            (2 * group.rank() as i64, 2)
        });
        let own = |seed: f64| wild(&[6, 2, 3, 2], seed, Kind::Double).narrow(0, start, count);
        let x = own(0.3).copy().set_requires_grad(true);
        let y = norm.forward(&x, true).expect("a pass");
        (y.square() * own(0.7)).sum(Kind::Double).backward();
        let parameters = store.parameters().into_iter().map(|(_, parameter, _)| parameter.grad());
        let buffers = norm.buffers();
        [y.detach(), x.grad()].into_iter().chain(parameters).chain(buffers).collect()
    };
    let alone = passed(None);
    assert_eq!(alone.len(), 6);
    let several = in_processes(3, |group| passed(Some(group)));
    for (at, wanted) in alone.iter().enumerate() {
        let of: Vec<&Tensor> = several.iter().map(|made| &made[at]).collect();
        let found = match at {
            0 | 1 => Tensor::cat(&of, 0),
            2 | 3 => of[0] + of[1] + of[2],
            _ => {
                assert!(of.iter().all(|value| value.equal(of[0])));
                of[0].shallow_clone()
            }
        };
        assert!(found.allclose(wanted, 1e-9, 1e-9, false), "{at}: {found} {wanted}");
    }
}

#[test]
fn captured_steps_of_processes_end_with_the_bits_of_direct_ones_whether_or_not_the_others_capture() {
    for (method, gathers) in [("mixup", false), ("amix_i", false), ("simclr", true), ("amix_c", true)] {
        let run = |captures: [bool; PARTS]| {
            in_processes(PARTS, |group| {
                let mut session = bundled_session(method);
                session.share(group);
                if captures[group.rank()] {
                    capture_by_stand_in(&mut session);
                }
                let options = StepOptions { execution: Execution::Captured, ..StepOptions::default() };
                for number in 0..STEPS {
                    let batch = part(method, number, group.rank());
                    session
                        .step_with(vec![batch], &options)
                        .unwrap_or_else(|error| panic!("{method}: {error}"));
                }
                (state(&session), session.captures())
            })
        };
        let direct = run([false, false]);
        for captures in [[true, true], [true, false]] {
            for ((state, report), (wanted, _)) in run(captures).iter().zip(&direct).take(1) {
                let differing: Vec<_> =
                    wanted.iter().filter(|(name, value)| !state[*name].equal(value)).collect();
                assert!(
                    differing.is_empty(),
                    "{method}: {:?}",
                    differing.iter().map(|(name, _)| name).collect::<Vec<_>>()
                );
                match gathers {
                    true => assert!(
                        report.reasons.iter().any(|why| why.contains("processes gather")),
                        "{report:?}"
                    ),
                    false => {
                        assert_eq!(
                            (report.variants, report.replayed_steps),
                            (1, STEPS as u64 - 2),
                            "{report:?}"
                        );
                        assert_eq!(report.reasons, Vec::<String>::new());
                    }
                }
            }
        }
    }
}
