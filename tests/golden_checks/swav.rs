//! SwAV: Sinkhorn alone, the swapped prediction in float32 and float64, and the bundled script on the file's embeddings.

use std::collections::BTreeMap;

use admix_api::{sinkhorn, unit};
use admix_data::Batch;
use admix_engine::{Execution, Scheduled, StepOptions};
use admix_models::Pass;
use admix_torch::{Device, Kind, Tensor, grad_of};

use super::levels::{GRADIENTS, LOSS, Level, VALUES, decimal};
use super::ssl::{bare, term};
use super::{Golden, Tolerance, swav_net};

const CODES: Tolerance = Tolerance::absolute(1e-5);
/// Of what a script's own embeddings are made, by weights that are solved for.
const SOLVED: Tolerance = Tolerance::of_largest(5e-5, 0.0);

pub fn swav_sinkhorn(golden: &Golden) {
    let (features, prototypes) = (golden.get("features"), golden.get("prototypes").transpose(0, 1));
    Tolerance::absolute(1e-6).check("scores", &features.matmul(&prototypes), &golden.get("scores"));
    let stored = golden.get("queue").matmul(&prototypes);
    Tolerance::absolute(1e-6).check("queue_scores", &stored, &golden.get("queue_scores"));
    let rounds = golden.integers("iterations");
    let epsilons: Vec<f64> = golden.numbers("epsilons").into_iter().map(shortest).collect();
    for level in Level::both(golden, "") {
        let codes =
            |scores: &Tensor, case: usize| sinkhorn(&(scores / epsilons[case]), rounds[case]).expect("codes");
        let (scores, tall) = (level.shared("scores"), level.shared("tall.scores"));
        let samples = scores.size()[0];
        let all = Tensor::cat(&[level.shared("queue_scores"), scores.shallow_clone()], 0);
        for case in 0..epsilons.len() {
            level.check(&format!("case{case}.codes"), &codes(&scores, case), CODES);
            let joint = codes(&all, case);
            let own = joint.narrow(0, joint.size()[0] - samples, samples);
            level.check(&format!("queue_case{case}.codes"), &own, CODES);
            if case == 0 {
                level.check("queue_case0.codes_all", &joint, CODES);
            }
        }
        level.check("tall.codes", &codes(&tall, 0), CODES);
        // A constant changes nothing, but for what the sum of two float32 numbers loses.
        let shifted = (golden.get("scores") + golden.get("shifted.shift")).to_kind(level.kind());
        let name = if level.kind() == Kind::Double { "f64.shifted.codes" } else { "shifted.codes" };
        golden.check(name, &codes(&shifted, 0), Tolerance::absolute(1e-4));
    }
}

fn shortest(number: f64) -> f64 {
    (number as f32).to_string().parse().expect("a number")
}

/// The settings of a case.
pub struct Settings {
    pub temperature: f64,
    pub epsilon: f64,
    pub rounds: i64,
    pub crops: i64,
    pub large: i64,
    pub samples: i64,
}

impl Settings {
    pub fn of(golden: &Golden) -> Self {
        Self {
            temperature: decimal(golden, "temperature"),
            epsilon: decimal(golden, "epsilon"),
            rounds: golden.integers("sinkhorn_iterations")[0],
            crops: golden.integers("crops")[0],
            large: golden.get("head.queue_full").size()[0],
            samples: golden.integers("batch")[0],
        }
    }
}

/// The features that a case stores, `[large, L, D]`, and whether it uses them.
fn stored(golden: &Golden, case: &str) -> (Option<Tensor>, bool) {
    let store = match case {
        "queue" => Some(golden.get("head.queue_full")),
        "queue_part" => Some(golden.get("head.queue_part")),
        _ => None,
    };
    let used = golden.integers(&format!("head.{case}.queue_used")) == [1];
    // A store is used when it is full: its last row is not zero.
    let full = store.as_ref().is_some_and(|store| {
        let last = store.narrow(1, store.size()[1] - 1, 1).abs();
        last.amax([2i64].as_slice(), false).gt(0.0).all().int64_value(&[]) == 1
    });
    assert_eq!(full, used, "{case}");
    (store, used)
}

pub fn swav_step(golden: &Golden) {
    for case in ["noqueue", "frozen", "queue", "queue_part"] {
        head(golden, case);
        for execution in [Execution::Direct, Execution::Recorded] {
            scripted(golden, case, execution);
        }
    }
    for execution in [Execution::Direct, Execution::Recorded] {
        swav_net::steps(golden, execution);
    }
    swav_net::larc(golden);
}

