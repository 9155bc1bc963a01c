//! Gradients for the images, passes in evaluation mode, saliency and draws of a method's own.

use std::collections::BTreeMap;

use admix_api::{MixInput, Mixer, Plan, Value, uniform_field};
use admix_engine::{Clock, Execution, Session, StepOptions, StepReport};
use admix_models::Pass;
use admix_plugins::mixers::PuzzleMix;
use admix_torch::{Autocast, Device, Kind, SyncCounter, Tensor};

use super::{batch, differing, session};

/// A network and a MixUp whose mixes of lambda 1 show any tensor that a script puts into them.
const SHOWN: &str = r#"(
    epochs: 2, batch: 8, method: "mixup", heads: ["one", "mix"], seed: 3,
    model: ConvNet(widths: [8, 16], strides: [2, 1]),
    pairs: [(from: "q", to: "k", momentum: 0.5)],
    mixers: {"show": MixUp()},
    optimizer: Sgd(lr: 0.05),
)"#;

fn step_of(body: &str) -> String {
    format!("fn weights(t) {{ #{{ a: 0.5, b: 2.0 }} }}\nfn step(t) {{\n{body}\n}}")
}

/// Shows the tensor `name` of a script as the images of a mix.
fn show(name: &str) -> String {
    format!("t.quiet(\"show\", #{{ as: \"{name}\", images: {name} }});\n")
}

fn options(names: &[&str], execution: Execution) -> StepOptions {
    let same: Vec<i64> = (0..8).collect();
    let plans = names.iter().map(|name| (name.to_string(), Plan::given(1.0, &same))).collect();
    StepOptions { plans, detail: true, execution, ..StepOptions::default() }
}

/// The first step of a script: the session after it, and what it reported of the tensors that it shows.
fn first_step(body: &str, names: &[&str]) -> (Session, StepReport) {
    let mut session = session(SHOWN, &step_of(body), 10).unwrap_or_else(|error| panic!("{error}"));
    let report = session.step_with(vec![batch(0, 8)], &options(names, Execution::Direct));
    (session, report.unwrap_or_else(|error| panic!("{error}")))
}

fn shown(report: &StepReport, name: &str) -> Tensor {
    report.mixes[name].images.shallow_clone()
}

/// The gradient for the images by a full backward pass through the network `q` as it is at the start.
fn by_hand(train: bool) -> (Tensor, Session) {
    let session = session(SHOWN, &step_of(""), 10).expect("a session");
    let batch = batch(0, 8);
    let x = batch.images.copy().set_requires_grad(true);
    {
        let world = session.world();
        let network = &world.nets[0].network;
        let map = network.backbone().forward(&x, &Pass { train, drops: None }).expect("a map");
        let logits = network.forward_head("one", &map, train).expect("logits");
        logits.cross_entropy_for_logits(&batch.labels).backward();
    }
    (x.grad(), session)
}

/// Equal but for float32 sums in another order.
#[track_caller]
fn near(found: &Tensor, wanted: &Tensor) {
    let largest = wanted.abs().max().double_value(&[]);
    assert!(largest > 0.0);
    let gap = (found - wanted).abs().max().double_value(&[]);
    assert!(gap <= 1e-5 * largest, "{gap} of {largest}");
}

fn buffers(session: &Session) -> BTreeMap<String, Tensor> {
    let all = session.tensors().into_iter().filter(|(name, _)| name.contains("running_"));
    all.map(|(name, tensor)| (name, tensor.copy())).collect()
}

