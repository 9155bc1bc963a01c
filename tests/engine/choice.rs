//! Mixers that pick one of the recipe's others for each mix.

use std::collections::BTreeSet;

use admix_engine::{Execution, StepOptions, StepReport, bundled};
use admix_torch::Tensor;

use super::{AMIX, batch, differing, session};

/// A recipe for `scripts/mixup.rhai` whose mixer `mix` is `of` these.
fn recipe(mixers: &str) -> String {
    format!(
        r#"(epochs: 1, batch: 8, method: "mixup", seed: 5, model: ConvNet(widths: [8, 8], strides: [2, 2]),
            mixers: {{{mixers}}}, optimizer: Sgd(lr: 0.05))"#
    )
}

const BOTH: &str = r#""mixup": MixUp(alpha: 0.8), "cutmix": CutMix()"#;

fn mixup() -> &'static str {
    bundled::script("mixup").expect("the bundled script").0
}

/// Steps with their mixes reported, and the session.
fn run(
    text: &str,
    script: &str,
    steps: u64,
    execution: Execution,
) -> (admix_engine::Session, Vec<StepReport>) {
    let mut session = session(text, script, steps).expect("a session");
    let options = StepOptions { execution, detail: true, ..StepOptions::default() };
    let reports =
        (0..steps as i64).map(|step| session.step_with(vec![batch(step, 8)], &options).expect("a step"));
    let reports = reports.collect();
    (session, reports)
}

/// Whether a step's mix has a mask: CutMix's does, MixUp's does not.
fn cut(report: &StepReport) -> bool {
    report.mixes["mix"].mask.is_some()
}

#[track_caller]
fn refused(text: &str, script: &str, parts: &[&str]) {
    let outcome = session(text, script, 4).and_then(|mut session| session.step(batch(0, 8)).map(drop));
    let message = outcome.expect_err("an error").to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
    assert!(!message.contains('\n'), "one line: {message}");
}