/// The swapped prediction of embeddings and unit prototypes, written out.
pub struct Swapped {
    pub embedding: Tensor,
    pub scores: Tensor,
    pub codes: Tensor,
    pub pairs: Tensor,
    pub loss: Tensor,
    /// Of the loss.
    pub grad_scores: Tensor,
}

impl Swapped {
    /// `store` is there if its features take part, `[large, L, D]`.
    pub fn of(settings: &Settings, z: &Tensor, rows: &Tensor, store: Option<&Tensor>) -> Self {
        let &Settings { temperature, epsilon, rounds, crops, large, samples } = settings;
        let embedding = unit(z).expect("unit");
        let scores = embedding.matmul(&rows.transpose(0, 1));
        // A leaf of its own shows the gradient in between.
        let leaf = scores.detach().set_requires_grad(true);
        let of_crop = |scores: &Tensor, crop: i64| scores.narrow(0, crop * samples, samples);
        let (mut codes, mut pairs, mut terms) = (Vec::new(), Vec::new(), Vec::new());
        for own in 0..large {
            let mut all = of_crop(&scores, own).detach();
            if let Some(store) = store {
                let theirs = store.select(0, own).to_kind(z.kind()).matmul(&rows.transpose(0, 1));
                all = Tensor::cat(&[theirs.detach(), all], 0);
            }
            let code = sinkhorn(&(&all / epsilon), rounds).expect("codes");
            let code = code.narrow(0, code.size()[0] - samples, samples);
            for crop in 0..crops {
                if crop == own {
                    pairs.push(Tensor::zeros([0i64; 0], (z.kind(), Device::Cpu)));
                    continue;
                }
                let log = (of_crop(&leaf, crop) / temperature).log_softmax(1, None);
                let term = -(&code * log).sum_dim_intlist(1i64, false, None).mean(None);
                pairs.push(term.detach());
                terms.push(term);
            }
            codes.push(code);
        }
        let loss = Tensor::stack(&terms, 0).mean(None);
        loss.backward();
        let grad_scores = grad_of(&leaf).expect("a gradient");
        let pairs = Tensor::stack(&pairs, 0).reshape([large, crops]);
        Self { embedding, scores, codes: Tensor::stack(&codes, 0), pairs, loss, grad_scores }
    }
}

fn head(golden: &Golden, case: &str) {
    let settings = Settings::of(golden);
    let (store, used) = stored(golden, case);
    let shared = Level::both(golden, "head");
    for (shared, level) in shared.iter().zip(Level::both(golden, &format!("head.{case}"))) {
        let z = golden.get("head.z").to_kind(level.kind()).set_requires_grad(true);
        let rows = unit(&golden.get("head.prototypes_raw").to_kind(level.kind())).expect("unit");
        let rows = rows.set_requires_grad(true);
        let found = Swapped::of(&settings, &z, &rows, store.as_ref().filter(|_| used));
        shared.check("prototypes", &rows, VALUES);
        shared.check("embedding", &found.embedding, VALUES);
        shared.check("scores", &found.scores, VALUES);
        level.check("codes", &found.codes, CODES);
        level.check("loss_pairs", &found.pairs, LOSS);
        level.check("loss", &found.loss, LOSS);
        level.check("grad.scores", &found.grad_scores, GRADIENTS);
        level.check("grad.embedding", &found.grad_scores.matmul(&rows.detach()), GRADIENTS);
        (found.scores * found.grad_scores).sum(None).backward();
        level.check("grad.prototypes", &grad_of(&rows).expect("a gradient"), GRADIENTS);
        level.check("grad.z", &grad_of(&z).expect("a gradient"), GRADIENTS);
    }
}

