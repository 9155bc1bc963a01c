//! MoCHi: the loss with synthetic negatives in float32 and float64, and the bundled script on the file's embeddings.

use std::collections::BTreeMap;

use admix_api::{Loss, LossInput, Plan, Value, unit};
use admix_data::Batch;
use admix_engine::{Execution, Scheduled, StepOptions};
use admix_models::Pass;
use admix_plugins::losses::{Candidates, InfoNce};
use admix_torch::{Device, Kind, Tensor, grad_of};

use super::levels::{GRADIENTS, LOSS, Level, VALUES, decimal};
use super::ssl::term;
use super::{Golden, Tolerance};

/// Of what a script's own embeddings are made, by weights that are solved for.
const SOLVED: Tolerance = Tolerance::of_largest(5e-5, 0.0);

pub fn mochi(golden: &Golden) {
    for case in ["both", "only_pairs", "only_query", "whole_queue"] {
        loss(golden, case);
        for execution in [Execution::Direct, Execution::Recorded] {
            scripted(golden, Some(case), execution);
        }
    }
    plain(golden);
    scripted(golden, None, Execution::Direct);
}

/// The columns of the queue that a case draws, `[N, D, count]`.
fn columns(golden: &Golden, case: &str, which: &str, kind: Kind) -> Tensor {
    let queue = golden.get("queue").to_kind(kind).transpose(0, 1);
    let index = golden.get(&format!("{case}.column_{which}"));
    let (samples, count) = index.size2().expect("columns");
    queue.index_select(0, &index.reshape([-1])).reshape([samples, count, -1]).transpose(1, 2)
}

fn loss(golden: &Golden, case: &str) {
    let at = |name: &str| format!("{case}.{name}");
    let temperature = decimal(golden, "temperature");
    let (s, with_query) = (golden.number(&at("s")), golden.number(&at("s_prime")));
    let hard = golden.integers(&at("n_hard"))[0];
    let q = golden.get("q");
    let (_, near) = q.matmul(&golden.get("queue")).topk(hard, 1, true, true);
    golden.check(&at("hard_index"), &near, Tolerance::EXACT);
    for which in ["a", "b", "c"].iter().filter(|which| golden.has(&at(&format!("pos_{which}")))) {
        let drawn = near.gather(1, &golden.get(&at(&format!("pos_{which}"))), false);
        golden.check(&at(&format!("column_{which}")), &drawn, Tolerance::EXACT);
    }
    let nce = InfoNce { temperature, candidates: Candidates::QueueAndNegatives, ..InfoNce::default() };
    for level in Level::both(golden, case) {
        let raw = golden.get("z").to_kind(level.kind()).set_requires_grad(true);
        let q = unit(&raw).expect("unit");
        let key = unit(&golden.get("key_raw").to_kind(level.kind())).expect("unit");
        let queue = level.shared("queue");
        let mut made = Vec::new();
        if s > 0.0 {
            let share = level.shared(&at("alpha")).unsqueeze(1);
            let [one, other] = ["a", "b"].map(|which| columns(golden, case, which, level.kind()));
            let h = unit(&(&share * one + (1.0 - &share) * other)).expect("unit");
            level.check("h", &h.transpose(1, 2), VALUES);
            made.push(h);
        }
        if with_query > 0.0 {
            let share = level.shared(&at("beta")).unsqueeze(1);
            let own = q.detach().unsqueeze(2);
            let h = unit(&(&share * own + (1.0 - &share) * columns(golden, case, "c", level.kind())));
            let h = h.expect("unit");
            level.check("h_prime", &h.transpose(1, 2), VALUES);
            made.push(h);
        }
        let negatives = Tensor::cat(&made, 2);
        let own = (&q * &key).sum_dim_intlist(1i64, true, None);
        let synthetic = q.unsqueeze(1).matmul(&negatives).squeeze_dim(1);
        let logits = Tensor::cat(&[own, q.matmul(&queue), synthetic], 1) / temperature;
        level.check("logits", &logits, VALUES);
        let input = |q: &Tensor, key: &Tensor, negatives: &Tensor| {
            LossInput::default()
                .with_keys(key)
                .expect("keys")
                .with("embedding", q.shallow_clone())
                .with("queue", queue.copy())
                .with("negatives", negatives.shallow_clone())
        };
        let value = nce.loss(&input(&q, &key, &negatives)).expect("a loss");
        level.check("loss", &value, LOSS);
        value.backward();
        level.check("grad.z", &grad_of(&raw).expect("a gradient"), GRADIENTS);
        level.check_each("loss_per_sample", q.size()[0], |i| {
            let row = |tensor: &Tensor| tensor.narrow(0, i, 1);
            nce.loss(&input(&row(&q), &row(&key), &row(&negatives))).expect("a loss").detach()
        });

        // Candidates that are the axes make the logits the embedding, up to the temperature.
        let (samples, count) = logits.size2().expect("logits");
        let (k, last) = (queue.size()[1], count - 1);
        let axes = Tensor::eye(count, (level.kind(), Device::Cpu));
        let leaf = (logits.detach() * temperature).set_requires_grad(true);
        let own = axes.narrow(1, 1 + k, last - k).unsqueeze(0).expand([samples, count, last - k], false);
        let input = LossInput::default()
            .with_keys(&axes.narrow(0, 0, 1).expand([samples, count], false))
            .expect("keys")
            .with("embedding", leaf.shallow_clone())
            .with("queue", axes.narrow(1, 1, k))
            .with("negatives", own);
        nce.loss(&input).expect("a loss").backward();
        level.check("grad.logits", &(grad_of(&leaf).expect("a gradient") * temperature), GRADIENTS);
    }
}

