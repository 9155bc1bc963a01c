//! Every mixer under MoCo v2: what a mixture is, and that its gradient reaches q.

use std::collections::BTreeMap;

use admix_api::{Plan, Value};
use admix_engine::{Session, StepOptions, StepReport, bundled};
use admix_torch::{Kind, Tensor};

use super::contrast::{batch, built, step, term, text, views};

const CLUSTERS: &str = r#"clusterers: {"odc": Odc(k: 3, min_size: 1)},"#;
const PUZZLE: &str =
    r#"embedding_heads: {"online": ()}, losses: {"cluster": CrossEntropy(class_weight: WeightedMean)},"#;

/// A session of a method with this mixer.
fn session(method: &str, mixer: &str, more: &str) -> Session {
    let text = text("moco", more)
        .replace("MixUp(partner: Derangement)", mixer)
        .replace("method: \"moco\"", &format!("method: \"{method}\""));
    built(&text, bundled::script(method).expect("the script").0)
}

/// Only the mixture trains.
const ALONE: &str = r#"weights: {"moco": 0.0},"#;

fn largest(tensor: &Tensor) -> f64 {
    tensor.abs().max().double_value(&[])
}

#[test]
fn the_mixture_of_every_mixer_of_images_reaches_q_with_a_finite_gradient() {
    for mixer in ["MixUp", "CutMix", "SaliencyMix", "FMix", "ResizeMix", "ManifoldMix"] {
        let mut session = session("moco", &format!("{mixer}(partner: Derangement)"), ALONE);
        for number in 0..3 {
            let report = step(&mut session, views(number));
            assert_eq!(report.losses.len(), 1);
            assert!(term(&report, "mix").is_finite(), "{mixer}");
            for name in ["backbone.conv1.weight", "backbone.conv3.weight", "neck.fc1.weight"] {
                let size = largest(&report.gradients[&format!("net.q.{name}")]);
                assert!(size > 1e-7 && size.is_finite(), "{mixer}, step {number}: {name} {size}");
            }
            assert!(report.mixes.contains_key("mix"));
        }
    }
}

#[test]
fn a_method_can_ask_what_a_mixer_wants_to_be_given() {
    let text = text("moco", CLUSTERS).replace(
        r#""mix": MixUp(partner: Derangement)"#,
        r#""plain": MixUp(), "clusters": InterIntra(), "paired": CutMix(partner: ClusterAware()),
           "either": Choice(of: {"plain": 1.0, "clusters": 1.0}), "puzzle": PuzzleMix(), "amix": AMix(stage: 2)"#,
    );
    let wants = |expression: &str| {
        let script = format!(
            "fn weights(t) {{ #{{ a: 1.0 }} }}\nfn step(t) {{ if {expression} {{ throw \"yes\"; }} throw \"no\"; }}"
        );
        built(&text, &script).step(batch(views(0))).expect_err("thrown").to_string()
    };
    for (mixer, key, answer) in [
        ("plain", "pseudo", "no"),
        ("clusters", "pseudo", "yes"),
        ("paired", "pseudo", "yes"),
        ("either", "pseudo", "yes"),
        ("puzzle", "pseudo", "no"),
        ("puzzle", "saliency", "yes"),
        ("amix", "features", "yes"),
        ("amix", "saliency", "no"),
    ] {
        let said = wants(&format!("t.needs(\"{mixer}\", \"{key}\")"));
        assert!(said.contains(answer), "{mixer}, {key}: {said}");
    }
    let said = wants("t.needs(\"plain\", \"pseud\")");
    assert!(
        said.contains("`features`, `saliency`, `pseudo`") && said.contains("Did you mean `pseudo`?"),
        "{said}"
    );
    let said = wants("t.needs(\"plane\", \"pseudo\")");
    assert!(said.contains("no mixer named `plane`") && said.contains("Did you mean `plain`?"), "{said}");
}

