//! Steps of Un-Mix, BSIM and WBSIM, through the bundled scripts, and their losses in float32 and float64.

use std::collections::BTreeMap;

use admix_api::{Loss, LossInput, Per, Plan, Store, Streams, Value, unit};
use admix_data::Batch;
use admix_engine::{Execution, Scheduled, Session, StepOptions, StepReport};
use admix_models::BatchNorm2d;
use admix_plugins::losses::InfoNce;
use admix_plugins::mixers::{BoxRule, CutBox, CutMix};
use admix_torch::{Device, Kind, Tensor, grad_of};

use super::levels::{GRADIENTS, LOSS, Level, VALUES, decimal};
use super::ssl::{embedding, filled, golden_name, looking, term};
use super::{Golden, Tolerance};

pub const IMAGES: Tolerance = Tolerance::absolute(1e-6);
pub const FEATURES: Tolerance = Tolerance::absolute(1e-5);
const WEIGHT_GRADIENTS: Tolerance = Tolerance::of_largest(5e-4, 1e-5);
const AFTER: Tolerance = Tolerance::absolute(2e-5);

/// The logits of a query against its key and the queue.
fn logits(query: &Tensor, key: &Tensor, queue: &Tensor, temperature: f64) -> Tensor {
    let own = (query * key).sum_dim_intlist(1i64, true, None);
    Tensor::cat(&[own, query.matmul(queue)], 1) / temperature
}

/// What a mixture is told by: the keys of both its images, the own with the share `lambda`, 0-dim or `[N]`.
pub fn pair(own: &Tensor, partner: &Tensor, lambda: &Tensor) -> LossInput {
    let lambda = lambda.to_kind(own.kind()).expand([own.size()[0]], false);
    LossInput::default()
        .with("contrast.keys", Tensor::stack(&[own, partner], 1))
        .with("contrast.shares", Tensor::stack(&[lambda.shallow_clone(), 1.0 - lambda], 1))
}

/// The loss of row `i` with its key alone.
fn single(loss: &InfoNce, query: &Tensor, key: &Tensor, queue: &Tensor, i: i64) -> Tensor {
    let input = LossInput::default().with_keys(&key.narrow(0, i, 1)).expect("a key");
    let input = input.with("embedding", query.narrow(0, i, 1)).with("queue", queue.shallow_clone());
    loss.loss(&input).expect("a loss").detach()
}

/// The loss `nce(query; key)` of MoCo over all rows.
fn plain(loss: &InfoNce, query: &Tensor, key: &Tensor, queue: &Tensor) -> Tensor {
    let input = LossInput::default().with_keys(key).expect("keys");
    let input = input.with("embedding", query.shallow_clone()).with("queue", queue.shallow_clone());
    loss.loss(&input).expect("a loss")
}

/// The mixer's name in a recipe, without settings, and the plan of a case's mixture: CutMix where the file has a box.
pub fn mixture(golden: &Golden, case: &str, draw: &str, partner: &[i64], fold: bool) -> (&'static str, Plan) {
    let at = |name: &str| format!("{case}.{name}");
    let folded = |lambda: f64| if fold { lambda.max(1.0 - lambda) } else { lambda };
    let lambdas: Vec<f64> = match golden.get(draw).dim() {
        0 => vec![folded(decimal(golden, draw))],
        _ => golden.numbers(draw).into_iter().map(folded).collect(),
    };
    let plan = Plan::default().with("partner", Value::Ints(partner.to_vec()));
    let plan = match lambdas[..] {
        [one] if golden.get(draw).dim() == 0 => plan.with("lambda", Value::Float(one)),
        _ => plan.with("lambda", Value::Floats(lambdas.clone())),
    };
    if !golden.has(&at("centre_rc")) {
        let wanted = golden.get(&at("lam")).reshape([-1]);
        IMAGES.check(&at("lam"), &Tensor::from_slice(&lambdas), &wanted);
        return ("MixUp", plan);
    }
    let (_, _, height, width) = golden.get("view_q").size4().expect("images");
    let centre = golden.integers(&at("centre_rc"));
    let centre = (centre[0] as f64, centre[1] as f64);
    let found = CutBox::around(BoxRule::Integer, (height, width), lambdas[0], centre);
    assert_eq!(golden.integers(&at("box_r0c0r1c1")), [found.r1, found.c1, found.r2, found.c2], "{case}");
    IMAGES.check_number(&at("lam"), found.kept((height, width)), golden.number(&at("lam")));
    ("CutMix", CutMix::boxed(plan, &[found], Per::Batch, (height, width)))
}