#[test]
fn both_mixers_of_a_choice_are_picked_and_each_mixes_as_it_would_alone() {
    let choice = recipe(&format!(r#"{BOTH}, "mix": Choice(of: {{"mixup": 0.5, "cutmix": 0.5}})"#));
    let (_, reports) = run(&choice, mixup(), 40, Execution::Direct);
    let cuts = reports.iter().filter(|report| cut(report)).count();
    assert!((8..=32).contains(&cuts), "{cuts} of 40");
    // The first step of each kind, against a run of that mixer alone: the same lambda, partners and images.
    let alone = |mixer: &str| run(&recipe(&format!(r#""mix": {mixer}"#)), mixup(), 40, Execution::Direct).1;
    let (plain, pasted) = (alone("MixUp(alpha: 0.8)"), alone("CutMix()"));
    for (step, report) in reports.iter().enumerate() {
        let theirs = &if cut(report) { &pasted } else { &plain }[step].mixes["mix"];
        let ours = &report.mixes["mix"];
        assert!(ours.images.equal(&theirs.images) && ours.lambda.equal(&theirs.lambda), "step {step}");
    }
}

#[test]
fn a_weight_of_zero_is_never_picked() {
    let choice = |of: &str| recipe(&format!(r#"{BOTH}, "mix": Choice(of: {of})"#));
    let (always, reports) = run(&choice(r#"{"mixup": 0.0, "cutmix": 7}"#), mixup(), 20, Execution::Direct);
    assert!(reports.iter().all(cut));
    let (alone, _) = run(&recipe(r#""mix": CutMix()"#), mixup(), 20, Execution::Direct);
    assert_eq!(differing(&always.tensors(), &alone.tensors()), Vec::<String>::new());
}

#[test]
fn each_pick_is_a_trace_of_its_own_when_steps_are_recorded() {
    let choice = recipe(&format!(r#"{BOTH}, "mix": Choice(of: {{"mixup": 0.5, "cutmix": 0.5}})"#));
    let (direct, direct_reports) = run(&choice, mixup(), 20, Execution::Direct);
    let (recorded, reports) = run(&choice, mixup(), 20, Execution::Recorded);
    assert_eq!(differing(&direct.tensors(), &recorded.tensors()), Vec::<String>::new());
    let cuts = |reports: &[StepReport]| reports.iter().map(cut).collect::<Vec<_>>();
    assert_eq!(cuts(&direct_reports), cuts(&reports));
    assert_eq!(recorded.recorded_variants(), cuts(&reports).into_iter().collect::<BTreeSet<_>>().len());
    assert_eq!(recorded.recorded_variants(), 2);
}

#[test]
fn a_schedule_overrides_the_weights_step_by_step() {
    let script = format!(
        "{}\nfn schedule(t) {{ #{{ choice: #{{ mix: #{{ mixup: 1.0 - t.progress, cutmix: t.progress }} }} }} }}",
        mixup()
    );
    let choice = recipe(&format!(r#"{BOTH}, "mix": Choice(of: {{"mixup": 0.0, "cutmix": 1.0}})"#));
    let (_, reports) = run(&choice, &script, 200, Execution::Direct);
    assert!(!cut(&reports[0]), "at progress 0 MixUp has all the weight");
    let share = |part: &[StepReport]| part.iter().filter(|r| cut(r)).count() as f64 / part.len() as f64;
    // Expected 0.125 and 0.875; four standard errors of 50 steps are 0.19.
    assert!(share(&reports[..50]) < 0.32 && share(&reports[150..]) > 0.68);
    // Left out is weight 0, and whole numbers are weights too.
    let only = format!("{}\nfn schedule(t) {{ #{{ choice: #{{ mix: #{{ mixup: 1 }} }} }} }}", mixup());
    assert!(!run(&choice, &only, 10, Execution::Direct).1.iter().any(cut));
}

#[test]
fn a_wrong_schedule_of_a_choice_is_an_error_with_the_nearest_name() {
    let choice = recipe(&format!(r#"{BOTH}, "mix": Choice(of: {{"mixup": 1.0, "cutmix": 1.0}})"#));
    let script = |value: &str| format!("{}\nfn schedule(t) {{ #{{ choice: {value} }} }}", mixup());
    let says = |value: &str, parts: &[&str]| {
        refused(&choice, &script(value), &[&["test.rhai:", "`schedule`"], parts].concat());
    };
    says("#{ mixx: #{ mixup: 1.0 } }", &["no mixer `mixx`", "`mix`", "Did you mean `mix`"]);
    says("#{ mixup: #{ mixup: 1.0 } }", &["`mixup` is mixup, no choice"]);
    says("#{ mix: #{ cutmx: 1.0 } }", &["`cutmx`", "`cutmix`, `mixup`", "Did you mean `cutmix`"]);
    says("#{ mix: #{ cutmix: -0.5 } }", &["`choice.mix.cutmix`", "from 0, got -0.5"]);
    says("#{ mix: #{ cutmix: 0.0 / 0.0 } }", &["`choice.mix.cutmix`", "finite"]);
    says("#{ mix: #{ cutmix: \"much\" } }", &["`choice.mix.cutmix`", "finite number from 0"]);
    says("#{ mix: #{ mixup: 0.0, cutmix: 0 } }", &["nothing to pick"]);
    says("#{ mix: #{} }", &["nothing to pick"]);
    says("#{ mix: 0.5 }", &["`choice.mix`", "a map", "a number"]);
    says("0.5", &["`choice`", "a map"]);
}

#[test]
fn a_wrong_choice_in_a_recipe_is_an_error_at_its_place() {
    let with = |of: &str| recipe(&format!("{BOTH},\n\"mix\": Choice({of})"));
    let says = |of: &str, parts: &[&str]| refused(&with(of), mixup(), &[&["test.ron:3:"], parts].concat());
    says(r#"of: {"mixup": 1.0, "cutmx": 1.0}"#, &["`mixers.mix.of.cutmx`", "Did you mean `cutmix`"]);
    says(r#"of: {"mixup": 1.0, "mix": 1.0}"#, &["`mixers.mix.of.mix`", "itself"]);
    says(r#"of: {"mixup": 1.0, "cutmix": -1.0}"#, &["`mixers.mix.of.cutmix` is -1", "from 0"]);
    says(r#"of: {"mixup": 0.0, "cutmix": 0.0}"#, &["`mixers.mix.of`", "all 0"]);
    says("of: {}", &["`mixers.mix.of` is empty"]);
    says("", &["`mixers.mix.of` is empty"]);
    says(r#"of: {"mixup": 1.0}, alpha: 0.5"#, &["`mixers.mix.alpha` plays no part in choice"]);
    says(r#"of: {"mixup": 1.0}, fold: false"#, &["`mixers.mix.fold`"]);
    let nested = recipe(
        r#""mixup": MixUp(), "first": Choice(of: {"mixup": 1.0}), "mix": Choice(of: {"first": 1.0, "mixup": 1.0})"#,
    );
    refused(&nested, mixup(), &["`mixers.mix.of.first` is a choice too"]);
}

/// Steps of one choice between a trained mixer that reads features and one that reads images alone.
const TRAINED: &str = "
    fn weights(t) { #{ loss: 1.0, gen: 1.0 } }
    fn step(t) {
        let x = t.images;
        let z = t.pass(\"k\", x).features(\"mix\");
        let m = t.mix(\"mix\", #{ as: \"mix\", images: x, features: z });
        t.learn(#{ loss: t.loss(\"mixup_cross_entropy\", t.pass(\"q\", m).logits(\"mix\"), m.target(t.labels)) });
    }";

#[test]
fn a_choice_takes_what_all_its_mixers_need_and_hands_each_what_it_reads() {
    let with = |of: &str| {
        AMIX.replace(
            r#"mixers: {"amix": AMix(stage: 2, dropout: 0.2)}"#,
            &format!(r#"mixers: {{"amix": AMix(stage: 2, dropout: 0.2), "cutmix": CutMix(), "mix": Choice(of: {of})}}"#),
        )
    };
    let text = with(r#"{"amix": 1.0, "cutmix": 1.0}"#);
    let (direct, reports) = run(&text, TRAINED, 16, Execution::Direct);
    let learned = |report: &StepReport| report.gradients.keys().any(|name| name.starts_with("mixer.amix."));
    let trained = reports.iter().filter(|report| learned(report)).count();
    assert!((2..=14).contains(&trained), "the mixer learns where it was picked: {trained} of 16");
    let (recorded, _) = run(&text, TRAINED, 16, Execution::Recorded);
    assert_eq!(differing(&direct.tensors(), &recorded.tensors()), Vec::<String>::new());
    // The keys are those of all, whatever is picked.
    let only = with(r#"{"amix": 0.0, "cutmix": 1.0}"#);
    refused(&only, &TRAINED.replace(", features: z", ""), &["`mix` needs `features`"]);
    assert_eq!(
        run(&only, TRAINED, 3, Execution::Direct).1.iter().filter(|report| learned(report)).count(),
        0
    );
    let two = text.replace(r#""cutmix": CutMix()"#, r#""cutmix": AutoMix(stage: 1)"#);
    refused(&two, TRAINED, &["`mixers.mix.of`", "different stages, 2 and 1 (`cutmix`)"]);
}

#[test]
fn a_choice_may_pick_a_mixer_that_mixes_inside_of_the_network() {
    let choice = recipe(
        r#""mani": ManifoldMix(), "cutmix": CutMix(), "mix": Choice(of: {"mani": 2.0, "cutmix": 1.0})"#,
    );
    let (direct, reports) = run(&choice, mixup(), 30, Execution::Direct);
    let stages: BTreeSet<usize> = reports.iter().map(|report| report.mixes["mix"].stage).collect();
    assert_eq!(stages, BTreeSet::from([0, 1, 2]));
    let (recorded, _) = run(&choice, mixup(), 30, Execution::Recorded);
    assert_eq!(differing(&direct.tensors(), &recorded.tensors()), Vec::<String>::new());
    // What would be no image in some steps is refused in all.
    let twice = mixup().replace(
        "let mixed =",
        "let mixed = t.quiet(\"mix\", #{ as: \"first\", images: x }); x = mixed; mixed =",
    );
    let only_cut = choice.replace("\"mani\": 2.0", "\"mani\": 0.0");
    refused(&only_cut, &twice.replace("let x =", "let x = "), &["mixer `mix` may mix inside of the network"]);
}

#[test]
fn dry_calls_try_every_mixer_of_a_choice() {
    let script = "
        fn weights(t) { #{ loss: 1.0 } }
        fn step(t) {
            let m = t.quiet(\"mix\", #{ as: \"mix\", images: t.images });
            t.log(\"area\", m.mask);
            t.learn(#{ loss: t.loss(\"cross_entropy\", t.pass(\"q\", m).logits(\"one\"), t.labels) });
        }";
    let five = r#""a": CutMix(), "b": FMix(), "c": CutMix(), "d": CutMix(), "e": MixUp()"#;
    let of = r#"{"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0, "e": 1e-9}"#;
    let mut session =
        session(&recipe(&format!(r#"{five}, "mix": Choice(of: {of})"#)), script, 4).expect("a session");
    let message = session.dry_run([4, 3], 5, &[(16, 16)]).expect_err("MixUp has no mask").to_string();
    assert!(message.contains("`mask`"), "{message}");
}

#[test]
fn outside_of_training_a_choice_names_its_mixers() {
    let choice = recipe(&format!(r#"{BOTH}, "mix": Choice(of: {{"mixup": 0.5, "cutmix": 0.5}})"#));
    let mut session = session(&choice, mixup(), 4).expect("a session");
    assert_eq!(session.mixers_of("mix").expect("names"), ["cutmix", "mixup"]);
    assert_eq!(session.mixers_of("mixup").expect("names"), ["mixup"]);
    let images = Tensor::ones([2, 3, 16, 16], (admix_torch::Kind::Float, admix_torch::Device::Cpu));
    let plan = admix_api::Plan::given(0.5, &[1, 0]);
    let message = session.mix("mix", &images, &batch(0, 2).labels, &plan).expect_err("an error").to_string();
    assert!(message.contains("`cutmix`, `mixup`"), "{message}");
}
