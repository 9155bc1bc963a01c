//! Whole self-supervised training steps, through the bundled scripts and `Session::step_with`, and the queue alone.

use std::collections::BTreeMap;

use admix_api::{Ask, MixInput, Plan, Streams, Value, unit};
use admix_data::Batch;
use admix_engine::{
    Clock, Execution, Method, Queue, Recipe, Scheduled, Session, Shape, StepOptions, StepReport, bundled,
};
use admix_models::Pass;
use admix_torch::{Device, Kind, Tensor};

use super::{Golden, Tolerance};

const VALUES: Tolerance = Tolerance::absolute(1e-5);
const IMAGES: Tolerance = Tolerance::absolute(2e-5);
const GRADIENTS: Tolerance = Tolerance::of_largest(2e-4, 1e-5);

pub fn queue(golden: &Golden) {
    let (width, length) = golden.get("queue.init").size2().expect("a queue");
    let mut draws = Streams::new(0).draws("queue", "", 0, 0);
    let mut queue = Queue::new(width, length, &mut draws, Device::Cpu).expect("a queue");
    for (name, mut tensor) in queue.tensors() {
        tensor.copy_(&golden.get(if name == "entries" { "queue.init" } else { "ptr.init" }));
    }
    let steps = (0..).take_while(|step| golden.has(&format!("step{step}.keys"))).count();
    assert!(steps > 1);
    for step in 0..steps {
        let before = queue.entries().copy();
        queue.enqueue(&golden.get(&format!("step{step}.keys"))).expect("keys");
        assert!(queue.entries().equal(&before), "nothing moves before the end of the step");
        queue.advance(&admix_torch::scalar(0.0, Device::Cpu)).expect("keys");
        let [(_, entries), (_, pointer)] = queue.tensors();
        golden.check(&format!("step{step}.queue"), &entries, Tolerance::EXACT);
        golden.check(&format!("step{step}.ptr"), &pointer, Tolerance::EXACT);
    }
}

pub fn ssl_step_i_default(golden: &Golden) {
    for execution in [Execution::Direct, Execution::Recorded] {
        two_steps(golden, "amix_i", execution);
    }
}

pub fn ssl_step_c_default(golden: &Golden) {
    for execution in [Execution::Direct, Execution::Recorded] {
        two_steps(golden, "amix_c", execution);
    }
}

/// The file's name of one of our tensors; none for what the file does not have.
pub fn golden_name(own: &str) -> Option<String> {
    let own = own.strip_prefix("optimizer.momentum.").unwrap_or(own);
    if let Some(rest) = own.strip_prefix("mixer.amix.") {
        return Some(format!("mix_block.{rest}"));
    }
    for (ours, theirs) in [
        ("queue.keys.entries", "queue"),
        ("queue.keys.pointer", "queue_ptr"),
        ("head.online.", "head_clst."),
        ("head.offline.", "head_clst_off."),
    ] {
        if let Some(rest) = own.strip_prefix(ours) {
            return Some(format!("{theirs}{rest}"));
        }
    }
    let (net, rest) = own.strip_prefix("net.")?.split_once('.')?;
    if let Some(layer) = rest.strip_prefix("backbone.") {
        return Some(format!("{net}.{layer}"));
    }
    Some(format!("neck_{net}.{}", rest.strip_prefix("neck.")?))
}