/// The step of the bundled script on views of one size. The network is of the test's own; its last layer is solved for, so
/// that the embeddings are those of the file.
fn scripted(golden: &Golden, case: &str, execution: Execution) {
    let Settings { temperature, epsilon, rounds, crops, large, samples } = Settings::of(golden);
    let at = |name: &str| format!("head.{case}.{name}");
    let (store, used) = stored(golden, case);
    let frozen = golden.integers(&at("prototypes_frozen")) == [1];
    let (z, raw) = (golden.get("head.z"), golden.get("head.prototypes_raw"));
    let (rows, width) = z.size2().expect("embeddings");
    assert_eq!(rows, crops * samples);
    // Every image has a channel of its own, so that no two have like features.
    let own = Tensor::eye(rows, (Kind::Float, Device::Cpu)).reshape([rows, rows, 1, 1]);
    let ramp = Tensor::arange(rows * rows * 64, (Kind::Float, Device::Cpu)) * 0.7;
    let images = own * 3.0 + ramp.sin().reshape([rows, rows, 8, 8]) * 0.3;
    let views: Vec<Tensor> = (0..crops).map(|crop| images.narrow(0, crop * samples, samples)).collect();

    let queues = store.as_ref().map(|store| {
        let length = store.size()[1];
        (0..large).map(|crop| format!("\"store{crop}\": (length: {length})")).collect::<Vec<_>>().join(", ")
    });
    let fields = format!(
        "epochs: 4, model: ConvNet(widths: [{}], strides: [2]), neck: Linear(out: {width}), pairs: [],
         queues: {{{}}}, embedding_heads: {{\"prototypes\": (out: {}, prototypes: true)}},
         params: {{\"large\": {large}.0, \"temperature\": {temperature:?}, \"epsilon\": {epsilon:?}, \"rounds\": {rounds}.0,
                   \"frozen\": {}.0, \"stored\": {}, \"stored_from\": {}.0}},",
        2 * rows,
        queues.unwrap_or_default(),
        raw.size()[0],
        u8::from(frozen),
        store.is_some(),
        u8::from(!used),
    );
    let mut session = bare("swav", &views[0], &fields, samples as usize);
    let mut state: BTreeMap<String, Tensor> =
        session.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect();
    let features = {
        let _guard = admix_torch::no_grad();
        let world = session.world();
        let backbone = world.nets[0].network.backbone();
        // The large views are one batch, the others another.
        let parts = [(0, large), (large, crops - large)].map(|(first, count)| {
            let part = images.narrow(0, first * samples, count * samples);
            let map = backbone.forward(&part, &Pass::TRAIN).expect("a pass").into_tensor();
            map.mean_dim([2i64, 3].as_slice(), false, Kind::Double)
        });
        Tensor::cat(&parts, 0)
    };
    let solved = features.linalg_pinv(1e-9, false).matmul(&z.to_kind(Kind::Double));
    state.insert("net.q.neck.fc0.weight".into(), solved.transpose(0, 1).to_kind(Kind::Float));
    state.insert("net.q.neck.fc0.bias".into(), Tensor::zeros([width], (Kind::Float, Device::Cpu)));
    state.insert("head.prototypes.fc.weight".into(), raw);
    // The file shifts the newest rows to the front, a queue writes them over the oldest, which come first here.
    if let Some(store) = &store {
        for crop in 0..large {
            let rows = store.select(0, crop).roll(samples, 0).transpose(0, 1).contiguous();
            state.insert(format!("queue.store{crop}.entries"), rows);
        }
    }
    session.load(&state).expect("the state");

    let index = Tensor::arange(samples, (Kind::Int64, Device::Cpu));
    let batch = Batch::of_views(views, index.zeros_like(), index).expect("a batch");
    let options = StepOptions {
        schedule: Some(Scheduled {
            rates: BTreeMap::from([("net".to_string(), 0.0)]),
            ..Scheduled::default()
        }),
        detail: true,
        execution,
        ..StepOptions::default()
    };
    let report = session.step_with(vec![batch], &options).unwrap_or_else(|error| panic!("{case}: {error}"));
    golden.check(&at("loss"), &term(&report, "swav"), SOLVED);
    let gradient = |name: &str| report.gradients.get(name);
    let wanted = golden.get(&at("grad.z")).to_kind(Kind::Double).transpose(0, 1).matmul(&features);
    let found = gradient("net.q.neck.fc0.weight").expect("a gradient");
    Tolerance::of_largest(5e-4, 1e-5).check(&at("grad.z through the neck"), found, &wanted);
    match gradient("head.prototypes.fc.weight") {
        Some(found) => golden.check(&at("grad.prototypes"), found, Tolerance::of_largest(5e-4, 1e-7)),
        None => assert!(frozen, "{case}: prototypes that rest have no gradient, others do"),
    }
    assert_eq!(frozen, gradient("head.prototypes.fc.weight").is_none(), "{case}");
    // Without a rate they stay as the step began: of unit length.
    golden.check("head.prototypes", &session.tensors()["head.prototypes.fc.weight"], VALUES);
    if store.is_some() {
        let rows =
            (0..large).map(|crop| session.tensors()[&format!("queue.store{crop}.entries")].transpose(0, 1));
        golden.check(&at("queue_after"), &Tensor::stack(&rows.collect::<Vec<_>>(), 0), SOLVED);
    }
}
