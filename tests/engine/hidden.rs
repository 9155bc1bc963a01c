//! Mixes inside of a network: what a pass over one computes, learns and remembers.

use std::collections::BTreeMap;

use admix_api::contract::{slopes_agree, wild};
use admix_api::{MixInput, MixerConfig, MixerContext, Plan, Store, Streams, SyncCounter, Value};
use admix_data::Batch;
use admix_engine::{Clock, Error, Execution, Session, StepOptions, StepReport, bundled};
use admix_models::{ConvNetConfig, Map, Network, Pass};
use admix_plugins::mixers::ManifoldMix;
use admix_torch::{Device, Kind, Reduction, Tensor, no_grad};

use super::{batch, differing, session};

const N: i64 = 6;
const PARTNER: [i64; 6] = [2, 0, 4, 3, 5, 1];

/// A small recipe with a mixer.
fn recipe(mixer: &str) -> String {
    format!(
        r#"(epochs: 2, batch: 6, method: "mixup", seed: 3, optimizer: Sgd(lr: 0.05),
            model: ConvNet(widths: [8, 12, 16], strides: [2, 2, 1]), mixers: {{"mix": {mixer}}})"#
    )
}

fn bundled_method() -> &'static str {
    bundled::script("mixup").expect("the bundled script").0
}

fn manifold() -> Session {
    session(&recipe("ManifoldMix()"), bundled_method(), 40).expect("a session")
}

/// One lambda for the batch, or one for each sample.
fn shares(per_sample: bool) -> Value {
    if per_sample { Value::Floats(vec![0.1, 0.3, 0.5, 0.7, 0.9, 1.0]) } else { Value::Float(0.3) }
}

fn plan(lambda: Value, stage: usize) -> Plan {
    Plan::given(0.0, &PARTNER).with("lambda", lambda).structured(stage as u64)
}

/// A step by this plan, told in detail.
fn step(session: &mut Session, plan: Plan, batch: Batch) -> StepReport {
    let plans = BTreeMap::from([("mix".to_string(), plan)]);
    let options = StepOptions { plans, detail: true, ..StepOptions::default() };
    session.step_with(vec![batch], &options).expect("a step")
}

fn buffers(session: &Session) -> BTreeMap<String, Tensor> {
    let all = session.tensors().into_iter();
    all.filter(|(name, _)| name.contains("running_")).map(|(name, tensor)| (name, tensor.copy())).collect()
}

fn near(what: &str, found: &Tensor, wanted: &Tensor, within: f64) {
    let gap = (found - wanted).abs().max().double_value(&[]);
    assert!(gap <= within, "{what}: {gap}");
}

/// The logits of a network whose maps are mixed at a stage, operation by operation.
fn by_hand(
    network: &Network,
    images: &Tensor,
    other: Option<&Tensor>,
    lambda: &Tensor,
    stage: usize,
) -> Tensor {
    let backbone = network.backbone();
    let maps =
        |images: &Tensor| backbone.forward_to(stage, images, &Pass::TRAIN).expect("maps").into_tensor();
    let own = maps(images);
    let theirs = other.map_or_else(|| own.shallow_clone(), maps);
    let mut map =
        Map::from(lambda * own + (1.0 - lambda) * theirs.index_select(0, &Tensor::from_slice(&PARTNER)));
    for index in stage + 1..=backbone.stages() {
        map = backbone.stage(index, &map, &Pass::TRAIN).expect("a stage");
    }
    network.forward_head(network.head_names()[0], &map, true).expect("logits")
}

fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Tensor {
    logits.cross_entropy_loss::<Tensor>(labels, None, Reduction::None, -100, 0.0)
}