/// One step of a bundled method from the file's first state.
pub struct Stepped {
    pub session: Session,
    pub report: StepReport,
}

pub fn stepped(golden: &Golden, method: &str, fields: &str, plans: BTreeMap<String, Plan>) -> Stepped {
    let (view_q, view_k) = (golden.get("view_q"), golden.get("view_k"));
    let samples = view_q.size()[0];
    let run = |execution: Execution| {
        let mut session = filled(golden, method, &view_q, fields, samples as usize);
        let rates = match golden.has("lr") {
            true => BTreeMap::new(),
            false => BTreeMap::from([("net".to_string(), 0.0)]),
        };
        let ema = Some(decimal(golden, "ema_momentum"));
        let options = StepOptions {
            plans: plans.clone(),
            schedule: Some(Scheduled { rates, ema, ..Scheduled::default() }),
            detail: true,
            execution,
        };
        let index = Tensor::arange(samples, (Kind::Int64, Device::Cpu));
        let batch = Batch::of_views(vec![view_q.copy(), view_k.copy()], index.zeros_like(), index);
        let report = session.step_with(vec![batch.expect("a batch")], &options);
        Stepped { session, report: report.unwrap_or_else(|error| panic!("{method}: {error}")) }
    };
    let (direct, recorded) = (run(Execution::Direct), run(Execution::Recorded));
    for (name, tensor) in direct.session.tensors() {
        assert!(tensor.equal(&recorded.session.tensors()[&name]), "{method}: {name} as recorded");
    }
    direct
}

impl Stepped {
    /// Checks what a step leaves: gradients, everything of `after.` and the keys' weights.
    pub fn check(&self, golden: &Golden, case: &str) {
        for (own, gradient) in &self.report.gradients {
            let name = golden_name(own).expect("a name");
            golden.check(&format!("{case}.grad.{name}"), gradient, WEIGHT_GRADIENTS);
        }
        let of_weights = [format!("{case}.grad.q."), format!("{case}.grad.neck_q.")];
        let wanted =
            golden.names().filter(|name| of_weights.iter().any(|part| name.starts_with(part.as_str())));
        assert_eq!(self.report.gradients.len(), wanted.count(), "{case}: every gradient, and no other");
        let after = format!("{case}.after.");
        let mut seen = 0;
        for (own, tensor) in self.session.tensors().iter().filter(|(own, _)| !own.starts_with("optimizer.")) {
            let name = golden_name(own).expect("a name of the file");
            for wanted in [format!("{after}{name}"), format!("after_ema.{name}")] {
                if golden.has(&wanted) {
                    golden.check(&wanted, tensor, AFTER);
                    seen += usize::from(wanted.starts_with(&after));
                }
            }
        }
        assert_eq!(seen, golden.names().filter(|name| name.starts_with(&after)).count(), "{case}: all of it");
    }

    /// The embedding of images by a network as the step used it, of parameters that the step did not move.
    pub fn embedded(&mut self, net: &str, images: &Tensor) -> Tensor {
        let mut found = Tensor::new();
        looking(&mut self.session, |session| found = embedding(session, net, images));
        found
    }
}