const EVALUATED: &str = "let x = t.leaf(t.images);
    let loss = t.loss(\"cross_entropy\", t.pass(t.evaluating(\"q\"), x).logits(\"one\"), t.labels);
    let g = t.gradient(loss, x);\n";

#[test]
fn the_gradient_for_the_images_is_that_of_a_full_backward_pass_and_leaves_no_other() {
    let (session, report) = first_step(&format!("{EVALUATED}{}", show("g")), &["g"]);
    let (wanted, untouched) = by_hand(false);
    let found = shown(&report, "g");
    near(&found, &wanted);
    assert!(report.gradients.is_empty(), "{:?}", report.gradients.keys());
    // Running statistics were read, not moved; with no gradient of its own, no parameter moved.
    assert_eq!(differing(&buffers(&session), &buffers(&untouched)), Vec::<String>::new());
    let parameters = |session: &Session| -> BTreeMap<String, Tensor> {
        session.tensors().into_iter().filter(|(name, _)| name.ends_with("weight")).collect()
    };
    assert_eq!(differing(&parameters(&session), &parameters(&untouched)), Vec::<String>::new());
}

#[test]
fn learning_hands_back_the_gradient_of_the_weighted_sum_and_keeps_those_of_the_parameters() {
    let body = "let x = t.leaf(t.images);
        let loss = t.loss(\"cross_entropy\", t.pass(\"q\", x).logits(\"one\"), t.labels);
        let g = t.learn(#{ a: loss }, #{ input_grad: x });\n";
    let (session, report) = first_step(&format!("{body}{}", show("g")), &["g"]);
    let (wanted, by_hand) = by_hand(true);
    near(&shown(&report, "g"), &(wanted * 0.5));
    // The same gradients of parameters as without asking for the images' own.
    let plain =
        "t.learn(#{ a: t.loss(\"cross_entropy\", t.pass(\"q\", t.images).logits(\"one\"), t.labels) });";
    let (_, plain) = first_step(plain, &[]);
    assert!(plain.gradients.len() > 4);
    assert_eq!(differing(&report.gradients, &plain.gradients), Vec::<String>::new());
    // Train mode: running statistics moved, as one pass by hand moves them.
    assert_eq!(differing(&buffers(&session), &buffers(&by_hand)), Vec::<String>::new());
    let fresh = super::session(SHOWN, &step_of(""), 10).expect("a session");
    assert!(!differing(&buffers(&session), &buffers(&fresh)).is_empty());
}

#[test]
fn a_leaf_gives_each_learn_the_gradient_of_its_own_terms() {
    let body = "let x = t.leaf(t.images);
        t.learn(#{ b: t.loss(\"cross_entropy\", t.pass(\"q\", x).logits(\"mix\"), t.labels) });
        let a = t.loss(\"cross_entropy\", t.pass(\"q\", x).logits(\"one\"), t.labels);
        let g = t.learn(#{ a: a }, #{ input_grad: x });\n";
    let (_, report) = first_step(&format!("{body}{}", show("g")), &["g"]);
    let (wanted, _) = by_hand(true);
    near(&shown(&report, "g"), &(wanted * 0.5));
}

#[test]
fn gradients_pass_through_momentum_networks_and_reach_inner_maps() {
    let body = "let x = t.leaf(t.images);
        let p = t.pass(t.evaluating(\"k\"), x);
        let g = t.gradient(t.loss(\"cross_entropy\", p.logits(\"one\"), t.labels), x);
        let inside = t.pass(t.evaluating(\"q\"), t.images);
        let z = inside.features(1);
        let h = t.gradient(t.loss(\"cross_entropy\", inside.logits(\"one\"), t.labels), z);\n";
    let (_, report) = first_step(&format!("{body}{}{}", show("g"), show("h")), &["g", "h"]);
    let (wanted, _) = by_hand(false);
    // k starts as a copy of q.
    near(&shown(&report, "g"), &wanted);
    assert_eq!(shown(&report, "h").size(), [8, 8, 8, 8]);
    assert!(shown(&report, "h").abs().max().double_value(&[]) > 0.0);
    assert!(report.gradients.is_empty());
}

#[test]
fn saliency_is_the_root_of_the_mean_square_over_channels_and_zero_where_the_gradient_is() {
    let body = "let g = t.images * where(t.images > 0.0, ones_like(t.images), zeros_like(t.images));
        let s = stack([saliency(g)], 1);
        let none = stack([saliency(zeros_like(t.images))], 1);\n";
    let (_, report) = first_step(&format!("{body}{}{}", show("s"), show("none")), &["s", "none"]);
    let images = batch(0, 8).images;
    let positive = Vec::<f32>::try_from((&images * images.gt(0.0)).permute([0, 2, 3, 1]).reshape([-1]))
        .expect("numbers");
    let wanted: Vec<f32> =
        positive.chunks(3).map(|g| ((g[0] * g[0] + g[1] * g[1] + g[2] * g[2]) / 3.0).sqrt()).collect();
    let found = shown(&report, "s");
    assert_eq!((found.size(), found.kind()), (vec![8, 1, 16, 16], Kind::Float));
    let found = Vec::<f32>::try_from(found.reshape([-1])).expect("numbers");
    assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs()));
    let dead = positive.chunks(3).filter(|g| g.iter().all(|v| *v == 0.0)).count();
    assert!(dead > 0 && found.iter().filter(|v| **v == 0.0).count() == dead);
    assert_eq!(shown(&report, "none").abs().max().double_value(&[]), 0.0);
}

#[test]
fn outside_of_training_a_mixer_is_given_the_saliency_of_the_first_network() {
    let text = SHOWN.replace("MixUp()", "PuzzleMix(blocks: [4], transport: false)");
    let mut session = session(&text, &step_of(""), 10).expect("a session");
    let before = session.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect();
    let batch = batch(0, 8);
    let partner: Vec<i64> = (0..8).rev().collect();
    let plan = Plan::given(0.5, &partner).with("blocks", Value::Ints((0..4).collect())).structured(4);
    let report = session.mix("show", &batch.images, &batch.labels, &plan).expect("a mix");
    let (gradient, _) = by_hand(false);
    let saliency = gradient.square().mean_dim(1i64, false, Kind::Float).sqrt();
    let mut mixer = PuzzleMix { blocks: vec![4], transport: false, ..PuzzleMix::default() };
    let input = MixInput { saliency: Some(&saliency), ..MixInput::of(&batch.images) };
    let wanted = mixer.mix(&input, &plan.on(Device::Cpu).expect("a plan")).expect("a mix");
    assert!(report.mask.expect("a mask").equal(&wanted.mask.expect("a mask")));
    assert!(!report.images.requires_grad());
    assert_eq!(differing(&session.tensors(), &before), Vec::<String>::new());
}

#[test]
fn saliency_is_float32_under_autocast() {
    let body = format!("{EVALUATED}let s = stack([saliency(g)], 1);\n{}", show("s"));
    let (_, plain) = first_step(&body, &["s"]);
    let _low = Autocast::enter(Device::Cpu, Kind::BFloat16).expect("bfloat16");
    let (_, low) = first_step(&body, &["s"]);
    let (plain, low) = (shown(&plain, "s"), shown(&low, "s"));
    assert_eq!(low.kind(), Kind::Float);
    assert!(low.isfinite().all().int64_value(&[]) == 1 && !low.equal(&plain));
    let gap = (&low - &plain).abs().mean(Kind::Float) / plain.mean(Kind::Float);
    assert!(gap.double_value(&[]) < 0.05, "{gap}");
}

const DRAWN: &str = "let x = t.images;
    let own = t.coin(\"own\", 0.3);
    let strength = t.uniform(\"strength\");
    let start = t.uniform(\"start\", x);
    t.log(\"own\", own);
    t.log(\"strength\", strength);
    let noisy = x + own * strength * (2.0 * start - 1.0);
    t.learn(#{ a: t.loss(\"cross_entropy\", t.pass(\"q\", noisy).logits(\"one\"), t.labels) });\n";

fn logged(report: &StepReport, name: &str) -> f64 {
    let found = report.logged.iter().find(|(own, _)| own == name).map(|(_, value)| value.double_value(&[]));
    found.expect("a logged value")
}

#[test]
fn draws_of_a_method_are_keyed_by_name_and_step_and_a_replay_draws_the_same() {
    let run = |execution: Execution| {
        let mut session = session(SHOWN, &step_of(DRAWN), 40).expect("a session");
        let mut drawn = Vec::new();
        for step in 0..40 {
            let options = StepOptions { execution, ..StepOptions::default() };
            let report = session.step_with(vec![batch(step, 8)], &options).expect("a step");
            drawn.push((logged(&report, "own"), logged(&report, "strength")));
        }
        (session, drawn)
    };
    let (direct, drawn) = run(Execution::Direct);
    let (recorded, again) = run(Execution::Recorded);
    assert_eq!(drawn, again);
    assert_eq!(differing(&direct.tensors(), &recorded.tensors()), Vec::<String>::new());
    assert_eq!(recorded.recorded_variants(), 1, "a coin is a slot: no other work");
    let heads = drawn.iter().filter(|(own, _)| *own == 1.0).count();
    assert!(drawn.iter().all(|(own, _)| [0.0, 1.0].contains(own)) && (4..=22).contains(&heads), "{heads}");
    let mean = drawn.iter().map(|(_, strength)| strength).sum::<f64>() / 40.0;
    // Five standard errors of a uniform mean.
    assert!((mean - 0.5).abs() < 5.0 / (12f64 * 40.0).sqrt(), "{mean}");

    // The draws of a step depend on nothing that was before it.
    let mut late = session(SHOWN, &step_of(DRAWN), 40).expect("a session");
    late.set_clock(Clock { step: 17, ..late.clock() });
    let report = late.step(batch(17, 8)).expect("a step");
    assert_eq!((logged(&report, "own"), logged(&report, "strength")), drawn[17]);
}

#[test]
fn a_drawn_field_is_the_one_of_its_key_and_a_plan_may_give_it() {
    let body =
        "let field = t.uniform(\"start\", t.images);\nlet tossed = t.images * t.coin(\"coin\", 0.0);\n";
    let body = format!("{body}{}{}", show("field"), show("tossed"));
    let mut session = session(SHOWN, &step_of(&body), 10).expect("a session");
    let mut options = options(&["field", "tossed"], Execution::Direct);
    options.plans.insert("start".into(), Plan::default().with("key", Value::Int(77)));
    options.plans.insert("coin".into(), Plan::default().with("number", Value::Float(1.0)));
    let report = session.step_with(vec![batch(0, 8)], &options).expect("a step");
    assert!(
        shown(&report, "field")
            .equal(&uniform_field(&Tensor::from(77i64), &[8, 3, 16, 16]).expect("a field"))
    );
    assert!(shown(&report, "tossed").equal(&batch(0, 8).images), "the plan's coin, not the drawn one");
}

#[test]
fn nothing_of_it_reads_back_from_the_device() {
    let evaluated = EVALUATED.replace("let x", "let leaf").replace(", x)", ", leaf)");
    let body = format!("{DRAWN}{evaluated}t.log(\"s\", saliency(g));");
    let mut session = session(SHOWN, &step_of(&body), 10).expect("a session");
    session.step(batch(0, 8)).expect("a step");
    let input = batch(1, 8);
    let counter = SyncCounter::start();
    session.step(input).expect("a step");
    assert_eq!(counter.count(), 0, "{:?}", counter.names());
}