#[test]
fn a_step_of_manifoldmix_is_the_forward_written_by_hand() {
    for (stage, per_sample) in [(0, false), (1, false), (2, false), (2, true), (3, true)] {
        let at = format!("stage {stage}, per sample {per_sample}");
        let text = recipe("ManifoldMix(stages: [0, 1, 2, 3])");
        let mut ours = session(&text, bundled_method(), 4).expect("a session");
        let report = step(&mut ours, plan(shares(per_sample), stage), batch(0, N));

        let hand = session(&text, bundled_method(), 4).expect("a session");
        let Batch { images, labels, .. } = batch(0, N);
        let each = match shares(per_sample) {
            Value::Floats(each) => Tensor::from_slice(&each).to_kind(Kind::Float),
            _ => Tensor::full([N], 0.3, (Kind::Float, Device::Cpu)),
        };
        let world = hand.world();
        let net = &world.nets[0];
        let logits = by_hand(&net.network, &images, None, &each.reshape([-1, 1, 1, 1]), stage);
        let theirs = labels.index_select(0, &Tensor::from_slice(&PARTNER));
        let own: Tensor = &each * cross_entropy(&logits, &labels);
        let theirs: Tensor = (1.0 - &each) * cross_entropy(&logits, &theirs);
        let loss = (own + theirs).mean(None);
        loss.backward();

        near(&at, &report.losses[0].1, &loss, 1e-6);
        let found = &report.mixes["mix"];
        assert_eq!((found.stage, found.images.equal(&images)), (stage, stage > 0), "{at}");
        let mut compared = 0;
        for (name, tensor, _) in net.store.parameters() {
            let gradient = &report.gradients[&format!("net.q.{name}")];
            near(&format!("{at}: {name}"), gradient, &tensor.grad(), 1e-6);
            compared += usize::from(gradient.abs().max().double_value(&[]) > 1e-4);
        }
        assert!(compared >= 8, "{at}: most gradients are not zero");
        // The same BatchNorm statistics, moved once.
        let (ours, hand) = (buffers(&ours), buffers(&hand));
        for (name, wanted) in &hand {
            near(&format!("{at}: {name}"), &ours[name], wanted, 1e-6);
        }
    }
}

/// Gradients of both halves, the images' and the network's, against differences in float64.
#[test]
fn both_halves_of_a_hidden_mix_carry_the_gradient_of_its_formula() {
    admix_torch::set_threads(1);
    for (stage, per_sample) in [(1, false), (2, true), (3, false)] {
        let store = Store::with_kind(Device::Cpu, Kind::Double, Streams::new(4));
        let config = ConvNetConfig { widths: vec![3, 4, 3], strides: vec![1, 2, 1] };
        let network = Network::build(&store.root(), &config, &["one".into()], 4, 2).expect("a network");
        for (name, mut weight, _) in store.parameters() {
            let _no_graph = no_grad();
            // Away from the kinks of the ReLUs of a start at zero.
            let value = wild(&weight.size(), name.len() as f64 * 0.37, Kind::Double);
            weight.copy_(&(value + f64::from(u8::from(name.contains("bn") && name.ends_with("weight")))));
        }
        let images = wild(&[N, 2, 5, 4], 0.1, Kind::Double).set_requires_grad(true);
        let cotangent = wild(&[N, 4], 0.6, Kind::Double);
        let planned = plan(shares(per_sample), stage).on(Device::Cpu).expect("a plan");
        let context = MixerContext::default();
        let manifold = ManifoldMix { stages: vec![1, 2, 3] };
        let mut mixer = manifold.build(&store.root().sub("mixer"), &context).expect("a mixer");
        let mut forward = || {
            let mixed = mixer.mix(&MixInput::of(&images), &planned).expect("a mix");
            assert_eq!(mixed.hidden.map(|hidden| hidden.stage), Some(stage));
            let backbone = network.backbone();
            let map = backbone.forward_to(stage, &mixed.images, &Pass::TRAIN).expect("maps").into_tensor();
            let mut map = Map::from(mixed.blended(&map, &map).expect("mixed maps"));
            for index in stage + 1..=backbone.stages() {
                map = backbone.stage(index, &map, &Pass::TRAIN).expect("a stage");
            }
            let logits = network.forward_head("one", &map, true).expect("logits");
            (logits * &cotangent).sum(None)
        };
        let value = forward();
        value.backward();
        let mut leaves: Vec<(String, Tensor)> =
            store.parameters().into_iter().map(|(n, t, _)| (n, t)).collect();
        leaves.push(("images".into(), images.shallow_clone()));
        for (name, leaf) in &leaves {
            slopes_agree(leaf, Some(&leaf.grad()), &mut || forward().double_value(&[]))
                .unwrap_or_else(|seen| panic!("stage {stage}: {name}, {seen}"));
        }
        // And it is the formula.
        let lambda = planned.lambda_over_images(Kind::Double).expect("lambda").reshape([-1, 1, 1, 1]);
        let wanted = (by_hand(&network, &images, None, &lambda, stage) * &cotangent).sum(None);
        near("the value", &value, &wanted, 1e-9);
    }
}

