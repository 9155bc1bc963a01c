//! The bundled methods of PuzzleMix and Co-Mixup: where their saliency comes from, and what they learn from.

use std::collections::BTreeMap;

use admix_api::{MixInput, Mixer, Plan, Value, uniform_field};
use admix_engine::{Clock, Execution, Method, Session, Shape, StepOptions, StepReport, bundled};
use admix_models::Pass;
use admix_plugins::mixers::PuzzleMix;
use admix_torch::{Autocast, Device, Kind, SyncCounter, Tensor};

use super::{batch, differing, session};

/// A small recipe for one of the methods, with its parameters and mixer.
fn text(params: &str, mixer: &str) -> String {
    format!(
        r#"(
            epochs: 2, batch: 8, method: "puzzlemix", seed: 3, params: {{{params}}},
            model: ConvNet(widths: [8, 16], strides: [2, 1]), mixers: {{"mix": {mixer}}},
            optimizer: Sgd(lr: 0.05),
        )"#
    )
}

const MIXER: &str = "PuzzleMix(blocks: [2, 4])";
const METHODS: [&str; 2] = ["puzzlemix", "co_mixup"];

fn method(name: &str, params: &str, mixer: &str) -> Session {
    let (script, _) = bundled::script(name).expect("a bundled method");
    session(&text(params, mixer), script, 12).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn run(mut session: Session, steps: i64, execution: Execution) -> (Session, Vec<StepReport>) {
    let options = StepOptions { execution, detail: true, ..StepOptions::default() };
    let step = |number| session.step_with(vec![batch(number, 8)], &options).expect("a step");
    let reports = (0..steps).map(step).collect();
    (session, reports)
}

fn buffers(session: &Session) -> BTreeMap<String, Tensor> {
    session.tensors().into_iter().filter(|(name, _)| name.contains("running_")).collect()
}

fn finite(tensors: &BTreeMap<String, Tensor>) -> bool {
    tensors.values().all(|tensor| tensor.isfinite().all().int64_value(&[]) == 1)
}

#[track_caller]
fn near(found: &Tensor, wanted: &Tensor, what: &str) {
    let gap = (found - wanted).abs().max().double_value(&[]);
    let largest = wanted.abs().max().double_value(&[]);
    assert!(gap <= 1e-5 * largest + 1e-8, "{what}: {gap} of {largest}");
}

const ADVERSARIAL: &str = "\"adv_p\": 0.6";

#[test]
fn recorded_steps_end_with_the_bits_of_direct_ones() {
    for name in METHODS {
        let every = ["\"clean_lam\": 0.0", "\"clean_lam\": 1.0", ADVERSARIAL];
        for params in every.into_iter().take(if name == "puzzlemix" { 3 } else { 2 }) {
            let (direct, _) = run(method(name, params, MIXER), 12, Execution::Direct);
            let (recorded, _) = run(method(name, params, MIXER), 12, Execution::Recorded);
            let differ = differing(&direct.tensors(), &recorded.tensors());
            assert_eq!(differ, Vec::<String>::new(), "{name}, {params}");
            // One variant for each size of blocks.
            assert_eq!(recorded.recorded_variants(), 2, "{name}, {params}");
            assert!(finite(&direct.tensors()));
        }
    }
}

/// What the step of a method should have learned, from the mix that it reports, by the network at its start.
fn gradients_by_hand(report: &StepReport, fresh: &Session, clean_lam: f64) -> BTreeMap<String, Tensor> {
    let world = fresh.world();
    let batch = batch(0, 8);
    let network = &world.nets[0].network;
    let logits = |images: &Tensor| {
        let map = network.backbone().forward(images, &Pass::TRAIN).expect("a map");
        network.forward_head("one", &map, true).expect("logits")
    };
    if clean_lam > 0.0 {
        (logits(&batch.images).cross_entropy_for_logits(&batch.labels) * clean_lam).backward();
    }
    let mix = &report.mixes["mix"];
    let own = mix.mask.as_ref().expect("a mask").mean_dim([1i64, 2, 3].as_slice(), false, Kind::Float);
    let log = logits(&mix.images).log_softmax(1, Kind::Float);
    let of = |labels: &Tensor| -log.gather(1, &labels.unsqueeze(1), false).squeeze_dim(1);
    let partners = batch.labels.index_select(0, mix.partner.as_ref().expect("a pair"));
    let rest: Tensor = 1.0 - &own;
    (own * of(&batch.labels) + rest * of(&partners)).mean(Kind::Float).backward();
    let all = world.optimizer.parameters();
    all.map(|(name, tensor)| (name.to_string(), tensor.grad())).collect()
}

#[test]
fn a_step_learns_from_the_mix_and_from_the_clean_images_by_their_weight() {
    for (name, clean_lam) in [("puzzlemix", 0.0), ("puzzlemix", 0.7), ("co_mixup", 1.0), ("co_mixup", 0.0)] {
        let params = format!("\"clean_lam\": {clean_lam:?}");
        let fresh = method(name, &params, MIXER);
        let (after, reports) = run(method(name, &params, MIXER), 1, Execution::Direct);
        let terms: Vec<&str> = reports[0].losses.iter().map(|(term, _)| term.as_str()).collect();
        let wanted: &[&str] = if clean_lam > 0.0 { &["clean", "mix"] } else { &["mix"] };
        assert_eq!(terms, wanted, "{name}, {clean_lam}");
        for (parameter, wanted) in gradients_by_hand(&reports[0], &fresh, clean_lam) {
            near(&reports[0].gradients[&parameter], &wanted, &format!("{name}, {clean_lam}: {parameter}"));
        }
        // Running statistics saw what the passes by hand saw: the clean images only where they train.
        for (buffer, moved) in buffers(&after) {
            near(&moved, &fresh.tensors()[&buffer], &format!("{name}, {clean_lam}: {buffer}"));
        }
    }
}

#[test]
fn the_mask_is_the_one_for_the_saliency_of_the_pass_that_the_parameter_names() {
    let mixes: Vec<Tensor> = ["0.0", "1.0"]
        .map(|clean_lam| {
            let mut session = method("puzzlemix", &format!("\"clean_lam\": {clean_lam}"), MIXER);
            // After some steps, running statistics and those of a batch differ, and so does what is salient.
            for number in 0..3 {
                session.step(batch(number, 8)).expect("a step");
            }
            let partner: Vec<i64> = (0..8).rev().collect();
            let plan = Plan::given(0.5, &partner).with("blocks", Value::Ints((0..4).collect())).structured(4);
            let plans = BTreeMap::from([("mix".to_string(), plan)]);
            let options = StepOptions { plans, detail: true, ..StepOptions::default() };
            let report = session.step_with(vec![batch(3, 8)], &options).expect("a step");
            report.mixes["mix"].images.shallow_clone()
        })
        .into();
    assert!(!mixes[0].equal(&mixes[1]));
}

/// Mean and standard deviation of the data of the next test, `[1, 3, 1, 1]`.
fn statistics() -> (Vec<f64>, Vec<f64>) {
    (vec![0.4, 0.5, 0.6], vec![0.2, 0.25, 0.3])
}

/// Images that are shown with noise where a coin says so: the formula of the authors' code, step by step.
#[test]
fn adversarial_noise_is_that_of_the_authors_code_and_only_shown() {
    let (mean, std) = statistics();
    let column = |values: &[f64]| Tensor::from_slice(values).to_kind(Kind::Float).reshape([1, 3, 1, 1]);
    let (mean_of, std_of) = (column(&mean), column(&std));
    let pixels = (batch(0, 8).images + 1.0) / 2.0;
    let images = (&pixels - &mean_of) / &std_of;
    let noise_of = |session: &Session, key: i64, strength: f64, looked: bool| {
        let start = uniform_field(&Tensor::from(key), &[8, 3, 16, 16]).expect("a field");
        let eps = 10.0 / 255.0;
        let start = (&pixels + (start * 2.0 - 1.0) * eps).clamp(0.0, 1.0);
        let at = if looked { (&start - &mean_of) / &std_of } else { images.shallow_clone() };
        let at = at.copy().set_requires_grad(true);
        let world = session.world();
        let map = world.nets[0].network.backbone().forward(&at, &Pass::EVALUATE).expect("a map");
        let logits = world.nets[0].network.forward_head("one", &map, false).expect("logits");
        logits.cross_entropy_for_logits(&batch(0, 8).labels).backward();
        ((start - &pixels + at.grad().sign() * (eps + 2.0 / 255.0)).clamp(-eps, eps) * strength, at.grad())
    };
    let build = || {
        let (script, file) = bundled::script("puzzlemix").expect("the method");
        let recipe =
            super::recipe(&text(ADVERSARIAL, "PuzzleMix(blocks: [4], transport: false)")).expect("a recipe");
        let clock = Clock { step: 0, steps: 12, epoch: 0, epochs: 2 };
        let shape = Shape { mean: mean.clone(), std: std.clone(), ..Shape::new(3, 5) };
        let method = Method::compile(script, file).expect("a method");
        let registry = admix_engine::registry().expect("a registry");
        Session::build(&recipe, method, &registry, shape, clock, Device::Cpu).expect("a session")
    };
    for (own, theirs) in [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)] {
        let mut session = build();
        let partner: Vec<i64> = (0..8).rev().collect();
        let blocks = Value::Ints((0..4).collect());
        let one = |value: f64| Plan::default().with("number", Value::Float(value));
        let plans = BTreeMap::from([
            ("mix".to_string(), Plan::given(0.5, &partner).with("blocks", blocks).structured(4)),
            ("own_noise".to_string(), one(own)),
            ("partner_noise".to_string(), one(theirs)),
            ("strength".to_string(), one(0.8)),
            ("start".to_string(), Plan::default().with("key", Value::Int(5))),
        ]);
        let (noise, gradient) = noise_of(&session, 5, 0.8, own + theirs > 0.0);
        let clean = admix_data::Batch { images: images.shallow_clone(), ..batch(0, 8) };
        let options = StepOptions { plans, detail: true, ..StepOptions::default() };
        let report = session.step_with(vec![clean], &options).expect("a step");
        let mix = &report.mixes["mix"];
        let mask = mix.mask.as_ref().expect("a mask");
        let noisy = ((&pixels + noise).clamp(0.0, 1.0) - &mean_of) / &std_of;
        assert!((&noisy - &images).abs().mean(Kind::Float).double_value(&[]) > 0.02);
        let shown = |noise: f64| if noise > 0.0 { noisy.shallow_clone() } else { images.shallow_clone() };
        let rest: Tensor = 1.0 - mask;
        let wanted: Tensor =
            mask * shown(own) + rest * shown(theirs).index_select(0, mix.partner.as_ref().expect("a pair"));
        let gap = (&mix.images - wanted).abs();
        // A sign may turn where the gradient is next to nothing.
        let apart = gap.gt(1e-5).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        assert!(apart < 1e-3, "{own}, {theirs}: {apart}");

        // The mask is made for the clean images, with the saliency at the noisy ones.
        let mixer =
            PuzzleMix { blocks: vec![4], transport: false, std: Some(std.clone()), ..PuzzleMix::default() };
        let saliency = gradient.square().mean_dim(1i64, false, Kind::Float).sqrt();
        let input = MixInput { saliency: Some(&saliency), ..MixInput::of(&images) };
        let plan = options.plans["mix"].on(Device::Cpu).expect("a plan");
        let alone = mixer.clone().mix(&input, &plan).expect("a mix");
        assert!(alone.mask.expect("a mask").equal(mask), "{own}, {theirs}");
    }
}

