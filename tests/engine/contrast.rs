//! Methods without labels: queues, BatchNorm groups, and no way for a mix to show what it is told by.

use std::collections::BTreeMap;

use admix_api::{Plan, Value};
use admix_data::Batch;
use admix_engine::{Clock, Execution, Method, Session, Shape, StepOptions, StepReport, bundled};
use admix_torch::{Device, Kind, Tensor};

use super::{differing, recipe};

/// What the three methods share. `{}` takes more fields.
pub fn text(method: &str, more: &str) -> String {
    let mixer = match method {
        "moco" => r#""mix": MixUp(partner: Derangement)"#,
        "mochi" | "swav" => "",
        _ => r#""amix": AMix(stage: 2, adjust: 1.0, dropout: 0.2, init: Normal(0.3), partner: Derangement)"#,
    };
    let (pairs, clusters) = match method {
        "amix_c" => (
            r#", (from: "online", to: "offline", when: BeforeStep, copy: true)"#,
            r#"embedding_heads: {"online": (), "offline": ()}, clusterers: {"odc": Odc(k: 3, min_size: 1)},
               losses: {"cluster": CrossEntropy(class_weight: WeightedMean)},"#,
        ),
        _ => ("", ""),
    };
    format!(
        r#"(
            epochs: 2, batch: 8, method: "{method}", heads: [], seed: 3,
            model: ConvNet(widths: [8, 16, 16], strides: [2, 2, 1]),
            neck: Mlp(hidden: 16, out: 8), queues: {{"keys": (length: 24)}},
            pairs: [(from: "q", to: "k", when: BeforeStep, momentum: 0.9){pairs}],
            mixers: {{{mixer}}}, optimizer: Sgd(lr: 0.05), {clusters} {more}
        )"#
    )
}

pub fn session_of(method: &str, script: &str, more: &str) -> Session {
    built(&text(method, more), script)
}