fn by_plan(session: &mut Session, plan: Plan) -> StepReport {
    let options = StepOptions {
        plans: BTreeMap::from([("mix".to_string(), plan)]),
        detail: true,
        ..StepOptions::default()
    };
    session.step_with(vec![batch(views(0))], &options).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn both_halves_of_a_hidden_mixture_carry_its_gradient_to_q() {
    let partners = [1, 2, 3, 4, 5, 6, 7, 0];
    for pipeline in ["cross", "same", "mixed"] {
        let more = format!("{ALONE} params: {{\"pipeline\": \"{pipeline}\"}},");
        let gradient = |lambda: f64| {
            let mut session = session("moco", "ManifoldMix(stages: [2], partner: Derangement)", &more);
            let report = by_plan(&mut session, Plan::given(lambda, &partners).structured(2));
            assert_eq!(report.mixes["mix"].stage, 2);
            report.gradients["net.q.backbone.conv1.weight"].copy()
        };
        // Below the stage, through the own half alone and through the partner's alone.
        let (own, theirs) = (gradient(1.0), gradient(0.0));
        assert!(largest(&own) > 1e-6 && largest(&theirs) > 1e-6, "{pipeline}");
        let gap = largest(&(&own - &theirs)) / largest(&own);
        match pipeline {
            // Of one view, image p(i) alone is told by key p(i): the same terms in another order.
            "mixed" => assert!(gap > 1e-2, "the partner's half is of the other view"),
            _ => assert!(gap < 1e-3, "{pipeline}: {gap}"),
        }
    }
}

#[test]
fn inter_intra_blends_within_a_cluster_and_pastes_between_clusters() {
    let more = format!("{ALONE} {CLUSTERS}");
    let mut session = session("moco", "InterIntra(partner: ClusterAware(share: 1.0))", &more);
    let own = Tensor::from_slice(&[0i64, 0, 0, 1, 1, 2, 2, 2]);
    let mut seen = [0, 0];
    for number in 0..6 {
        {
            let _guard = admix_torch::no_grad();
            session.tensors()["bank.odc.labels"].narrow(0, 0, 8).copy_(&own);
        }
        let before = session.tensors()["bank.odc.features"].copy();
        let report = step(&mut session, views(number));
        let mix = &report.mixes["mix"];
        let partner = mix.partner.as_ref().expect("partners");
        let same = own.eq_tensor(&own.index_select(0, partner));
        for sample in 0..8 {
            let mask = mix.mask.as_ref().expect("a mask").get(sample);
            let constant = largest(&(&mask - mask.mean(Kind::Float))) < 1e-6;
            let within = same.int64_value(&[sample]) != 0;
            let edges = (mask.eq(0.0) + mask.eq(1.0)).all().int64_value(&[]) != 0;
            assert!(if within { constant } else { edges }, "step {number}, sample {sample}");
            seen[usize::from(within)] += 1;
        }
        assert!(term(&report, "mix").is_finite());
        assert!(largest(&report.gradients["net.q.backbone.conv1.weight"]) > 1e-7);
        // The bank follows the keys of the batch.
        let after = &session.tensors()["bank.odc.features"];
        assert!(!after.narrow(0, 0, 8).equal(&before.narrow(0, 0, 8)));
        assert!(after.narrow(0, 8, 8).equal(&before.narrow(0, 8, 8)));
    }
    // In a cluster of two or more every image meets one of its own.
    assert_eq!(seen, [0, 48]);
    let mut session = self::session("moco", "InterIntra()", &more);
    let masks = (0..6)
        .map(|number| step(&mut session, views(number)).mixes["mix"].mask.as_ref().expect("a mask").copy());
    assert!(masks.into_iter().any(|mask| mask.eq(0.0).any().int64_value(&[]) != 0), "boxes between clusters");
}

#[test]
fn puzzlemix_sees_what_tells_the_clusters_and_moves_neither_k_nor_its_statistics() {
    let more = format!("{CLUSTERS} {PUZZLE}");
    let mixer = "PuzzleMix(blocks: [4], partner: Derangement)";
    let mut session = session("moco_puzzlemix", mixer, &more);
    let report = step(&mut session, views(0));
    let saliency = report.mixes["mix"].saliency.as_ref().expect("a saliency").copy();
    assert_eq!(saliency.size(), [8, 12, 12]);
    assert!(largest(&saliency) > 0.0 && largest(&saliency).is_finite());
    for name in ["net.q.backbone.conv1.weight", "head.online.fc.weight"] {
        assert!(largest(&report.gradients[name]) > 1e-8, "{name}");
    }
    assert!(!report.gradients.keys().any(|name| name.starts_with("net.k.")));
    for (name, value) in &report.losses {
        assert!(value.double_value(&[]).is_finite(), "{name}");
    }
    // Of the passes of k only that of the keys is in train mode: each leaves 0.9 of what was there.
    let mut session = self::session("moco_puzzlemix", mixer, &more);
    let mean = session.tensors()["net.k.backbone.bn3.running_mean"].shallow_clone();
    {
        let _guard = admix_torch::no_grad();
        let _ = mean.shallow_clone().fill_(1e6);
    }
    step(&mut session, views(0));
    let passes = (mean.double_value(&[0]) / 1e6).ln() / 0.9f64.ln();
    assert!((passes - 1.0).abs() < 0.01, "{passes}");
    // It is that of the pseudo labels: with others it is another.
    let with = |label: i64| {
        let mut session = self::session("moco_puzzlemix", mixer, &more);
        let _guard = admix_torch::no_grad();
        let _ = session.tensors()["bank.odc.labels"].shallow_clone().fill_(label);
        drop(_guard);
        step(&mut session, views(0)).mixes["mix"].saliency.as_ref().expect("a saliency").copy()
    };
    assert!(!with(0).equal(&with(1)));
    // The mask is of the mixer's own plan, and the mixture trains q through no other way than its pass.
    let mut session = self::session(
        "moco_puzzlemix",
        mixer,
        &format!("{more} weights: {{\"moco\": 0.0, \"online\": 0.0}},"),
    );
    let plan = Plan::given(0.5, &[1, 2, 3, 4, 5, 6, 7, 0])
        .with("blocks", Value::Ints(vec![0, 1, 2, 3]))
        .structured(4);
    let report = by_plan(&mut session, plan);
    assert!(largest(&report.gradients["net.q.backbone.conv1.weight"]) > 1e-7);
}
