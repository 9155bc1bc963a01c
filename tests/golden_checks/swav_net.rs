//! Steps of SwAV with views of two sizes, through the bundled script: the file's network, under SGD and under LARC.

use std::collections::BTreeMap;

use admix_api::unit;
use admix_data::Batch;
use admix_engine::{Clock, Execution, Scheduled, Session, StepOptions};
use admix_models::Pass;
use admix_torch::{Kind, Tensor, grad_of};

use super::levels::{GRADIENTS, LOSS, decimal};
use super::ssl::{bare, looking, network, term};
use super::swav::{Settings, Swapped};
use super::{Golden, Tolerance};

/// Steps add up, and codes amplify scores.
const VALUES: Tolerance = Tolerance::of_largest(5e-5, 0.0);
const CODES: Tolerance = Tolerance::absolute(5e-5);
const WEIGHT_GRADIENTS: Tolerance = Tolerance::of_largest(5e-4, 1e-5);
const AFTER: Tolerance = Tolerance::absolute(2e-5);

/// The file's name of one of our tensors; none for what the file does not have.
fn golden_name(own: &str) -> Option<String> {
    if let Some(rest) = own.strip_prefix("net.q.backbone.") {
        return Some(rest.into());
    }
    if let Some(rest) = own.strip_prefix("net.q.neck.") {
        return Some(format!("neck.{rest}"));
    }
    Some(format!("prototypes.{}", own.strip_prefix("head.prototypes.fc.")?))
}

fn steps_of(golden: &Golden) -> usize {
    (0..).take_while(|step| golden.has(&format!("net.step{step}.loss"))).count()
}

fn views(golden: &Golden, step: usize) -> Vec<Tensor> {
    (0..).map_while(|view| golden.find(&format!("net.step{step}.view{view}"))).collect()
}