/// A session of 16 samples on two views, with its clusters, if it has a clusterer.
pub fn built(text: &str, script: &str) -> Session {
    admix_torch::set_threads(1);
    let recipe = recipe(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let registry = admix_engine::registry().expect("a registry");
    let method = Method::compile(script, "test.rhai").expect("a method");
    let clock = Clock { step: 0, steps: 60, epoch: 0, epochs: 2 };
    let shape = Shape { samples: 16, ..Shape::new(3, 5) };
    let mut session =
        Session::build(&recipe, method, &registry, shape, clock, Device::Cpu).expect("a session");
    session.start_clusterers([Ok(wave(9, 16))]).expect("clusters");
    session
}

fn bundled_session(method: &str, more: &str) -> Session {
    session_of(method, bundled::script(method).expect("the script").0, more)
}

/// Images `[N, 3, 12, 12]` of their own for each number.
fn wave(number: i64, n: i64) -> Tensor {
    wave_of(number, n, 12)
}

/// Images `[N, 3, side, side]` of their own for each number.
pub fn wave_of(number: i64, n: i64, side: i64) -> Tensor {
    let ramp = Tensor::arange(n * 3 * side * side, (Kind::Float, Device::Cpu)) * 0.37 + number as f64;
    ramp.sin().reshape([n, 3, side, side])
}

/// Two views that differ.
pub fn views(number: i64) -> [Tensor; 2] {
    [wave(number, 8), wave(number, 8) * 0.8 + wave(number + 50, 8) * 0.3]
}

pub fn batch(views: [Tensor; 2]) -> Batch {
    let labels = Tensor::zeros([8], (Kind::Int64, Device::Cpu));
    let index = Tensor::arange(8, (Kind::Int64, Device::Cpu));
    Batch::of_views(views.into(), labels, index).expect("a batch")
}

pub fn step(session: &mut Session, views: [Tensor; 2]) -> StepReport {
    let options = StepOptions { detail: true, ..StepOptions::default() };
    session.step_with(vec![batch(views)], &options).unwrap_or_else(|error| panic!("{error}"))
}

pub fn term(report: &StepReport, name: &str) -> f64 {
    let found = report.losses.iter().find(|(own, _)| own == name);
    found.unwrap_or_else(|| panic!("no term {name}")).1.double_value(&[])
}

/// The keys that a first step left in the queue, `[N, D]`.
fn keys(session: &Session) -> Tensor {
    session.tensors()["queue.keys.entries"].narrow(1, 0, 8).transpose(0, 1).copy()
}

/// The bundled script with another passage: a leak put back.
fn leaky(method: &str, passage: &str, instead: &str) -> String {
    let (script, _) = bundled::script(method).expect("the script");
    assert!(script.contains(passage), "{method} has no {passage}");
    script.replace(passage, instead)
}

const METHODS: [&str; 3] = ["moco", "amix_i", "amix_c"];

#[test]
fn recorded_steps_end_with_the_bits_of_direct_ones() {
    for method in METHODS {
        let run = |execution: Execution| {
            let mut session = bundled_session(method, "bn_groups: 2,");
            for number in 0..6 {
                let options = StepOptions { execution, ..StepOptions::default() };
                session.step_with(vec![batch(views(number))], &options).expect("a step");
            }
            session
        };
        let (direct, recorded) = (run(Execution::Direct), run(Execution::Recorded));
        assert_eq!(differing(&direct.tensors(), &recorded.tensors()), Vec::<String>::new(), "{method}");
        assert_eq!(recorded.recorded_variants(), 1, "{method}");
    }
}

#[test]
fn a_step_without_labels_reads_nothing_back_from_the_device() {
    for method in METHODS {
        // The centroids and small clusters of the step before are between steps: none is due here.
        let more = if method == "amix_c" { "" } else { "bn_groups: 2," };
        let mut session = bundled_session(method, more);
        session.step(batch(views(0))).expect("a step");
        let input = batch(views(1));
        let counter = admix_torch::SyncCounter::start();
        session.step(input).expect("a step");
        let between = usize::from(method == "amix_c");
        assert!(counter.count() as usize <= between, "{method}: {:?}", counter.names());
    }
}

#[test]
fn the_queue_is_read_as_the_step_before_left_it_and_wraps() {
    let mut session = bundled_session("moco", "");
    let start = session.tensors()["queue.keys.entries"].copy();
    let norms = start.square().sum_dim_intlist(0i64, false, Kind::Float);
    assert!((norms - 1.0).abs().max().double_value(&[]) < 1e-5, "columns of unit length");
    let pointer = |session: &Session| session.tensors()["queue.keys.pointer"].int64_value(&[0]);
    for (number, wanted) in [8, 16, 0, 8].into_iter().enumerate() {
        let before = session.tensors()["queue.keys.entries"].copy();
        let at = pointer(&session);
        step(&mut session, views(number as i64));
        let after = session.tensors()["queue.keys.entries"].copy();
        assert_eq!(pointer(&session), wanted);
        let moved = before.ne_tensor(&after).any_dim(0, false);
        let moved: Vec<bool> = (0..24).map(|i| moved.int64_value(&[i]) != 0).collect();
        let expected: Vec<bool> = (0..24).map(|i| (at..at + 8).contains(&i)).collect();
        assert_eq!(moved, expected, "step {number}");
    }
    // Keys that are no numbers leave their columns as they were.
    let before = session.tensors()["queue.keys.entries"].copy();
    let mut unit = session.world_mut();
    let queue = &mut unit.queues[0].queue;
    let bad = Tensor::full([8, 8], f64::NAN, (Kind::Float, Device::Cpu));
    queue.enqueue(&bad).expect("keys");
    queue.advance(&admix_torch::scalar(0.0, Device::Cpu)).expect("keys");
    assert!(queue.entries().equal(&before));
    let message = queue.enqueue(&bad.narrow(1, 0, 5)).expect_err("narrow keys").to_string();
    assert!(message.contains("[N, 8]") && message.contains("[8, 5]"), "{message}");
}

/// Leak 1: an image that is mixed with itself shows the views that its keys are of.
#[test]
fn an_image_never_is_its_own_partner() {
    for method in METHODS {
        let mut session = bundled_session(method, "");
        for number in 0..20 {
            for (draw, mix) in step(&mut session, views(number)).mixes {
                let own = Tensor::arange(8, (Kind::Int64, Device::Cpu));
                assert_eq!(
                    mix.partner.as_ref().expect("partners").eq_tensor(&own).any().int64_value(&[]),
                    0,
                    "{method}: {draw}"
                );
            }
        }
        let text = text(method, "").replace(", partner: Derangement", "").replace("partner: Derangement", "");
        let recipe = recipe(&text).expect("a recipe");
        let method =
            Method::compile(bundled::script(method).expect("a script").0, "t.rhai").expect("a method");
        let registry = admix_engine::registry().expect("a registry");
        let shape = Shape { samples: 16, ..Shape::new(3, 5) };
        let clock = Clock { step: 0, steps: 1, epoch: 0, epochs: 1 };
        let mut session =
            Session::build(&recipe, method, &registry, shape, clock, Device::Cpu).expect("a session");
        let message = session.step(batch(views(0))).expect_err("a permutation").to_string();
        assert!(message.contains("partner: Derangement"), "{message}");
    }
}

/// Leak 2: a mask of one pair laid over another.
#[test]
fn the_mask_that_trains_the_mixer_knows_nothing_of_the_other_draw() {
    let mask = |script: &str, lesson: [i64; 8]| {
        let mut session = session_of("amix_i", script, "");
        let plan = |partner: [i64; 8]| Plan::given(0.4, &partner).with("dropout_key", Value::Int(7));
        let options = StepOptions {
            plans: BTreeMap::from([
                ("attempt".into(), plan([1, 2, 3, 4, 5, 6, 7, 0])),
                ("lesson".into(), plan(lesson)),
            ]),
            detail: true,
            ..StepOptions::default()
        };
        let report = session.step_with(vec![batch(views(0))], &options).unwrap_or_else(|e| panic!("{e}"));
        report.mixes["attempt"].mask.as_ref().expect("a mask").copy()
    };
    let (one, other) = ([1, 0, 3, 2, 5, 4, 7, 6], [7, 0, 1, 2, 3, 4, 5, 6]);
    let (script, _) = bundled::script("amix_i").expect("the script");
    assert!(mask(script, one).equal(&mask(script, other)));
    let wrong_pair = leaky(
        "amix_i",
        "let attempt = t.mix(\"amix\", #{ as: \"attempt\", images: x, features: z });",
        "let first = t.quiet(\"amix\", #{ as: \"lesson\", images: x, features: z });
         let theirs = select(z, first.partner);
         let attempt = t.mix(\"amix\", #{ as: \"attempt\", images: x, features: z, partner_features: theirs });",
    );
    let (start, end) = wrong_pair.split_once("// A second draw").expect("a second draw");
    let wrong_pair = format!("{start}//{}", end.replace("as: \"lesson\"", "as: \"late\""));
    assert!(!mask(&wrong_pair, one).equal(&mask(&wrong_pair, other)));
}

/// Leak 3: keys of both views in one batch share its statistics.
#[test]
fn keys_do_not_depend_on_the_other_view() {
    let depend = |method: &str, script: &str| {
        let keys = |shift: f64| {
            let mut session = session_of(method, script, "");
            let [q, k] = views(0);
            step(&mut session, [q + shift, k]);
            keys(&session)
        };
        !keys(0.0).equal(&keys(0.5))
    };
    for method in METHODS {
        assert!(!depend(method, bundled::script(method).expect("the script").0), "{method}");
    }
    let both = leaky(
        "amix_i",
        r#"let key = t.pass("k", t.views[1]).unit();"#,
        r#"let key = narrow(t.pass("k", cat([t.views[1], x], 0)).unit(), 0, 0, 8);"#,
    );
    assert!(depend("amix_i", &both));
}

/// Leak 4: on one device, dealing samples out anew protects only where there are groups.
#[test]
fn a_key_depends_on_its_own_group_alone() {
    let unmoved = |more: &str| {
        let keys = |shift: f64| {
            let mut session = bundled_session("moco", more);
            let [q, k] = views(0);
            let _ = k.get(3).g_add_(&Tensor::from(shift as f32));
            step(&mut session, [q, k]);
            keys(&session)
        };
        let (one, other) = (keys(0.0), keys(0.7));
        (0..8).filter(|i| one.get(*i).equal(&other.get(*i))).count()
    };
    assert_eq!(unmoved("bn_groups: 4,"), 6, "all but the two of one group");
    assert_eq!(unmoved("bn_groups: 2,"), 4);
    assert_eq!(unmoved(""), 0, "off");
}

/// Leak 5: pixels of view 1 in front of the networks that are told by keys of view 1.
#[test]
fn mixes_show_view_0_alone() {
    let shows = |method: &str, script: &str| {
        let images = |shift: f64| {
            let mut session = session_of(method, script, "");
            let [q, k] = views(0);
            step(&mut session, [q, k + shift]).mixes
        };
        let (one, other) = (images(0.0), images(0.5));
        one.iter().any(|(draw, mix)| !mix.images.equal(&other[draw].images))
    };
    for method in METHODS {
        assert!(!shows(method, bundled::script(method).expect("the script").0), "{method}");
    }
    let with_view_1 = leaky(
        "amix_i",
        "images: x, features: z });\n    t.learn(#{ mix",
        "images: x, partner_images: t.views[1], features: z });\n    t.learn(#{ mix",
    );
    assert!(shows("amix_i", &with_view_1));
}

/// Leak 7: a raw embedding in a contrast makes its temperature meaningless.
#[test]
fn the_length_of_embeddings_changes_no_contrast() {
    let change = |script: &str| {
        let loss = |factor: f64| {
            let mut session = session_of("amix_c", script, "");
            let tensors = session.tensors();
            {
                let _guard = admix_torch::no_grad();
                for (_, tensor) in tensors.iter().filter(|(name, _)| name.contains("neck.fc1")) {
                    let _ = tensor.shallow_clone().g_mul_scalar_(factor);
                }
            }
            term(&step(&mut session, views(0)), "bce")
        };
        (loss(1.0) - loss(3.0)).abs()
    };
    assert!(change(bundled::script("amix_c").expect("the script").0) < 1e-5);
    assert!(change(&leaky("amix_c", r#"t.loss("bce", unit(raw)"#, r#"t.loss("bce", raw"#)) > 1e-3);
}

/// Leak 8: the clusters' loss of the online head reaches the mixer a second time.
#[test]
fn the_online_head_moves_no_mixer() {
    let moves = |script: &str| {
        let gradient = |weight: f64| {
            let mut session =
                session_of("amix_c", script, &format!("weights: {{\"online_mix\": {weight:?}}},"));
            step(&mut session, views(0)).gradients["mixer.amix.value.fc1.weight"].copy()
        };
        !gradient(0.001).equal(&gradient(5.0))
    };
    let (script, _) = bundled::script("amix_c").expect("the script");
    assert!(!moves(script));
    // Both in one `learn`, as they then share a graph.
    let term = r#"online_mix: cross_entropy(t, t.head("online", detach(raw)), target),"#;
    let attached = leaky("amix_c", term, "")
        .replace("main: main(", &format!("{}\n        main: main(", term.replace("detach(raw)", "raw")));
    assert!(moves(&attached));
}

/// Leak 9: the last BatchNorms of k see keys and mixes, not view 0, and the mixed pass is dealt out as well.
#[test]
fn k_encodes_view_0_no_further_than_the_mixer_reads() {
    let updates = |script: &str| {
        let mut session = session_of("amix_c", script, "");
        let tensors = session.tensors();
        let mean = &tensors["net.k.backbone.bn3.running_mean"];
        {
            let _guard = admix_torch::no_grad();
            let _ = mean.shallow_clone().fill_(1e6);
        }
        step(&mut session, views(0));
        // Each train-mode pass leaves 0.9 of it.
        (session.tensors()["net.k.backbone.bn3.running_mean"].double_value(&[0]) / 1e6).ln() / 0.9f64.ln()
    };
    let (script, _) = bundled::script("amix_c").expect("the script");
    assert!((updates(script) - 2.0).abs() < 0.01);
    let again = leaky(
        "amix_c",
        "let z = t.pass(\"k\", x).features(\"amix\");",
        "let p = t.pass(\"k\", x); let z = p.features(\"amix\"); p.finish();",
    );
    assert!((updates(&again) - 3.0).abs() < 0.01);
}

/// Leak 9, the other half: a mix goes through BatchNorm groups of a batch dealt out anew, as keys do.
#[test]
fn a_mix_shares_statistics_with_its_own_group_alone_and_groups_are_dealt_out_anew() {
    // What the networks make of the mixes, put where it can be read: into the queue.
    let read = |method: &str| match method {
        "amix_i" => leaky(method, "t.enqueue(\"keys\", key);", "t.enqueue(\"keys\", detach(guess));"),
        "amix_c" => leaky(method, "t.enqueue(\"keys\", key);", "t.enqueue(\"keys\", unit(detach(raw)));"),
        _ => leaky(
            method,
            "t.learn(#{ mix: t.loss(\"info_nce\", t.pass(\"q\", mixed).unit(), told, queue) });",
            "let seen = t.pass(\"q\", mixed).unit();
             t.learn(#{ mix: t.loss(\"info_nce\", seen, told, queue) });
             t.enqueue(\"keys\", detach(seen));",
        )
        .replace("    t.enqueue(\"keys\", key);\n", ""),
    };
    // Which of the mixes are seen otherwise where sample 3 alone is mixed with another image.
    let moved = |method: &str, more: &str, number: u64| -> Vec<i64> {
        let embeddings = |partner: i64| {
            let mut session = session_of(method, &read(method), more);
            session.set_clock(Clock { step: number, ..session.clock() });
            if method != "moco" {
                // A mask of 1/2 everywhere: nothing but its own pair makes a mix.
                let _guard = admix_torch::no_grad();
                let _ = session.tensors()["mixer.amix.value.fc1.weight"].shallow_clone().zero_();
            }
            let partners = [1, 2, 0, partner, 5, 6, 7, 4];
            let plan = || Plan::given(0.4, &partners).with("dropout_key", Value::Int(7));
            let draws = ["mix", "attempt", "lesson"];
            let options = StepOptions {
                plans: draws.into_iter().map(|draw| (draw.to_string(), plan())).collect(),
                detail: true,
                ..StepOptions::default()
            };
            let report = session.step_with(vec![batch(views(0))], &options).unwrap_or_else(|e| panic!("{e}"));
            let draw = if method == "moco" { "mix" } else { "attempt" };
            (report.mixes[draw].images.copy(), keys(&session))
        };
        let (one, other) = (embeddings(5), embeddings(6));
        let differs = |a: &Tensor, b: &Tensor| -> Vec<i64> {
            (0..8).filter(|i| !a.get(*i).equal(&b.get(*i))).collect()
        };
        assert_eq!(differs(&one.0, &other.0), [3], "{method}: one mix alone is another image");
        differs(&one.1, &other.1)
    };
    for method in METHODS {
        let mut mates = std::collections::BTreeSet::new();
        for number in 0..6 {
            let moved = moved(method, "bn_groups: 4,", number);
            assert!(moved.len() == 2 && moved.contains(&3), "{method}, step {number}: {moved:?}");
            mates.extend(moved);
        }
        assert!(mates.len() > 3, "{method}: always the same group, {mates:?}");
        assert_eq!(
            moved(method, "", 0).len(),
            8,
            "{method}: without groups each mix is seen with all others"
        );
    }
}

/// Leak 10: weights that sum to 1 over the clusters make the losses of clusters about 1/K as large.
#[test]
fn the_scale_of_class_weights_changes_no_loss() {
    let loss = |reweight: &str, weighting: &str| {
        let text = text("amix_c", "")
            .replace("min_size: 1", &format!("min_size: 1, reweight: {reweight}"))
            .replace("WeightedMean", weighting);
        let recipe = recipe(&text).expect("a recipe");
        let method =
            Method::compile(bundled::script("amix_c").expect("a script").0, "t.rhai").expect("a method");
        let registry = admix_engine::registry().expect("a registry");
        let shape = Shape { samples: 16, ..Shape::new(3, 5) };
        let clock = Clock { step: 0, steps: 60, epoch: 0, epochs: 2 };
        let mut session =
            Session::build(&recipe, method, &registry, shape, clock, Device::Cpu).expect("a session");
        session.start_clusterers([Ok(wave(9, 16))]).expect("clusters");
        term(&step(&mut session, views(0)), "main")
    };
    let (mean, sum) = (loss("MeanOne", "WeightedMean"), loss("SumOne", "WeightedMean"));
    assert!((mean - sum).abs() < 1e-5, "{mean} {sum}");
    assert!(loss("SumOne", "OverSamples") < 0.6 * mean);
}

#[test]
fn the_offline_head_is_a_copy_that_no_loss_moves() {
    let mut session = bundled_session("amix_c", "");
    let head = |session: &Session, name: &str| session.tensors()[&format!("head.{name}.fc.weight")].copy();
    for number in 0..3 {
        let online = head(&session, "online");
        let report = step(&mut session, views(number));
        assert!(head(&session, "offline").equal(&online), "as the online one was at the start of the step");
        assert!(!head(&session, "online").equal(&online));
        assert!(!report.gradients.keys().any(|name| name.contains("offline")));
        assert!((term(&report, "main") - term(&report, "online_mix")).abs() < 1e-6);
    }
}

#[test]
fn the_pipelines_of_moco_differ_in_what_a_mixture_is_told_by() {
    let run = |pipeline: &str| {
        let mut session = bundled_session("moco", &format!("params: {{\"pipeline\": \"{pipeline}\"}},"));
        let report = step(&mut session, views(0));
        let gradient = report.gradients["net.q.backbone.conv1.weight"].copy();
        (term(&report, "moco"), term(&report, "mix"), report.mixes["mix"].images.copy(), gradient)
    };
    let (cross, same, mixed) = (run("cross"), run("same"), run("mixed"));
    assert!(cross.0 == same.0 && same.0 == mixed.0, "the raw term is the same in all");
    assert!(cross.2.equal(&same.2) && !cross.2.equal(&mixed.2));
    assert!(cross.1 != same.1 && cross.1 != mixed.1 && same.1 != mixed.1);
    assert!(!cross.3.equal(&same.3));
    let mut session = bundled_session("moco", "params: {\"pipeline\": \"crossed\"},");
    let message = session.step(batch(views(0))).expect_err("no pipeline").to_string();
    assert!(message.contains("crossed") && message.contains("\"cross\", \"same\" or \"mixed\""), "{message}");
    // The mixture alone.
    let mut session = bundled_session("moco", "weights: {\"moco\": 0.0},");
    let report = step(&mut session, views(0));
    assert_eq!(report.losses.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["mix"]);
}

#[test]
fn what_cannot_be_is_refused_with_field_and_remedy() {
    let refused = |from: &str, to: &str, parts: &[&str]| {
        let text = text("amix_c", "bn_groups: 2,");
        assert!(text.contains(from), "{from}");
        let message = recipe(&text.replace(from, to)).expect_err(to).to_string();
        for part in parts {
            assert!(message.contains(part), "{part}: {message}");
        }
    };
    refused(
        "length: 24",
        "length: 28",
        &["test.ron:", "`queues.keys.length` is 28", "a multiple of the batch, 8"],
    );
    refused("length: 24", "length: 0", &["`queues.keys.length` is 0", "such as 8"]);
    refused("bn_groups: 2", "bn_groups: 3", &["`bn_groups` is 3", "divides the batch, 8"]);
    refused("out: 8", "out: 0", &["`neck.out` is 0"]);
    refused(
        "clusterers: {\"odc\": Odc(k: 3, min_size: 1)},",
        "",
        &["embedding_heads.", "is missing", "(out: 200)"],
    );
    refused("from: \"online\"", "from: \"q\"", &["`pairs`", "`offline`", "`online`"]);
    let stop = |script: &str, parts: &[&str]| {
        let mut session = session_of("moco", script, "");
        let message = session.step(batch(views(0))).expect_err(script).to_string();
        for part in parts {
            assert!(message.contains(part), "{part}: {message}");
        }
    };
    let method = |line: &str| format!("fn weights(t) {{ #{{ a: 1.0 }} }}\nfn step(t) {{\n{line}\n}}");
    stop(&method("t.queue(\"key\");"), &["no queue named `key`", "`keys`", "test.rhai:3"]);
    stop(&method("t.views[2];"), &["2 view(s)", "data: (views: 2)", "test.rhai:3"]);
    stop(&method("t.head(\"on\", t.pass(\"q\", t.images).embed());"), &["no head on embeddings named `on`"]);
    stop(&method("t.enqueue(\"keys\", t.pass(\"q\", t.images).logits(\"one\"));"), &["no head named `one`"]);
}
