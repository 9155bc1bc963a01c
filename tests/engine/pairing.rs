//! Partners by pseudo label, in whole steps.

use std::collections::BTreeMap;

use admix_api::Plan;
use admix_engine::{Execution, Override, Recipe, StepOptions, StepReport};
use admix_torch::Tensor;

use super::{batch, differing, session};

/// Labels of the batch take the part of pseudo labels.
const SCRIPT: &str = "
    fn weights(t) { #{ loss: 1.0 } }
    fn step(t) {
        let m = t.quiet(\"mix\", #{ as: \"mix\", images: t.images, pseudo: t.labels });
        t.learn(#{ loss: t.loss(\"mixup_cross_entropy\", t.pass(\"q\", m).logits(\"one\"), m.target(t.labels)) });
    }";

fn recipe(mixers: &str) -> String {
    format!(
        r#"(epochs: 1, batch: 8, method: "any", seed: 5, model: ConvNet(widths: [8, 8], strides: [2, 2]),
            mixers: {{{mixers}}}, optimizer: Sgd(lr: 0.05))"#
    )
}

/// Six steps of a mixer.
fn run(mixers: &str, execution: Execution) -> (admix_engine::Session, Vec<StepReport>) {
    let mut session = session(&recipe(mixers), SCRIPT, 6).expect("a session");
    let options = StepOptions { execution, detail: true, ..StepOptions::default() };
    let reports =
        (0..6).map(|step| session.step_with(vec![batch(step, 8)], &options).expect("a step")).collect();
    (session, reports)
}

/// How many of a step's samples meet one of their own label. Of 8 samples, 6 have a label that is there twice.
fn met(step: i64, report: &StepReport) -> usize {
    let labels = batch(step, 8).labels;
    let theirs = labels.index_select(0, report.mixes["mix"].partner.as_ref().expect("a pair"));
    usize::try_from(labels.eq_tensor(&theirs).sum(None).int64_value(&[])).expect("a count")
}

#[test]
fn compiled_and_scripted_mixers_meet_their_own_label_when_asked_to() {
    for mixer in ["MixUp", "CutMix", "SaliencyMix", "ManifoldMix"] {
        let (_, reports) =
            run(&format!(r#""mix": {mixer}(partner: ClusterAware(share: 1.0))"#), Execution::Direct);
        assert!(reports.iter().enumerate().all(|(step, report)| met(step as i64, report) == 6), "{mixer}");
    }
    let scripted = r#""mix": Script(file: "mixers/cutmix", partner: ClusterAware(share: 1.0), per: Sample)"#;
    let compiled = r#""mix": CutMix(partner: ClusterAware(share: 1.0), per: Sample)"#;
    let (scripted, compiled) = (run(scripted, Execution::Direct), run(compiled, Execution::Direct));
    assert_eq!(differing(&scripted.0.tensors(), &compiled.0.tensors()), Vec::<String>::new());
    let (_, none) = run(r#""mix": MixUp(partner: ClusterAware(share: 0.0))"#, Execution::Direct);
    assert!(none.iter().enumerate().map(|(step, report)| met(step as i64, report)).sum::<usize>() < 24);
}

#[test]
fn recorded_steps_pair_anew_from_their_slots() {
    let mixer = r#""mix": CutMix(partner: ClusterAware(share: 0.7))"#;
    let (direct, reports) = run(mixer, Execution::Direct);
    let (recorded, again) = run(mixer, Execution::Recorded);
    assert_eq!(differing(&direct.tensors(), &recorded.tensors()), Vec::<String>::new());
    assert_eq!(recorded.recorded_variants(), 1);
    let partners = |reports: &[StepReport]| -> Vec<Vec<i64>> {
        reports
            .iter()
            .map(|report| {
                Vec::try_from(report.mixes["mix"].partner.as_ref().expect("a pair")).expect("numbers")
            })
            .collect()
    };
    assert_eq!(partners(&reports), partners(&again));
    assert!(partners(&reports).windows(2).all(|two| two[0] != two[1]));
}

#[test]
fn given_partners_hold_also_where_a_pairing_was_recorded_before() {
    let mut session =
        session(&recipe(r#""mix": MixUp(partner: ClusterAware(share: 1.0))"#), SCRIPT, 6).expect("a session");
    let given = Plan::given(0.5, &[1, 2, 3, 4, 5, 6, 7, 0]);
    let step = |session: &mut admix_engine::Session, plans: BTreeMap<String, Plan>| {
        let options =
            StepOptions { plans, execution: Execution::Recorded, detail: true, ..StepOptions::default() };
        let mut report = session.step_with(vec![batch(0, 8)], &options).expect("a step");
        report.mixes.remove("mix").expect("a mix").partner.expect("a pair")
    };
    let _ = step(&mut session, BTreeMap::new());
    let partner = step(&mut session, BTreeMap::from([("mix".to_string(), given)]));
    assert!(partner.equal(&Tensor::from_slice(&[1i64, 2, 3, 4, 5, 6, 7, 0])), "{partner}");
}

#[test]
fn a_pairing_by_labels_reads_nothing_back_from_the_device() {
    let mut session = session(&recipe(r#""mix": CutMix(partner: ClusterAware(share: 0.5))"#), SCRIPT, 6)
        .expect("a session");
    session.step(batch(0, 8)).expect("a step");
    let input = batch(1, 8);
    let counter = admix_torch::SyncCounter::start();
    session.step(input).expect("a step");
    assert_eq!(counter.count(), 0, "{:?}", counter.names());
}

#[test]
fn a_mix_without_the_labels_of_its_pairing_is_told_the_field_and_the_key() {
    let says = |mixers: &str, script: &str, parts: &[&str]| {
        let message = session(&recipe(mixers), script, 4)
            .and_then(|mut session| session.step(batch(0, 8)).map(drop))
            .expect_err("an error")
            .to_string();
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    };
    let without = SCRIPT.replace(", pseudo: t.labels", "");
    let aware = r#""mix": MixUp(partner: ClusterAware(share: 0.25))"#;
    let field = "`mixers.mix.partner` of the recipe is ClusterAware(share: 0.25)";
    says(aware, &without, &["mixer `mix` needs `pseudo`", field, "Add `pseudo: ...`"]);
    let choice = format!(r#"{}, "mix": Choice(of: {{"m": 1.0}})"#, aware.replace("\"mix\"", "\"m\""));
    says(&choice, &without, &["mixer `mix` needs `pseudo`", "`mixers.m.partner`"]);
    // Who does not pair by label takes none.
    says(r#""mix": MixUp()"#, SCRIPT, &["takes no `pseudo`"]);
    let wrong = SCRIPT.replace("pseudo: t.labels", "pseudo: t.images");
    says(aware, &wrong, &["pseudo labels", "[8] int64"]);
    says(
        r#""mix": MixUp(partner: ClusterAware(share: 1.5))"#,
        SCRIPT,
        &["test.ron:2:", "`mixers.mix.partner.share` is 1.5", "[0, 1]"],
    );
}

#[test]
fn the_share_can_be_set_and_is_shown() {
    let registry = admix_engine::registry().expect("a registry");
    let text = recipe(r#""mix": MixUp(partner: ClusterAware(share: 0.25))"#);
    let set = |path: &str, value: &str| {
        let change = Override { path: path.into(), value: value.into() };
        let recipe = Recipe::parse(&text, "test.ron", &[change], &registry).expect("a recipe");
        let rows = admix_engine::describe(&recipe, &text).expect("values");
        rows.into_iter().filter(|row| row.0.starts_with("mixers.mix.partner")).collect::<Vec<_>>()
    };
    let rows = set("mixers.mix.partner.share", "0.75");
    assert_eq!((rows.len(), rows[0].1.as_str(), rows[0].2.to_string().as_str()), (1, "0.75", "--set"));
    assert_eq!(set("mixers.mix.partner", "Flip")[0].1, "\"Flip\"");
    assert_eq!(set("seed", "1")[0].2.to_string(), "line 2");
}

#[test]
fn inter_intra_credits_each_sample_by_what_its_pair_is() {
    // Two of one label among eight samples of five classes meet at random; with share 1, six of eight do.
    let (_, reports) = run(r#""mix": InterIntra(partner: ClusterAware(share: 1.0))"#, Execution::Direct);
    for (step, report) in reports.iter().enumerate() {
        let mix = &report.mixes["mix"];
        let labels = batch(step as i64, 8).labels;
        let partner = mix.partner.as_ref().expect("a pair");
        let same = labels.eq_tensor(&labels.index_select(0, partner));
        let mask = mix.mask.as_ref().expect("a mask").flatten(1, -1);
        let boxed = mask.eq(0.0).logical_or(&mask.eq(1.0)).all_dim(1, false);
        let flat = mask.eq_tensor(&mask.narrow(1, 0, 1)).all_dim(1, false);
        assert!(
            same.logical_not().logical_or(&flat).all().int64_value(&[]) == 1,
            "step {step}: a plane within"
        );
        assert!(same.logical_or(&boxed).all().int64_value(&[]) == 1, "step {step}: a box between");
        assert_eq!(met(step as i64, report), 6);
    }
    let mixer = r#""mix": InterIntra(per: Sample)"#;
    let (direct, recorded) = (run(mixer, Execution::Direct).0, run(mixer, Execution::Recorded).0);
    assert_eq!(differing(&direct.tensors(), &recorded.tensors()), Vec::<String>::new());
    assert_eq!(recorded.recorded_variants(), 1);
    let refused =
        session(&recipe(r#""mix": InterIntra(alpha: 1.0)"#), SCRIPT, 2).expect_err("refused").to_string();
    assert!(refused.contains("`mixers.mix.alpha` plays no part in inter_intra"), "{refused}");
}