/// The fields of a recipe with the file's bank and its two heads; none if it has no bank. `settings` are more of the bank's.
pub fn clusterers(golden: &Golden, settings: &str) -> String {
    let Some(centroids) = golden.find("memory.before.centroids") else { return String::new() };
    format!(
        "embedding_heads: {{\"online\": (), \"offline\": ()}},
         clusterers: {{\"odc\": Odc(k: {}, min_size: 1, {settings})}},",
        centroids.size()[0]
    )
}

/// How many samples the file's bank has; 0 if there is none.
pub fn banked(golden: &Golden) -> usize {
    golden.find("memory.before.features").map_or(0, |bank| bank.size()[0] as usize)
}

/// What a term of a step came to, before weighting.
pub fn term(report: &StepReport, name: &str) -> Tensor {
    let found = report.losses.iter().find(|(own, _)| own == name);
    found.map(|(_, value)| value.copy()).unwrap_or_else(|| panic!("no term {name}"))
}

/// Every gradient of the step against the file's, whose names begin with `prefix`.
pub fn check_gradients(golden: &Golden, prefix: &str, report: &StepReport, tolerance: Tolerance) {
    let prefix = format!("{prefix}grad.");
    for (name, gradient) in &report.gradients {
        golden.check(&format!("{prefix}{}", golden_name(name).expect("a name")), gradient, tolerance);
    }
    let expected = golden.names().filter(|name| name.starts_with(&prefix)).count();
    assert_eq!(report.gradients.len(), expected, "every gradient of the file, and no other");
}

/// Whether this is a tensor of the bank; if so it is checked against what the step left in the file's. Centroids stay.
pub fn check_bank(golden: &Golden, prefix: &str, own: &str, tensor: &Tensor) -> bool {
    let Some(part) = own.strip_prefix("bank.odc.") else { return false };
    match part {
        "counts" => {
            let labels = golden.get(&format!("{prefix}memory.after.labels"));
            let counts = labels.bincount::<Tensor>(None, tensor.size()[0]);
            assert!(tensor.equal(&counts), "counts follow the labels");
        }
        "centroids" => golden.check("memory.before.centroids", tensor, Tolerance::EXACT),
        "labels" => golden.check(&format!("{prefix}memory.after.labels"), tensor, Tolerance::EXACT),
        _ => golden.check(&format!("{prefix}memory.after.{part}"), tensor, VALUES),
    }
    true
}

/// The keys that a step wrote into the queue from this pointer on, `[N, D]`.
pub fn enqueued(session: &Session, pointer: i64, samples: i64) -> Tensor {
    let queue = session.tensors()["queue.keys.entries"].copy();
    let columns =
        (Tensor::arange(samples, (Kind::Int64, queue.device())) + pointer).remainder(queue.size()[1]);
    queue.index_select(1, &columns).transpose(0, 1)
}

fn session(golden: &Golden, method: &str) -> Session {
    let single = |name: &str| golden.number(name);
    assert_eq!((single("lam_margin"), single("weight_decay.gamma")), (0.0, 0.0));
    let samples = banked(golden);
    let (clusters, cluster) = match samples {
        0 => (String::new(), ""),
        _ => (
            clusterers(golden, &format!("momentum: {:?}", single("memory.momentum"))),
            ", \"cluster\": CrossEntropy(class_weight: WeightedMean)",
        ),
    };
    let fields = format!(
        "weights: {{\"mask\": {:?}, \"bce\": {:?}}}, {clusters}
         mixers: {{\"amix\": AMix(preset: Paper, stage: 2, dropout: {:?}, adjust: 1.0, partner: Derangement)}},
         losses: {{\"info_nce\": InfoNce(temperature: {temperature:?}), \"bce\": Bce(temperature: {temperature:?}),
                   \"mask\": Mask(margin: {:?}){cluster}}},
         optimizer: Sgd(lr: {:?}, momentum: {:?}, weight_decay: {:?}),",
        single("mask_loss_weight"),
        single("bce_weight"),
        single("dropout"),
        single("mask_loss_margin"),
        single("lr"),
        single("sgd_momentum"),
        single("weight_decay"),
        temperature = single("temperature"),
    );
    filled(golden, method, &golden.get("step0.view_q"), &fields, samples)
}

/// The fields `model` and `neck` of the file's network, by its weights.
pub fn network(golden: &Golden, backbone: &str, neck: &str) -> String {
    let widths: Vec<i64> = (1..)
        .map_while(|i| golden.find(&format!("{backbone}conv{i}.weight")))
        .map(|weight| weight.size()[0])
        .collect();
    let strides = vec![2; widths.len()];
    let width = |layer: &str| Some(golden.find(&format!("{neck}{layer}.weight"))?.size()[0]);
    let hidden = width("fc0").expect("a neck");
    let neck = match width("fc1") {
        Some(out) => format!("Mlp(hidden: {hidden}, out: {out}, norm: {})", width("bn0").is_some()),
        None => format!("Linear(out: {hidden})"),
    };
    format!("model: ConvNet(widths: {widths:?}, strides: {strides:?}), neck: {neck},")
}

/// A session of the file's networks, neck and queue with these fields of a recipe, in the file's first state.
pub fn filled(golden: &Golden, method: &str, view: &Tensor, fields: &str, samples: usize) -> Session {
    let network = network(golden, "init.q.", "init.neck_q.");
    let length = golden.get("init.queue").size()[1];
    let fields = format!(
        "epochs: 1, {network}
         queues: {{\"keys\": (length: {length})}}, {fields}"
    );
    let mut session = bare(method, view, &fields, samples);
    let mut state: BTreeMap<String, Tensor> =
        session.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect();
    for (own, tensor) in &mut state {
        if let Some(part) = own.strip_prefix("bank.odc.") {
            *tensor = match part {
                "counts" => golden.get("memory.before.labels").bincount::<Tensor>(None, tensor.size()[0]),
                _ => golden.get(&format!("memory.before.{part}")),
            };
        } else if !own.starts_with("optimizer.") {
            *tensor = golden.get(&format!("init.{}", golden_name(own).expect("a name of the file")));
        }
    }
    session.load(&state).expect("the file's state");
    session
}

/// A session of a bundled method on two views like this one, q and k in it, with these fields of a recipe.
pub fn bare(method: &str, view: &Tensor, fields: &str, samples: usize) -> Session {
    admix_torch::set_threads(1);
    let key = r#"(from: "q", to: "k", when: BeforeStep)"#;
    let pairs = match (fields.contains("pairs:"), fields.contains("\"offline\"")) {
        (true, _) => String::new(),
        (_, true) => {
            format!(r#"pairs: [{key}, (from: "online", to: "offline", when: BeforeStep, copy: true)],"#)
        }
        _ => format!("pairs: [{key}],"),
    };
    let recipe = format!(
        "(
            method: \"{method}\", heads: [], batch: {},
            {pairs} {fields}
        )",
        view.size()[0],
    );
    let registry = admix_engine::registry().expect("a registry");
    let recipe = Recipe::parse(&recipe, "golden", &[], &registry).unwrap_or_else(|e| panic!("{e}\n{recipe}"));
    let (script, file) = bundled::script(method).expect("the bundled script");
    let method = Method::compile(script, file).expect("a method");
    let shape = Shape { samples, ..Shape::new(view.size()[1], 2) };
    let clock = Clock { step: 0, steps: 2, epoch: 0, epochs: 1 };
    Session::build(&recipe, method, &registry, shape, clock, Device::Cpu).expect("a session")
}

/// The mixer's own plan values with the file's lambda and partners.
pub fn plan(session: &Session, lambda: f64, partner: &[i64]) -> Plan {
    let world = session.world();
    let unit = &world.mixers[0];
    let ask = Ask {
        batch: partner.len(),
        height: 1,
        width: 1,
        pairing: unit.pairing.clone(),
        lambda: None,
        quiet: true,
        progress: 0.0,
    };
    let mut draws = world.streams.draws("golden", "", 0, 0);
    let plan = unit.mixer.plan(&ask, &mut draws).expect("a plan");
    plan.with("lambda", Value::Float(lambda)).with("partner", Value::Ints(partner.to_vec()))
}

/// Both masks of a pair, `[N, 2, H, W]`, from the own one.
pub fn both(own: &Tensor) -> Tensor {
    Tensor::cat(&[own.copy(), 1.0 - own], 1)
}

/// The embedding of images by a network in train mode.
pub fn embedding(session: &Session, net: &str, images: &Tensor) -> Tensor {
    let world = session.world();
    let net = world.nets.iter().find(|own| own.name == net).expect("a network");
    let map = net.network.backbone().forward(images, &Pass::TRAIN).expect("a pass");
    net.network.embed(&map, true).expect("an embedding")
}

/// Runs `look` without a graph, on a state that is put back.
pub fn looking(session: &mut Session, look: impl FnOnce(&mut Session)) {
    let before: BTreeMap<String, Tensor> =
        session.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect();
    {
        let _guard = admix_torch::no_grad();
        look(session);
    }
    session.load(&before).expect("the state before");
}

fn two_steps(golden: &Golden, method: &str, execution: Execution) {
    let mut session = session(golden, method);
    let clustered = method == "amix_c";
    for (step, momentum) in golden.numbers("ema_momentum").iter().enumerate() {
        let at = |name: &str| format!("step{step}.{name}");
        let (view_q, view_k) = (golden.get(&at("view_q")), golden.get(&at("view_k")));
        let samples = view_q.size()[0];
        let index = golden
            .find(&at("sample_ids"))
            .unwrap_or_else(|| Tensor::arange(samples, (Kind::Int64, Device::Cpu)));
        let plan = |which: &str| {
            let partner = golden.integers(&at(&format!("index_{which}")));
            plan(&session, golden.number(&at(&format!("lam_{which}"))), &partner)
        };
        let (attempt, lesson) = (plan("mixblock"), plan("backbone"));

        // What belongs to the parameters before the step.
        looking(&mut session, |session| {
            let image = golden.get(&at("image_mixed_backbone"));
            golden.check(&at("embedding_q"), &unit(&embedding(session, "q", &view_q)).expect("unit"), VALUES);
            golden.check(
                &at("embedding_backbone"),
                &unit(&embedding(session, "q", &image)).expect("unit"),
                VALUES,
            );
            let mut world = session.world_mut();
            let features = golden.get(&at("feature"));
            let input = MixInput { features: Some(&features), ..MixInput::of(&view_q) };
            let planned = lesson.on(Device::Cpu).expect("a plan");
            let raw = world.mixers[0].mixer.mix(&input, &planned).expect("a mix").mask.expect("a mask");
            golden.check(&at("mask_backbone_raw"), &both(&raw), VALUES);
        });
        if clustered {
            let world = session.world();
            let bank = &world.clusterers[0].clusterer;
            golden.check(&at("pseudo_label"), &bank.labels(&index).expect("labels"), Tolerance::EXACT);
            let weights = bank.class_weight().expect("weights");
            golden.check(&at("class_weight"), &(&weights / weights.sum(Kind::Float)), VALUES);
        }
        let gamma_before = session.tensors()["mixer.amix.gamma"].copy();
        let pointer = session.tensors()["queue.keys.pointer"].int64_value(&[0]);

        let options = StepOptions {
            plans: BTreeMap::from([("attempt".into(), attempt), ("lesson".into(), lesson)]),
            schedule: Some(Scheduled { ema: Some(*momentum), ..Scheduled::default() }),
            detail: true,
            execution,
        };
        let labels = Tensor::zeros([samples], (Kind::Int64, Device::Cpu));
        let batch = Batch::of_views(vec![view_q.copy(), view_k.copy()], labels, index).expect("a batch");
        let report = session.step_with(vec![batch], &options).expect("a training step");

        let loss = |name: &str| term(&report, name);
        let mut total = loss("mask") * golden.number("mask_loss_weight");
        golden.check(&at("loss.mask_weighted"), &total, VALUES);
        let mut terms = vec![("moco", "moco", 1.0), ("mix", "backbone_mix", 1.0), ("main", "main", 1.0)];
        terms.push(("bce", "bce", golden.number("bce_weight")));
        if clustered {
            terms.extend([("online", "online_raw", 1.0), ("online_mix", "online_mix", 1.0)]);
        }
        assert_eq!(report.losses.len(), terms.len() + 1);
        for (term, name, weight) in terms {
            golden.check(&at(&format!("loss.{name}")), &loss(term), VALUES);
            total += loss(term) * weight;
        }
        golden.check(&at("loss.total"), &total, VALUES);
        golden.check(&at("loss.mask"), &loss("mask"), VALUES);
        let mask = |draw: &str| report.mixes[draw].mask.as_ref().expect("a mask").copy();
        golden.check(&at("mask_mixblock"), &both(&mask("attempt")), VALUES);
        golden.check(&at("mask_backbone_adjusted"), &both(&mask("lesson")), VALUES);
        let flat = mask("attempt").flatten(1, -1);
        let gap = (golden.number(&at("lam_mixblock")) - flat.mean_dim(1i64, false, Kind::Float)).abs();
        let gap = (gap - golden.number("mask_loss_margin")).relu().mean(Kind::Float);
        golden.check(&at("loss.mask_mean"), &gap, VALUES);
        let variance = flat.var_dim(1i64, false, false).mean(Kind::Float);
        golden.check(&at("loss.mask_var"), &variance, VALUES);
        golden.check(&at("image_mixed_mixblock"), &report.mixes["attempt"].images, IMAGES);
        golden.check(&at("image_mixed_backbone"), &report.mixes["lesson"].images, IMAGES);

        check_gradients(golden, &at(""), &report, GRADIENTS);

        let after = session.tensors();
        for (own, tensor) in &after {
            if check_bank(golden, &at(""), own, tensor) {
                continue;
            }
            let name = golden_name(own).expect("a name");
            if own.starts_with("optimizer.") {
                golden.check(&at(&format!("momentum.{name}")), tensor, GRADIENTS);
                continue;
            }
            golden.check(&at(&format!("after.{name}")), tensor, VALUES);
            // What follows at the beginning of a step stays so until the next.
            if golden.has(&at(&format!("ema.{name}"))) {
                golden.check(&at(&format!("ema.{name}")), tensor, VALUES);
            }
        }
        if clustered {
            let (name, changed) = &report.logged[0];
            assert_eq!(name, "odc_changed");
            golden.check(&at("change_ratio"), changed, VALUES);
        }
        let velocity = golden.get(&at("momentum.mix_block.gamma"));
        golden.check(&at("gamma_unclamped"), &(gamma_before - velocity * golden.number("lr")), VALUES);
        let clamped = golden.get(&at("gamma_unclamped")).clamp(0.0, 1.0);
        Tolerance::absolute(1e-7).check(
            "gamma is clamped",
            &clamped,
            &golden.get(&at("after.mix_block.gamma")),
        );

        // What belongs to k as it was in the step: frozen, it still is so.
        golden.check(&at("key"), &enqueued(&session, pointer, samples), VALUES);
        looking(&mut session, |session| {
            let raw = embedding(session, "k", &golden.get(&at("image_mixed_mixblock")));
            golden.check(&at("embedding_mixblock"), &unit(&raw).expect("unit"), VALUES);
            let raw_key = embedding(session, "k", &view_k);
            golden.check(&at("key"), &unit(&raw_key).expect("unit"), VALUES);
            if clustered {
                golden.check(&at("raw_mixblock"), &raw, IMAGES);
                golden.check(&at("raw_key"), &raw_key, IMAGES);
            }
            let world = session.world();
            let k = world.nets.iter().find(|net| net.name == "k").expect("a network");
            let features =
                k.network.backbone().forward_to(2, &view_q, &Pass::TRAIN).expect("features").into_tensor();
            golden.check(&at("feature"), &features, VALUES);
        });
    }
}