pub fn unmix(golden: &Golden) {
    let temperature = decimal(golden, "temperature");
    let rate = |name: &str| decimal(golden, name);
    for case in ["global", "region", "region_clipped"] {
        let at = |name: &str| format!("{case}.{name}");
        let samples = golden.get("view_q").size()[0];
        let flip: Vec<i64> = (0..samples).rev().collect();
        let (mixer, plan) = mixture(golden, case, &format!("f64.{case}.lam_draw"), &flip, false);
        // A coin that equals the probability mixes regions.
        let coin = golden.number(&format!("f64.{case}.coin"));
        assert_eq!(coin < rate("prob_global"), mixer == "MixUp", "{case}");

        let fields = format!(
            "mixers: {{\"mix\": {mixer}(partner: Flip)}},
             losses: {{\"info_nce\": InfoNce(temperature: {temperature:?})}},
             optimizer: Sgd(lr: {:?}, momentum: {:?}, weight_decay: {:?}),",
            rate("lr"),
            rate("sgd_momentum"),
            rate("weight_decay"),
        );
        let mut step = stepped(golden, "unmix", &fields, BTreeMap::from([("mix".into(), plan)]));
        let (own, mix) = (term(&step.report, "moco"), term(&step.report, "mix"));
        golden.check(&at("loss.plain"), &own, LOSS);
        golden.check(&at("loss.total"), &(own + &mix), LOSS);
        let lambda = golden.number(&at("lam"));
        let [mixed, reversed] = ["mixed", "reversed"].map(|name| golden.number(&at(&format!("loss.{name}"))));
        LOSS.check_number(&at("both"), mix.double_value(&[]), lambda * mixed + (1.0 - lambda) * reversed);
        golden.check(&at("image_mixed"), &step.report.mixes["mix"].images, IMAGES);
        step.check(golden, case);
        let raw_key = step.embedded("k", &golden.get("view_k"));
        golden.check(&at("key"), &unit(&raw_key).expect("unit"), VALUES);
        let mut start = filled(golden, "unmix", &golden.get("view_q"), &fields, samples as usize);
        looking(&mut start, |session| {
            golden.check(&at("z_q"), &embedding(session, "q", &golden.get("view_q")), VALUES);
            golden.check(&at("z_mixed"), &embedding(session, "q", &golden.get(&at("image_mixed"))), VALUES);
        });

        let loss = InfoNce { temperature, ..InfoNce::default() };
        for level in Level::both(golden, case) {
            let (z, q) = level.leaf("z_q");
            let (z_mixed, m) = level.leaf("z_mixed");
            let (key, queue) = (level.get("key"), level.shared("init.queue"));
            let (reversed, lambda) = (m.flip([0]), level.get("lam"));
            for (name, query) in [("plain", &q), ("mixed", &m), ("reversed", &reversed)] {
                level.check(&format!("logits_{name}"), &logits(query, &key, &queue, temperature), VALUES);
                level.check(&format!("loss.{name}"), &plain(&loss, query, &key, &queue), LOSS);
                let each = |i| single(&loss, query, &key, &queue, i);
                level.check_each(&format!("ce_{name}"), samples, each);
            }
            let told = pair(&key, &key.flip([0]), &lambda).with("embedding", m).with("queue", queue.copy());
            let total = plain(&loss, &q, &key, &queue) + loss.loss(&told).expect("a loss");
            level.check("loss.total", &total, LOSS);
            total.backward();
            level.check("grad.z_q", &grad_of(&z).expect("a gradient"), GRADIENTS);
            level.check("grad.z_mixed", &grad_of(&z_mixed).expect("a gradient"), GRADIENTS);
        }
    }
    split_bn(golden);
}

/// BatchNorm in groups: the file deals samples out in turn, the layer takes them one group after the other.
fn split_bn(golden: &Golden) {
    let at = |name: &str| golden.get(&format!("split_bn.{name}"));
    let (x, groups) = (at("x"), golden.number("split_bn.groups") as i64);
    let store = Store::new(Device::Cpu, Streams::new(0));
    let norm = BatchNorm2d::new(&store.root(), x.size()[1]).expect("a norm");
    store.load(|name| golden.find(&format!("split_bn.{name}"))).expect("the file's state");
    norm.set_groups(groups);
    let in_groups = Tensor::arange(x.size()[0], (Kind::Int64, Device::Cpu));
    let in_groups = in_groups.reshape([-1, groups]).transpose(0, 1).reshape([-1]);
    let y = norm.forward(&x.index_select(0, &in_groups), true).expect("a pass");
    let back = in_groups.argsort(0, false);
    golden.check("split_bn.y", &y.index_select(0, &back), FEATURES);
    let [mean, variance] = norm.buffers();
    golden.check("split_bn.after.running_mean", &mean, FEATURES);
    golden.check("split_bn.after.running_var", &variance, FEATURES);
    golden.check("split_bn.y_eval", &norm.forward(&x, false).expect("a pass"), FEATURES);
}

pub fn bsim(golden: &Golden) {
    for case in ["cutmix", "mixup", "mixup_each"] {
        similar(golden, "bsim", case);
    }
}

pub fn wbsim(golden: &Golden) {
    for case in ["half", "weighted", "sum"] {
        similar(golden, "wbsim", case);
    }
}

fn similar(golden: &Golden, method: &str, case: &str) {
    let at = |name: &str| format!("{case}.{name}");
    let temperature = decimal(golden, "temperature");
    let index = golden.integers(&at("index"));
    let samples = index.len() as i64;
    let (mixer, plan) = mixture(golden, case, &format!("f64.{case}.lam_draw"), &index, false);
    let [w_sim, w_bsim] = ["weight_sim", "weight_bsim"].map(|name| decimal(golden, &at(name)));
    let has_plain = golden.has(&at("z_q"));
    assert_eq!(has_plain, w_sim > 0.0, "{case}");
    let sim = if has_plain { format!("\"sim\": {w_sim:?}, ") } else { String::new() };
    let fields = format!(
        "weights: {{{sim}\"bsim\": {w_bsim:?}}},
         mixers: {{\"mix\": {mixer}(partner: Derangement)}},
         losses: {{\"info_nce\": InfoNce(temperature: {temperature:?})}},"
    );
    let mut step = stepped(golden, method, &fields, BTreeMap::from([("mix".into(), plan)]));
    golden.check(&at("loss.bsim"), &term(&step.report, "bsim"), LOSS);
    let mut total = term(&step.report, "bsim") * w_bsim;
    if has_plain {
        golden.check(&at("loss.sim"), &term(&step.report, "sim"), LOSS);
        total += term(&step.report, "sim") * w_sim;
    }
    golden.check(&at("loss.total"), &total, LOSS);
    golden.check(&at("image_mixed"), &step.report.mixes["mix"].images, IMAGES);
    step.check(golden, case);
    golden.check(&at("z_k"), &step.embedded("k", &golden.get("view_k")), VALUES);
    golden.check(&at("z_mixed"), &step.embedded("q", &golden.get(&at("image_mixed"))), VALUES);
    if has_plain {
        golden.check(&at("z_q"), &step.embedded("q", &golden.get("view_q")), VALUES);
    }

    let loss = InfoNce { temperature, ..InfoNce::default() };
    for level in Level::both(golden, case) {
        let (z_mixed, m) = level.leaf("z_mixed");
        let key = unit(&level.get("z_k")).expect("unit");
        level.check("key", &key, VALUES);
        let queue = level.shared("init.queue");
        let partner = key.index_select(0, &Tensor::from_slice(&index));
        for (name, key) in [("own", &key), ("partner", &partner)] {
            level.check(&format!("logits_{name}"), &logits(&m, key, &queue, temperature), VALUES);
            level.check_each(&format!("ce_{name}"), samples, |i| single(&loss, &m, key, &queue, i));
        }
        let told = pair(&key, &partner, &level.get("lam"));
        let told = told.with("embedding", m).with("queue", queue.copy());
        let mixed = loss.loss(&told).expect("a loss");
        level.check("loss.bsim", &mixed, LOSS);
        let mut total = mixed * w_bsim;
        let own = has_plain.then(|| level.leaf("z_q"));
        if let Some((_, q)) = &own {
            level.check("logits_plain", &logits(q, &key, &queue, temperature), VALUES);
            level.check_each("ce_plain", samples, |i| single(&loss, q, &key, &queue, i));
            let plain = plain(&loss, q, &key, &queue);
            level.check("loss.sim", &plain, LOSS);
            total += plain * w_sim;
        }
        level.check("loss.total", &total, LOSS);
        total.backward();
        level.check("grad.z_mixed", &grad_of(&z_mixed).expect("a gradient"), GRADIENTS);
        if let Some((z, _)) = &own {
            level.check("grad.z_q", &grad_of(z).expect("a gradient"), GRADIENTS);
        }
    }
}