/// A session of the file's first state. An epoch is a step.
fn session(golden: &Golden, optimizer: &str) -> Session {
    let Settings { temperature, epsilon, rounds, large, .. } = Settings::of(golden);
    let network = network(golden, "net.init.", "net.init.neck.");
    let steps = steps_of(golden);
    let used = |step: &usize| golden.integers(&format!("net.step{step}.queue_used")) == [1];
    let from = (0..steps).find(used).unwrap_or(steps);
    assert!((from..steps).all(|step| used(&step)), "once full, it stays so");
    let frozen = golden.integers("net.freeze_steps")[0];
    for step in 0..steps {
        let rests = golden.integers(&format!("net.step{step}.prototypes_frozen")) == [1];
        assert_eq!(rests, (step as i64) < frozen);
    }
    let length = golden.integers("net.queue_length")[0];
    let stores: Vec<_> = (0..large).map(|crop| format!("\"store{crop}\": (length: {length})")).collect();
    let fields = format!(
        "epochs: {steps}, {network} pairs: [],
         queues: {{{}}}, embedding_heads: {{\"prototypes\": (out: {}, prototypes: true)}},
         params: {{\"large\": {large}.0, \"temperature\": {temperature:?}, \"epsilon\": {epsilon:?}, \"rounds\": {rounds}.0,
                   \"frozen\": {frozen}.0, \"stored\": true, \"stored_from\": {from}.0}},
         optimizer: {optimizer},",
        stores.join(", "),
        golden.get("net.init.prototypes.weight").size()[0],
    );
    let samples = golden.integers("batch")[0] as usize;
    let mut session = bare("swav", &views(golden, 0)[0], &fields, samples);
    let mut state: BTreeMap<String, Tensor> =
        session.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect();
    for (own, tensor) in &mut state {
        if let Some(name) = golden_name(own) {
            *tensor = golden.get(&format!("net.init.{name}"));
        } else if own.starts_with("queue.") {
            *tensor = tensor.zeros_like();
        }
    }
    session.load(&state).expect("the file's state");
    session
}

fn step(
    golden: &Golden,
    session: &mut Session,
    step: usize,
    execution: Execution,
) -> admix_engine::StepReport {
    let (steps, views) = (steps_of(golden) as u64, views(golden, step));
    session.set_clock(Clock { step: step as u64, steps, epoch: step as u64, epochs: steps });
    let index = Tensor::arange(views[0].size()[0], (Kind::Int64, views[0].device()));
    let batch = Batch::of_views(views, index.zeros_like(), index).expect("a batch");
    let rate = golden.numbers("net.lr")[step];
    let options = StepOptions {
        schedule: Some(Scheduled {
            rates: BTreeMap::from([("net".to_string(), rate)]),
            ..Scheduled::default()
        }),
        detail: true,
        execution,
        ..StepOptions::default()
    };
    session.step_with(vec![batch], &options).expect("a training step")
}

fn sgd(golden: &Golden, kind: &str, more: &str) -> String {
    let (momentum, decay) = (decimal(golden, "net.sgd_momentum"), decimal(golden, "net.weight_decay"));
    format!("{kind}(lr: 0.1, momentum: {momentum:?}, weight_decay: {decay:?}{more})")
}

/// The store of a large crop as the file has it: the newest samples first.
fn store(session: &Session, crop: i64, samples: i64) -> Tensor {
    let tensors = session.tensors();
    let pointer = tensors[&format!("queue.store{crop}.pointer")].int64_value(&[0]);
    let rows = tensors[&format!("queue.store{crop}.entries")].transpose(0, 1).roll(-pointer, 0);
    let (length, width) = rows.size2().expect("a store");
    rows.reshape([length / samples, samples, width]).flip(0).reshape([length, width])
}

pub fn steps(golden: &Golden, execution: Execution) {
    let settings = Settings::of(golden);
    let Settings { large, samples, .. } = settings;
    let mut session = session(golden, &sgd(golden, "Sgd", ""));
    for number in 0..steps_of(golden) {
        let at = |name: &str| format!("net.step{number}.{name}");
        let views = views(golden, number);
        assert_eq!(views.len() as i64, settings.crops);
        let stores: Vec<_> = (0..large).map(|crop| store(&session, crop, samples)).collect();
        let used = golden.integers(&at("queue_used")) == [1];
        looking(&mut session, |session| {
            let z = {
                let world = session.world();
                let network = &world.nets[0].network;
                let pooled = [&views[..large as usize], &views[large as usize..]].map(|same| {
                    let map =
                        network.backbone().forward(&Tensor::cat(same, 0), &Pass::TRAIN).expect("a pass");
                    network.pooled(&map).expect("features")
                });
                network.embed_pooled(&Tensor::cat(&pooled, 0), true).expect("embeddings")
            };
            golden.check(&at("z"), &z, VALUES);
            let _on = admix_torch::with_grad();
            let z = z.detach().set_requires_grad(true);
            let rows = unit(&session.tensors()["head.prototypes.fc.weight"].detach()).expect("unit");
            let rows = rows.set_requires_grad(true);
            let store = Tensor::stack(&stores, 0);
            let found = Swapped::of(&settings, &z, &rows, used.then_some(&store));
            golden.check(&at("scores"), &found.scores, VALUES);
            golden.check(&at("codes"), &found.codes, CODES);
            golden.check(&at("loss_pairs"), &found.pairs, LOSS);
            (found.scores * found.grad_scores).sum(None).backward();
            golden.check(&at("grad.z"), &grad_of(&z).expect("a gradient"), GRADIENTS);
            // Also where they rest, and it is dropped.
            let gradient = grad_of(&rows).expect("a gradient");
            golden.check(&at("grad.prototypes.weight"), &gradient, WEIGHT_GRADIENTS);
        });

        let report = step(golden, &mut session, number, execution);
        golden.check(&at("loss"), &term(&report, "swav"), LOSS);
        let frozen = golden.integers(&at("prototypes_frozen")) == [1];
        for (own, gradient) in &report.gradients {
            golden.check(
                &at(&format!("grad.{}", golden_name(own).expect("a name"))),
                gradient,
                WEIGHT_GRADIENTS,
            );
        }
        let prefix = at("grad.");
        let expected = golden.names().filter(|name| name.starts_with(&prefix)).count();
        // Of the file's, one is that of embeddings; prototypes that rest have none here.
        assert_eq!(report.gradients.len(), expected - 1 - usize::from(frozen));
        for (own, tensor) in &session.tensors() {
            if let Some(name) = golden_name(own) {
                golden.check(&at(&format!("after.{name}")), tensor, AFTER);
            }
        }
        let stores: Vec<_> = (0..large).map(|crop| store(&session, crop, samples)).collect();
        golden.check(&at("after.queue"), &Tensor::stack(&stores, 0), VALUES);
    }
}

/// LARC is `Lars` that adapts norms and biases too.
pub fn larc(golden: &Golden) {
    let more = format!(", trust: {:?}, adapt_vectors: true", decimal(golden, "net.larc_trust"));
    let mut session = session(golden, &sgd(golden, "Lars", &more));
    for number in 0..steps_of(golden) {
        let report = step(golden, &mut session, number, Execution::Recorded);
        golden.check(&format!("net.larc.step{number}.loss"), &term(&report, "swav"), LOSS);
    }
    for (own, tensor) in &session.tensors() {
        if let Some(name) =
            golden_name(own).map(|name| format!("net.larc.after.{name}")).filter(|name| golden.has(name))
        {
            golden.check(&name, tensor, AFTER);
        }
    }
}