#[test]
fn a_network_that_nothing_moves_gives_mixes_by_lambda_and_finite_steps() {
    for name in METHODS {
        let mut session = method(name, "", "PuzzleMix(blocks: [4], gamma: 0.0)");
        let mut dead: Vec<Tensor> = Vec::new();
        for (parameter, mut tensor) in session.tensors() {
            if parameter.starts_with("net.q.head.") {
                let _guard = admix_torch::no_grad();
                let _ = tensor.fill_(0.0);
                dead.push(tensor);
            }
        }
        assert_eq!(dead.len(), 2);
        // The gradient of the images is 0 everywhere: no saliency, and without data terms lambda alone decides.
        let images = Tensor::full([8, 3, 16, 16], 0.25, (Kind::Float, Device::Cpu));
        for (lambda, kept) in [(0.9, 1.0), (0.1, 0.0)] {
            let partner: Vec<i64> = (0..8).rev().collect();
            let plan =
                Plan::given(lambda, &partner).with("blocks", Value::Ints((0..4).collect())).structured(4);
            let plans = BTreeMap::from([("mix".to_string(), plan)]);
            let schedule = Some(admix_engine::Scheduled {
                rates: [("net".to_string(), 0.0)].into(),
                ..Default::default()
            });
            let options = StepOptions { plans, detail: true, schedule, ..StepOptions::default() };
            let clean = admix_data::Batch { images: images.shallow_clone(), ..batch(0, 8) };
            let report = session.step_with(vec![clean], &options).expect("a step");
            let mask = report.mixes["mix"].mask.as_ref().expect("a mask");
            assert_eq!((mask.min().double_value(&[]), mask.max().double_value(&[])), (kept, kept), "{name}");
            assert_eq!(report.found_inf.map(|flag| flag.double_value(&[])), Some(0.0));
            assert!(report.mixes["mix"].images.isfinite().all().int64_value(&[]) == 1);
        }
        assert!(finite(&session.tensors()), "{name}");
    }
}