#[test]
fn batch_norms_see_clean_maps_up_to_the_stage_and_mixed_ones_behind_it() {
    let after = |plan: Plan| {
        let mut session = manifold();
        step(&mut session, plan, batch(0, N));
        buffers(&session)
    };
    let clean = after(plan(Value::Float(1.0), 2));
    for stage in [1, 2] {
        let mixed = after(plan(Value::Float(0.4), stage));
        for (name, tensor) in &clean {
            let layer = (1..=3).find(|layer| name.contains(&format!("bn{layer}."))).expect(name);
            assert_eq!(mixed[name].equal(tensor), layer <= stage, "stage {stage}: {name}");
        }
    }
}

#[test]
fn a_share_of_one_is_a_clean_pass_bit_for_bit() {
    let script = |input: &str| {
        format!(
            "fn weights(t) {{ #{{ a: 1.0 }} }} fn step(t) {{
                let x = t.images;
                let m = t.quiet(\"mix\", #{{ as: \"mix\", images: x }});
                t.learn(#{{ a: t.loss(\"cross_entropy\", t.pass(\"q\", {input}).logits(\"one\"), t.labels) }});
            }}"
        )
    };
    let after = |input: &str, lambda: Value| {
        let mut session = session(&recipe("ManifoldMix()"), &script(input), 4).expect("a session");
        step(&mut session, plan(lambda, 2), batch(1, N));
        session.tensors()
    };
    let clean = after("x", Value::Float(0.3));
    for lambda in [Value::Float(1.0), Value::Floats(vec![1.0; 6])] {
        assert_eq!(differing(&after("m", lambda), &clean), Vec::<String>::new());
    }
    assert!(!differing(&after("m", Value::Float(0.3)), &clean).is_empty());
}