/// Without synthetic negatives.
fn plain(golden: &Golden) {
    let temperature = decimal(golden, "temperature");
    for (level, case) in Level::both(golden, "").iter().zip(Level::both(golden, "plain")) {
        let raw = golden.get("z").to_kind(level.kind()).set_requires_grad(true);
        let q = unit(&raw).expect("unit");
        let key = unit(&golden.get("key_raw").to_kind(level.kind())).expect("unit");
        level.check("q", &q, VALUES);
        level.check("key", &key, VALUES);
        let queue = level.shared("queue");
        let own = (&q * &key).sum_dim_intlist(1i64, true, None);
        case.check("logits", &(Tensor::cat(&[own, q.matmul(&queue)], 1) / temperature), VALUES);
        let input = LossInput::default().with_keys(&key).expect("keys");
        let input = input.with("embedding", q).with("queue", queue);
        let value = InfoNce { temperature, ..InfoNce::default() }.loss(&input).expect("a loss");
        case.check("loss", &value, LOSS);
        value.backward();
        case.check("grad.z", &grad_of(&raw).expect("a gradient"), GRADIENTS);
    }
}

/// The draws of a case, as the script names them: where in the table of the nearest ones, and with which shares.
fn draws(golden: &Golden, case: &str) -> BTreeMap<String, Plan> {
    let at = |name: &str| format!("{case}.{name}");
    let hard = golden.number(&at("n_hard"));
    let mut plans = BTreeMap::new();
    let mut give = |draw: &str, name: &str, of: &dyn Fn(f64) -> f64| {
        if golden.has(&at(name)) {
            let field = golden.numbers(&at(name)).into_iter().map(of).collect();
            plans.insert(draw.to_string(), Plan::default().with("field", Value::Floats(field)));
        }
    };
    // The middle of the part of [0, 1) that stands for a place.
    let place = |at: f64| (at + 0.5) / hard;
    give("one", "pos_a", &place);
    give("other", "pos_b", &place);
    give("third", "pos_c", &place);
    give("share", "alpha", &|share| share);
    give("query_share", "beta", &|share| 2.0 * share);
    plans
}