#[test]
fn steps_are_finite_under_autocast() {
    for name in METHODS {
        let session = method(name, "\"clean_lam\": 1.0", MIXER);
        let _low = Autocast::enter(Device::Cpu, Kind::BFloat16).expect("bfloat16");
        let (session, reports) = run(session, 4, Execution::Direct);
        assert!(finite(&session.tensors()), "{name}");
        for report in reports {
            let mask = report.mixes["mix"].mask.as_ref().expect("a mask");
            assert_eq!(
                (mask.kind(), report.found_inf.map(|flag| flag.double_value(&[]))),
                (Kind::Float, Some(0.0))
            );
            assert!(finite(&report.gradients));
        }
    }
}

#[test]
fn a_step_reads_nothing_back_from_the_device() {
    for name in METHODS {
        for mixer in [MIXER, "PuzzleMix(blocks: [8])", "PuzzleMix(blocks: [4], solver: Icm)"] {
            let params = if name == "puzzlemix" { ADVERSARIAL } else { "" };
            let mut session = method(name, params, mixer);
            session.step(batch(0, 8)).expect("a step");
            let input = batch(1, 8);
            let counter = SyncCounter::start();
            session.step(input).expect("a step");
            assert_eq!(counter.count(), 0, "{name}, {mixer}: {:?}", counter.names());
        }
    }
}