/// A script that logs how far the features of a mixed pass are from what they should be.
const FEATURES: &str = "
    fn weights(t) { #{ a: 1.0 } }
    fn step(t) {
        let x = t.images;
        let clean = t.pass(\"q\", x);
        let one = clean.features(1);
        let two = clean.features(2);
        let three = clean.features(3);
        let mixed = t.pass(\"q\", t.quiet(\"mix\", #{ as: \"mix\", images: x }));
        t.log(\"below\", abs(mixed.features(1) - one));
        // `index` holds the partners in this test.
        t.log(\"at\", abs(mixed.features(2) - (0.25 * two + 0.75 * select(two, t.index))));
        let deep = mixed.features(3);
        t.log(\"above\", abs(deep - three));
        t.learn(#{ a: t.loss(\"cross_entropy\", mixed.logits(\"one\"), t.labels) });
    }";

#[test]
fn features_are_unmixed_below_the_stage_and_mixed_from_it_on() {
    let mut session = session(&recipe("ManifoldMix()"), FEATURES, 4).expect("a session");
    let batch = Batch { index: Tensor::from_slice(&PARTNER), ..batch(0, N) };
    let report = step(&mut session, plan(Value::Float(0.25), 2), batch);
    let logged = |name: &str| {
        let found = report.logged.iter().find(|(have, _)| have == name).expect(name);
        found.1.double_value(&[])
    };
    assert_eq!(logged("below"), 0.0);
    assert!(logged("at") < 1e-6, "{}", logged("at"));
    assert!(logged("above") > 0.05, "{}", logged("above"));
}

#[test]
fn partners_of_another_view_pass_through_the_same_stages_after_the_own_images() {
    let script = "
        fn weights(t) { #{ a: 1.0 } }
        fn step(t) {
            let x = t.images;
            let m = t.quiet(\"mix\", #{ as: \"mix\", images: x, partner_images: 0.5 * x + 0.2 });
            t.learn(#{ a: t.loss(\"cross_entropy\", t.pass(\"q\", m).logits(\"one\"), t.labels) });
        }";
    for execution in [Execution::Direct, Execution::Recorded] {
        let mut ours = session(&recipe("ManifoldMix()"), script, 4).expect("a session");
        let plans = BTreeMap::from([("mix".to_string(), plan(Value::Float(0.3), 2))]);
        let options = StepOptions { plans, detail: true, execution, ..StepOptions::default() };
        let report = ours.step_with(vec![batch(0, N)], &options).expect("a step");
        let hand = session(&recipe("ManifoldMix()"), script, 4).expect("a session");
        let Batch { images, labels, .. } = batch(0, N);
        let other = 0.5 * &images + 0.2;
        let world = hand.world();
        let lambda = Tensor::from(0.3f32);
        let logits = by_hand(&world.nets[0].network, &images, Some(&other), &lambda, 2);
        cross_entropy(&logits, &labels).mean(None).backward();
        for (name, tensor, _) in world.nets[0].store.parameters() {
            near(&name, &report.gradients[&format!("net.q.{name}")], &tensor.grad(), 1e-6);
        }
        // Two views, two moves of the first BatchNorms; one of the last.
        let (ours, hand) = (buffers(&ours), buffers(&hand));
        for (name, wanted) in &hand {
            near(name, &ours[name], wanted, 1e-6);
        }
    }
}

#[test]
fn steps_recorded_then_executed_are_the_same_and_each_stage_is_a_record_of_its_own() {
    for per in ["Batch", "Sample"] {
        let run = |execution: Execution| {
            let text = recipe(&format!("ManifoldMix(per: {per})"));
            let mut session = session(&text, bundled_method(), 40).expect("a session");
            let options = StepOptions { execution, detail: true, ..StepOptions::default() };
            let stages: Vec<usize> = (0..40)
                .map(|number| {
                    session.step_with(vec![batch(number, N)], &options).expect("a step").mixes["mix"].stage
                })
                .collect();
            (session, stages)
        };
        let ((direct, stages), (recorded, again)) = (run(Execution::Direct), run(Execution::Recorded));
        assert_eq!(stages, again);
        assert!((0..3).all(|stage| stages.contains(&stage)), "{stages:?}");
        assert_eq!(differing(&direct.tensors(), &recorded.tensors()), Vec::<String>::new());
        assert_eq!(recorded.recorded_variants(), 3);
    }
}

#[test]
fn a_run_that_goes_on_from_the_middle_ends_with_the_same_bits() {
    let mut whole = manifold();
    let mut saved = BTreeMap::new();
    for number in 0..20 {
        if number == 9 {
            saved = whole.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect();
        }
        whole.step(batch(number, N)).expect("a step");
    }
    let mut second = manifold();
    second.load(&saved).expect("the state");
    second.set_clock(Clock { step: 9, steps: 40, epoch: 0, epochs: 2 });
    for number in 9..20 {
        second.step(batch(number, N)).expect("a step");
    }
    assert_eq!(differing(&whole.tensors(), &second.tensors()), Vec::<String>::new());
}

#[test]
fn no_stage_makes_a_step_wait_for_the_device() {
    let mut session = manifold();
    for stage in 0..3 {
        step(&mut session, plan(Value::Float(0.4), stage), batch(0, N));
        let (input, plans) = (batch(1, N), BTreeMap::from([("mix".into(), plan(Value::Float(0.4), stage))]));
        let options = StepOptions { plans, ..StepOptions::default() };
        let counter = SyncCounter::start();
        session.step_with(vec![input], &options).expect("a step");
        assert_eq!(counter.count(), 0, "stage {stage}: {:?}", counter.names());
    }
}

#[test]
fn outside_of_training_a_hidden_mix_is_shown_as_the_mix_of_the_images() {
    let mut session = manifold();
    let images = batch(0, N).images;
    for stage in 0..3 {
        let report =
            session.mix("mix", &images, &batch(0, N).labels, &plan(Value::Float(0.3), stage)).expect("a mix");
        assert_eq!(report.stage, stage);
        let wanted = 0.3 * &images + 0.7 * images.index_select(0, &Tensor::from_slice(&PARTNER));
        near("the images", &report.images, &wanted, 1e-6);
        assert_eq!(report.mask.map(|mask| mask.size()), (stage > 0).then(|| vec![N, 1, 16, 16]));
    }
}

#[test]
fn a_stage_that_the_network_lacks_is_refused_before_training_by_the_field() {
    let error = session(&recipe("ManifoldMix(stages: [0, 4])"), bundled_method(), 4).expect_err("too deep");
    assert!(matches!(error, Error::Field { .. }), "{error:?}");
    let told = error.to_string();
    for part in
        ["test.ron:", "`mixers.mix.stages`", "stages up to 4", "the network has 3", "0 (the images) to 3"]
    {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
    let error =
        session(&recipe("ManifoldMix(stages: [])"), bundled_method(), 4).expect_err("no stage").to_string();
    assert!(error.contains("`mixers.mix.stages` is []"), "{error}");
}

#[test]
fn a_mix_that_may_be_hidden_is_no_image_in_any_step() {
    let script = "
        fn weights(t) { #{} }
        fn step(t) {
            let m = t.quiet(\"mix\", #{ as: \"m\", images: t.images });
            t.quiet(\"mix\", #{ as: \"twice\", images: m });
        }";
    let mut session = session(&recipe("ManifoldMix()"), script, 4).expect("a session");
    let plans = BTreeMap::from([("m".to_string(), plan(Value::Float(0.4), 0))]);
    let options = StepOptions { plans, ..StepOptions::default() };
    let error = session.step_with(vec![batch(0, N)], &options).expect_err("no image").to_string();
    for part in ["test.rhai:5:", "`mix` may mix inside of the network", "its mix `m`", "give it to a pass"] {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

/// A recipe whose mixer is this script.
fn scripted(script: &str, folder: &tempfile::TempDir) -> String {
    let file = folder.path().join("deep.rhai");
    std::fs::write(&file, script).expect("written");
    recipe(&format!("Script({:?})", file.display().to_string()))
}

const DEEP: &str = "
    fn needs() { #{ hidden: 2 } }
    fn plan(d) { #{ structure: d.below(3) } }
    fn mix(m) {
        if m.structure > 0 { return #{ stage: m.structure }; }
        #{ images: lerp(m.partners, m.images, over_images(m.lambda)) }
    }";

#[test]
fn a_scripted_mixer_may_mix_inside_and_manifoldmix_is_three_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let masked = DEEP.replace(
        "stage: m.structure }",
        "stage: m.structure, mask: over_images(m.lambda), images: m.images }",
    );
    for script in [DEEP, &masked] {
        let mut ours = session(&scripted(script, &folder), bundled_method(), 40).expect("a session");
        let mut theirs = manifold();
        for number in 0..12 {
            ours.step(batch(number, N)).expect("a step");
            theirs.step(batch(number, N)).expect("a step");
        }
        assert_eq!(differing(&ours.tensors(), &theirs.tensors()), Vec::<String>::new());
    }
}

#[test]
fn a_scripted_mixer_is_told_what_a_hidden_mix_must_be() {
    let folder = tempfile::tempdir().expect("a folder");
    for (from, to, said) in [
        ("hidden: 2", "features: 1, hidden: 0", "the number of a stage, from 1"),
        ("hidden: 2", "hidden: 7", "mixes at stages up to 7, but the network has 3"),
        ("hidden: 2", "saliency: false", "needs name no mixes inside of a network"),
        ("stage: m.structure }", "stage: 3 }", "mixes at stage 3, but its needs name only stages up to 2"),
        ("stage: m.structure }", "stage: 0.5 }", "returned `stage` 0.5, expected a whole number"),
        (
            "stage: m.structure }",
            "stage: 1, mask: rows(m.images) }",
            "returned `mask` of the shape [1, 1, 16, 1]",
        ),
        (
            "stage: m.structure }",
            "stage: 1, sources: stack([m.partner], 1), shares: stack([m.partner * 0.0 + 1.0], 1) }",
            "the credit of a hidden mix",
        ),
    ] {
        let script = DEEP.replace(from, to).replace("d.below(3)", "1");
        let outcome = session(&scripted(&script, &folder), bundled_method(), 4)
            .and_then(|mut session| session.step(batch(0, N)).map(drop));
        let told = outcome.expect_err(to).to_string();
        assert!(told.contains(said) && !told.contains('\n'), "{to}: {told}");
    }
}