/// The step of the bundled script. The networks are of the test's own; their last layers are solved for, so that the
/// embeddings are those of the file. Without a case it is a step of the first epochs.
fn scripted(golden: &Golden, case: Option<&str>, execution: Execution) {
    let (z, key_raw, queue) = (golden.get("z"), golden.get("key_raw"), golden.get("queue"));
    let (samples, width) = z.size2().expect("embeddings");
    // Every image has a channel of its own, so that no two have like features.
    let view = |strength: f64| {
        let own = Tensor::eye(samples, (Kind::Float, Device::Cpu)).reshape([samples, samples, 1, 1]);
        let ramp = Tensor::arange(samples * samples * 64, (Kind::Float, Device::Cpu)) * 0.7;
        own * 3.0 + ramp.sin().reshape([samples, samples, 8, 8]) * strength
    };
    let views = [view(0.3), view(0.4)];
    let temperature = decimal(golden, "temperature");
    let of = |name: &str| case.map_or(0.0, |case| golden.number(&format!("{case}.{name}")));
    let fields = format!(
        "epochs: 4, model: ConvNet(widths: [64], strides: [2]), neck: Linear(out: {width}),
         queues: {{\"keys\": (length: {})}},
         params: {{\"hard\": {:?}, \"pairs\": {:?}, \"with_query\": {:?}, \"warm\": {}}},
         losses: {{\"info_nce\": InfoNce(candidates: QueueAndNegatives, temperature: {temperature:?})}},",
        queue.size()[1],
        of("n_hard"),
        of("s"),
        of("s_prime"),
        if case.is_some() { "0.0" } else { "1.0" },
    );
    let mut session = super::ssl::bare("mochi", &views[0], &fields, samples as usize);
    let mut state: BTreeMap<String, Tensor> =
        session.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect();
    let mut features = BTreeMap::new();
    for (net, view, wanted) in [("q", &views[0], &z), ("k", &views[1], &key_raw)] {
        let _guard = admix_torch::no_grad();
        let world = session.world();
        let net = world.nets.iter().find(|unit| unit.name == net).expect("a network");
        let map = net.network.backbone().forward(view, &Pass::TRAIN).expect("a pass").into_tensor();
        let rows = map.mean_dim([2i64, 3].as_slice(), false, Kind::Double);
        let solved = rows.linalg_pinv(1e-9, false).matmul(&wanted.to_kind(Kind::Double));
        let layer = format!("net.{}.neck.fc0", net.name);
        state.insert(format!("{layer}.weight"), solved.transpose(0, 1).to_kind(Kind::Float));
        state.insert(format!("{layer}.bias"), Tensor::zeros([width], (Kind::Float, Device::Cpu)));
        features.insert(net.name.clone(), rows);
    }
    state.insert("queue.keys.entries".into(), queue);
    session.load(&state).expect("the state");

    let index = Tensor::arange(samples, (Kind::Int64, Device::Cpu));
    let batch = Batch::of_views(views.iter().map(Tensor::copy).collect(), index.zeros_like(), index);
    let options = StepOptions {
        plans: case.map(|case| draws(golden, case)).unwrap_or_default(),
        schedule: Some(Scheduled {
            rates: BTreeMap::from([("net".to_string(), 0.0)]),
            ema: Some(1.0),
            ..Scheduled::default()
        }),
        detail: true,
        execution,
    };
    let report = session.step_with(vec![batch.expect("a batch")], &options);
    let report = report.unwrap_or_else(|error| panic!("{case:?}: {error}"));
    let case = case.unwrap_or("plain");
    let at = |name: &str| format!("{case}.{name}");
    golden.check(&at("loss"), &term(&report, "moco"), SOLVED);
    let weight = "net.q.neck.fc0.weight";
    let found = &report.gradients[weight];
    let through = |gradient: Tensor| gradient.to_kind(Kind::Double).transpose(0, 1).matmul(&features["q"]);
    let wanted = through(golden.get(&at("grad.z")));
    Tolerance::of_largest(5e-4, 1e-5).check(&at("grad.z through the neck"), found, &wanted);
    if golden.has(&at("leak.grad.z")) {
        let gap = (through(golden.get(&at("leak.grad.z"))) - &wanted).abs().max().double_value(&[]);
        let largest = wanted.abs().max().double_value(&[]);
        assert!(gap > 10.0 * 5e-4 * largest, "{case}: the gradient does not run through the negatives");
    }
    golden.check("queue_after", &session.tensors()["queue.keys.entries"], SOLVED);
    let pointer = session.tensors()["queue.keys.pointer"].int64_value(&[0]);
    assert_eq!(golden.integers("queue_ptr_after"), [pointer]);
}
