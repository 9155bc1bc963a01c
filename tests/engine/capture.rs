//! Captured steps: what a replay does is what the script says, bit for bit, at places that never move.
//!
//! There may be no GPU here. A stand-in for CUDA graphs takes its place: while it captures, nothing comes of the work; when
//! it replays, it does the work that it was given at the capture, and nothing tells it of later steps but what lies in the
//! slots.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use admix_data::{Batch, Split};
use admix_engine::{
    CaptureReport, Clock, CudaRecorder, Error, Execution, Fixed, GraphRecorder, Result, Session, StepOptions,
    StepReport, Work, bundled, evaluate,
};
use admix_torch::{Device, GraphId, Kind, SyncCounter, Tensor, copy_all};

use super::recorded::branching;
use super::toy::Toy;
use super::{AMIX, batch, contrast, differing, session};
use crate::program::recipes;

/// How a capture fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// Before anything was asked of the device.
    AtOnce,
    /// At the end: the host's side of the work has run.
    AtTheEnd,
}

/// What a stand-in saw.
#[derive(Debug, Default)]
struct Seen {
    /// Of each graph: the places of what must stay where it is, by name.
    places: Vec<BTreeMap<String, usize>>,
    replays: usize,
    attempts: usize,
    /// What made the host wait in replays.
    syncs: Vec<String>,
}

/// Stands in for CUDA graphs.
#[derive(Debug)]
struct Stub {
    /// The state of the run, the very tensors.
    state: Vec<Tensor>,
    /// The capture of this number, from 0, fails.
    fails: Option<(usize, Failure)>,
    seen: Rc<RefCell<Seen>>,
}

fn places(fixed: Fixed<'_>) -> BTreeMap<String, usize> {
    fixed().into_iter().map(|(name, tensor)| (name, tensor.data_ptr() as usize)).collect()
}

impl GraphRecorder for Stub {
    fn capture(&mut self, fixed: Fixed<'_>, work: Work<'_>) -> Result<GraphId> {
        let attempt = self.seen.borrow().attempts;
        self.seen.borrow_mut().attempts += 1;
        let failure = self.fails.filter(|(number, _)| *number == attempt).map(|(_, failure)| failure);
        let refused = || Err(Error::Input("the device does not capture this".into()));
        if failure == Some(Failure::AtOnce) {
            return refused();
        }
        // A graph executes nothing: what the work does on the way is undone.
        // What a script keeps is there from the first step on.
        let kept = fixed().into_iter().filter(|(name, _)| name.starts_with("memory."));
        let state: Vec<Tensor> =
            self.state.iter().map(Tensor::shallow_clone).chain(kept.map(|(_, tensor)| tensor)).collect();
        let before: Vec<Tensor> = state.iter().map(|tensor| tensor.detach().copy()).collect();
        work()?;
        copy_all(&state, &before)?;
        if failure == Some(Failure::AtTheEnd) {
            return refused();
        }
        let mut seen = self.seen.borrow_mut();
        seen.places.push(places(fixed));
        Ok(GraphId(seen.places.len() - 1))
    }

    fn replay(&mut self, graph: GraphId, fixed: Fixed<'_>, work: Work<'_>) -> Result<()> {
        let mut seen = self.seen.borrow_mut();
        assert_eq!(seen.places[graph.0], places(fixed), "something has moved");
        seen.replays += 1;
        let syncs = SyncCounter::start();
        work()?;
        seen.syncs.extend(syncs.names());
        Ok(())
    }
}

/// Lets a stand-in capture a session's steps.
pub fn capture_by_stand_in(session: &mut Session) {
    capture(session, None);
}

fn capture(session: &mut Session, fails: Option<(usize, Failure)>) -> Rc<RefCell<Seen>> {
    let seen = Rc::new(RefCell::new(Seen::default()));
    let state = session.tensors().into_values().collect();
    session.capture_with(Box::new(Stub { state, fails, seen: seen.clone() }));
    seen
}

/// A run: the session, what it reported, what the stand-in saw.
struct Ran {
    session: Session,
    reports: Vec<StepReport>,
    seen: Rc<RefCell<Seen>>,
}

impl Ran {
    fn captures(&self) -> CaptureReport {
        self.session.captures()
    }
}

/// Steps from `steps.start`; every third begins an epoch, so that what moves by epochs does so.
fn go_on(
    session: &mut Session,
    steps: std::ops::Range<i64>,
    execution: Execution,
    batches: &dyn Fn(i64) -> Vec<Batch>,
) -> Vec<StepReport> {
    let options = StepOptions { execution, ..StepOptions::default() };
    let step = |number: i64| {
        let clock = session.clock();
        session.set_clock(Clock { epoch: (number / 3) as u64 % clock.epochs, ..clock });
        session.step_with(batches(number), &options).unwrap_or_else(|error| panic!("step {number}: {error}"))
    };
    steps.map(step).collect()
}

fn run(mut session: Session, steps: i64, execution: Execution, batches: &dyn Fn(i64) -> Vec<Batch>) -> Ran {
    let seen = capture(&mut session, None);
    let reports = go_on(&mut session, 0..steps, execution, batches);
    Ran { session, reports, seen }
}

/// Fails unless two runs ended with the same bits and reported the same, step by step. Reports are looked at at the end: a
/// replay must not write over those before it.
#[track_caller]
fn same(direct: &Ran, captured: &Ran, what: &str) {
    let (a, b) = (direct.session.tensors(), captured.session.tensors());
    assert_eq!(differing(&a, &b), Vec::<String>::new(), "{what}");
    assert_eq!(direct.reports.len(), captured.reports.len());
    for (step, (a, b)) in direct.reports.iter().zip(&captured.reports).enumerate() {
        let names =
            |values: &[(String, Tensor)]| values.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        for (a, b) in [(&a.losses, &b.losses), (&a.logged, &b.logged), (&a.health, &b.health)] {
            assert_eq!(names(a), names(b), "{what}, step {step}");
            for ((name, a), (_, b)) in a.iter().zip(b) {
                let bits = |value: &Tensor| (value.kind(), value.double_value(&[]).to_bits());
                assert_eq!(bits(a), bits(b), "{what}, step {step}: {name}");
            }
        }
        let found = |report: &StepReport| report.found_inf.as_ref().expect("a flag").double_value(&[]);
        assert_eq!(found(a), found(b), "{what}, step {step}");
        assert_eq!((&a.rates, a.momentum), (&b.rates, b.momentum), "{what}, step {step}");
    }
}

/// Both ways; the captured run must have had so many variants and replays.
#[track_caller]
fn alike(
    build: &dyn Fn() -> Session,
    steps: i64,
    batches: &dyn Fn(i64) -> Vec<Batch>,
    (variants, replays): (usize, usize),
    what: &str,
) -> Ran {
    let direct = run(build(), steps, Execution::Direct, batches);
    let captured = run(build(), steps, Execution::Captured, batches);
    same(&direct, &captured, what);
    let report = captured.captures();
    assert_eq!((report.variants, report.replayed_steps as usize), (variants, replays), "{what}: {report:?}");
    assert_eq!(captured.seen.borrow().replays, replays, "{what}");
    assert_eq!(
        captured.seen.borrow().syncs,
        Vec::<String>::new(),
        "{what}: a captured step waits for nothing"
    );
    captured
}

pub fn one(number: i64) -> Vec<Batch> {
    vec![batch(number, 8)]
}

pub fn two_views(number: i64) -> Vec<Batch> {
    vec![contrast::batch(contrast::views(number))]
}

/// A recipe of one network.
pub fn plain(method: &str, more: &str) -> String {
    format!(
        r#"(epochs: 4, batch: 8, method: "{method}", seed: 3, optimizer: AdamW(lr: 0.01),
            model: ConvNet(widths: [8, 16], strides: [2, 1]), {more})"#
    )
}

/// The same with a network that has a class token.
pub fn vit(text: &str) -> String {
    let model = "ViT(size: Tiny, patch: 4, image: 16, width: 0.125)";
    text.replace("ConvNet(widths: [8, 16], strides: [2, 1])", model)
}

/// A session of a bundled method, at toy size.
pub fn bundled_session(name: &str) -> Session {
    let (script, _) = bundled::script(name).expect("a bundled method");
    let built = |text: &str| session(text, script, 24).unwrap_or_else(|error| panic!("{name}: {error}"));
    let clusters = r#"clusterers: {"odc": Odc(k: 3, min_size: 1)},"#;
    let peer = |mixer: &str, more: &str| {
        let text = contrast::text("moco", more).replace("MixUp(partner: Derangement)", mixer);
        contrast::built(&text, script)
    };
    match name {
        "amix" => built(AMIX),
        "mixup" => built(&plain(name, r#"mixers: {"mix": CutMix(per: Sample)}"#)),
        "puzzlemix" => {
            built(&plain(name, r#"mixers: {"mix": PuzzleMix(blocks: [4])}, params: {"adv_p": 0.6}"#))
        }
        "co_mixup" => built(&plain(name, r#"mixers: {"mix": CoMixup(part: 4)}"#)),
        "adautomix" => built(&AMIX.replace("AMix(stage: 2, dropout: 0.2)", "AutoMix(stage: 2)")),
        "attentivemix" | "snapmix" => {
            // The mixers read the last of four stages.
            let text = plain(name, &format!(r#"mixers: {{"mix": Script("mixers/{name}")}}"#));
            built(&text.replace("[8, 16], strides: [2, 1]", "[8, 16, 16, 16], strides: [2, 1, 1, 1]"))
        }
        "recursivemix" => {
            built(&plain(name, r#"mixers: {"mix": ResizeMix(tau: Uniform)}, params: {"stage": 2}"#))
        }
        "transmix" | "mixpro" => {
            let mixer = r#"Script(file: "mixers/gridmix", params: {"up": true})"#;
            built(&vit(&plain(name, &format!(r#"mixers: {{"mix": {mixer}}}"#))))
        }
        "augmix" => contrast::built(&plain(name, ""), script),
        "moco" | "amix_i" | "amix_c" => contrast::session_of(name, script, "bn_groups: 2,"),
        "unmix" => peer("MixUp(partner: Flip)", ""),
        "bsim" | "wbsim" => peer("CutMix(partner: Derangement)", ""),
        "imix" => peer(
            r#"MixUp(per: Sample, fold: true, partner: Derangement), "input": MixUp(per: Sample, fold: true)"#,
            r#"bn_groups: 2, losses: {"info_nce": InfoNce(candidates: BatchAndQueue)},"#,
        ),
        "swav" => {
            let heads = r#"embedding_heads: {"prototypes": (out: 6, prototypes: true)},"#;
            let queues = r#""store0": (length: 24), "store1": (length: 24)"#;
            let params = r#"params: {"stored": true, "stored_from": 0.0, "frozen": 0.0},"#;
            let text = contrast::text("swav", &format!("bn_groups: 2, {heads} {params}"));
            contrast::built(&text.replace(r#""keys": (length: 24)"#, queues), script)
        }
        "simclr" | "barlow_twins" => contrast::built(
            &plain(name, "heads: [], neck: Mlp(hidden: 16, out: 8, norm: true, layers: 3),"),
            script,
        ),
        "simsiam" => {
            let more = r#"heads: [], neck: Mlp(hidden: 16, out: 8, norm: true, out_norm: true),
                embedding_heads: {"predictor": (out: 8, hidden: 4)},"#;
            contrast::built(&plain(name, more), script)
        }
        "byol" => {
            let more = r#"heads: [], neck: Mlp(hidden: 16, out: 8, norm: true), embedding_heads: {"predictor": (out: 8, hidden: 4)},
                pairs: [(from: "q", to: "k", when: AfterStep, momentum: 0.9)],"#;
            contrast::built(&plain(name, more), script)
        }
        "mochi" => {
            let params = r#"params: {"hard": 12.0, "pairs": 6.0, "with_query": 4.0, "warm": 0.0},"#;
            let losses = r#"losses: {"info_nce": InfoNce(candidates: QueueAndNegatives)},"#;
            contrast::built(&contrast::text("mochi", &format!("{params} {losses}")), script)
        }
        "code/amix_i" => contrast::session_of("amix_i", script, ""),
        // It tells its mixer the clusters.
        "code/amix_c" => {
            let text = contrast::text("amix_c", "");
            contrast::built(&text.replace("adjust: 1.0,", "adjust: 1.0, same_cluster: Blend,"), script)
        }
        "moco_puzzlemix" => {
            let more = format!(
                r#"embedding_heads: {{"online": ()}}, losses: {{"cluster": CrossEntropy(class_weight: WeightedMean)}},
                   {clusters}"#
            );
            let text = contrast::text("moco", &more).replace("MixUp(", "PuzzleMix(blocks: [4], ");
            contrast::built(&text, script)
        }
        other => panic!("say how the bundled method `{other}` is tried"),
    }
}

/// Whether a bundled method trains on two views of each image.
pub fn takes_two_views(method: &str) -> bool {
    let prefixes = [
        "moco", "amix_", "code/", "unmix", "imix", "bsim", "wbsim", "mochi", "swav", "simclr", "simsiam",
        "byol", "barlow", "augmix",
    ];
    prefixes.iter().any(|prefix| method.starts_with(prefix))
}

#[test]
fn twenty_captured_steps_of_every_bundled_method_end_with_the_bits_of_direct_ones() {
    for name in bundled::script_names() {
        let views = takes_two_views(name);
        let batches: &dyn Fn(i64) -> Vec<Batch> = if views { &two_views } else { &one };
        // The third step is captured and replayed. Co-Mixup's solver works on the host.
        let wanted = match name {
            "co_mixup" => (0, 0),
            // Its even steps are other work than its odd ones.
            "adautomix" => (2, 16),
            _ => (1, 18),
        };
        let ran = alike(&|| bundled_session(name), 20, batches, wanted, name);
        match name {
            "co_mixup" => {
                let reasons = ran.captures().reasons;
                assert_eq!(reasons, ["mixer `mix` (co_mixup) does a part of its work on the host"]);
            }
            _ => assert_eq!(ran.captures().reasons, Vec::<String>::new(), "{name}"),
        }
    }
}

#[test]
fn a_script_that_changes_its_mind_in_the_middle_has_a_variant_for_each() {
    let script = branching();
    let ran = alike(&|| session(AMIX, &script, 12).expect("a session"), 12, &one, (2, 8), "branching");
    let late = |report: &StepReport| report.losses.iter().any(|(name, _)| name == "late");
    assert_eq!(ran.reports.iter().filter(|report| late(report)).count(), 5);
}

#[test]
fn a_plan_whose_structure_changes_from_step_to_step_finds_its_variant() {
    let text = plain("puzzlemix", r#"mixers: {"mix": PuzzleMix(blocks: [2, 4, 8])}"#);
    let (script, _) = bundled::script("puzzlemix").expect("the script");
    let steps = 24;
    let build = || session(&text, script, steps as u64).expect("a session");
    let ran = run(build(), steps, Execution::Captured, &one);
    same(&run(build(), steps, Execution::Direct, &one), &ran, "blocks");
    let report = ran.captures();
    assert_eq!((report.variants, report.replayed_steps as i64), (3, steps - 2 * 3), "{report:?}");
}

#[test]
fn mixes_inside_of_the_network_and_choices_are_captured_by_what_was_drawn() {
    let text = plain(
        "mixup",
        r#"mixers: {"hidden": ManifoldMix(stages: [0, 1]), "cut": CutMix(), "mix": Choice(of: {"hidden": 1, "cut": 1})}"#,
    );
    let (script, _) = bundled::script("mixup").expect("the script");
    let build = || session(&text, script, 30).expect("a session");
    let ran = run(build(), 30, Execution::Captured, &one);
    same(&run(build(), 30, Execution::Direct, &one), &ran, "choice");
    let report = ran.captures();
    assert_eq!((report.variants, report.replayed_steps), (3, 24), "{report:?}");
}

#[test]
fn no_more_than_eight_variants_are_captured() {
    // Nine traces in turn: 0 to 8 factors.
    let script = "fn weights(t) { #{ loss: 1.0 } }
        fn step(t) {
            let x = t.images;
            for factor in 0..(t.step % 9) { x = x * (0.9 + 0.01 * t.progress); }
            t.learn(#{ loss: t.loss(\"cross_entropy\", t.pass(\"q\", x).logits(\"one\"), t.labels) });
        }";
    let build = || session(&plain("mixup", ""), script, 45).expect("a session");
    // Five turns: two to warm up, one to capture; the ninth variant never is.
    let ran = alike(&build, 45, &one, (8, 24), "nine");
    assert_eq!(ran.captures().reasons, ["there are more than 8 variants of the step"]);
    assert_eq!(ran.seen.borrow().attempts, 8);
}

#[test]
fn a_capture_that_fails_changes_nothing_and_is_the_last() {
    let script = branching();
    let build = || session(AMIX, &script, 12).expect("a session");
    let direct = run(build(), 12, Execution::Direct, &one);
    for failure in [Failure::AtOnce, Failure::AtTheEnd] {
        for (number, replays) in [(0, 0), (1, 5)] {
            let mut session = build();
            let seen = capture(&mut session, Some((number, failure)));
            let reports = go_on(&mut session, 0..12, Execution::Captured, &one);
            let ran = Ran { session, reports, seen };
            let what = format!("{failure:?}, capture {number}");
            same(&direct, &ran, &what);
            let report = ran.captures();
            assert_eq!((report.variants, report.replayed_steps), (number, replays), "{what}");
            assert_eq!(report.reasons, ["capturing failed: the device does not capture this"], "{what}");
            // What was captured before goes on; nothing new is tried.
            assert_eq!(ran.seen.borrow().attempts, number + 1, "{what}");
        }
    }
}

#[test]
fn everything_that_a_replay_reads_stays_in_its_place() {
    // The stand-in compares all places at every replay.
    let ran = run(bundled_session("amix_c"), 8, Execution::Captured, &two_views);
    let seen = ran.seen.borrow();
    assert_eq!((seen.places.len(), seen.replays), (1, 6));
    let names: Vec<&String> = seen.places[0].keys().collect();
    for wanted in [
        "found_inf",
        "rate.net",
        "momentum.k",
        "net.q.backbone.conv1.weight",
        "net.k.backbone.bn1.running_mean",
        "optimizer.momentum.net.q.backbone.conv1.weight",
        "queue.keys.entries",
        "bank.odc.labels",
        "part 0, images",
        "part 0, view 0",
        "part 0, view 1",
        "part 0, index",
        "part 0, number 0",
    ] {
        assert!(names.iter().any(|name| *name == wanted), "{wanted} is not among {names:?}");
    }
    assert!(
        names.iter().any(|name| name.starts_with("part 0, plan") && name.ends_with("lambda")),
        "{names:?}"
    );
    assert_eq!(seen.places[0]["part 0, images"], seen.places[0]["part 0, view 0"]);
}

#[test]
fn steps_that_are_not_finite_are_skipped_by_a_replay_too() {
    // A factor that overflows, twice: the forward pass is well, and no gradient is.
    let script = "fn weights(t) { #{ loss: 1.0 } }
        fn step(t) {
            let loss = t.loss(\"cross_entropy\", t.pass(\"q\", t.images).logits(\"one\"), t.labels);
            let factor = if t.step == 4 || t.step == 6 { 3.0e38 } else { 1.0 };
            t.learn(#{ loss: loss * factor * factor });
        }";
    for optimizer in ["Sgd(lr: 0.05)", "AdamW(lr: 0.01)", "Lars(lr: 0.05)"] {
        let text = plain("mixup", "").replace("AdamW(lr: 0.01)", optimizer);
        let ran = alike(&|| session(&text, script, 9).expect("a session"), 9, &one, (1, 7), optimizer);
        let skipped =
            |report: &StepReport| report.found_inf.as_ref().expect("a flag").double_value(&[]) != 0.0;
        let at: Vec<usize> = (0..9).filter(|step| skipped(&ran.reports[*step])).collect();
        assert_eq!(at, [4, 6], "{optimizer}");
    }
}

/// Two large views and three small ones, those of a size in one pass.
const CROPS: &str = r#"
    fn weights(t) { #{ large: 1.0, small: 1.0 } }
    fn step(t) {
        let queue = t.queue("keys");
        let key = t.pass("k", t.views[1]).unit();
        let large = t.pass("q", cat([t.views[0], t.views[1]], 0)).unit();
        let small = t.pass("q", cat([t.views[2], t.views[3], t.views[4]], 0)).unit();
        t.learn(#{
            large: t.loss("info_nce", large, cat([key, key], 0), queue),
            small: t.loss("info_nce", small, cat([key, key, key], 0), queue),
        });
        t.enqueue("keys", key);
    }"#;

fn crops(number: i64) -> Vec<Batch> {
    let view = |(at, side): (i64, i64)| contrast::wave_of(number + 7 * at, 8, side);
    let views = [(0, 12), (1, 12), (2, 6), (3, 6), (4, 6)].map(view).into();
    let index = Tensor::arange(8, (Kind::Int64, Device::Cpu));
    vec![Batch::of_views(views, index.zeros_like(), index).expect("a batch")]
}

#[test]
fn views_of_two_sizes_are_captured_too_and_those_of_one_size_pass_together() {
    for (more, optimizer) in [("", "Sgd(lr: 0.05)"), ("bn_groups: 2,", "Lars(lr: 0.5)")] {
        let text = contrast::text("moco", more).replace("Sgd(lr: 0.05)", optimizer);
        let ran = alike(&|| contrast::built(&text, CROPS), 6, &crops, (1, 4), optimizer);
        let losses = ran.reports.iter().flat_map(|report| &report.losses);
        assert!(
            losses.clone().count() >= 12
                && losses.clone().all(|(_, loss)| loss.double_value(&[]).is_finite())
        );
    }
}

#[test]
fn a_dry_run_has_views_of_the_sizes_of_a_batch() {
    let mut session = contrast::built(&contrast::text("moco", ""), CROPS);
    let sizes = [(12, 12), (12, 12), (6, 6), (6, 6), (6, 6)];
    assert_eq!(session.dry_run([8, 3], 5, &sizes).expect("a method that runs"), Vec::<String>::new());
    let mut session = contrast::built(&contrast::text("moco", ""), CROPS);
    let uneven = [(12, 12), (12, 12), (6, 6), (8, 8), (6, 6)];
    let text = session.dry_run([8, 3], 5, &uneven).expect_err("views of two sizes").to_string();
    assert!(text.starts_with("test.rhai:7") && text.contains("size 6 but got size 8"), "{text}");
}

#[test]
fn steps_that_compute_activations_again_are_captured_too() {
    let text = AMIX.replacen('(', "(recompute_stages: [1, 2, 3], ", 1);
    let (script, _) = bundled::script("amix").expect("the script");
    alike(&|| session(&text, script, 8).expect("a session"), 8, &one, (1, 6), "recomputed");
}

#[test]
fn parts_of_an_accumulated_step_have_slots_of_their_own() {
    let text = AMIX.replace("batch: 8", "batch: 8, accumulate: 3");
    let (script, _) = bundled::script("amix").expect("the script");
    let parts = |number: i64| (0..3).map(|part| batch(number * 3 + part, 8)).collect();
    let ran = alike(&|| session(&text, script, 8).expect("a session"), 8, &parts, (1, 6), "accumulated");
    let seen = ran.seen.borrow();
    let images: Vec<usize> = (0..3).map(|part| seen.places[0][&format!("part {part}, images")]).collect();
    assert!(images[0] != images[1] && images[1] != images[2]);
    assert_eq!(ran.reports[7].losses.len(), 3 * 4);
}

#[test]
fn parts_that_wait_for_each_other_are_captured_too() {
    for method in ["simclr", "swav"] {
        let parts = |number: i64| (0..2).flat_map(|part| two_views(number * 2 + part)).collect();
        alike(&|| bundled_session(method), 8, &parts, (1, 6), method);
    }
}

#[test]
fn a_group_that_some_steps_freeze_is_captured_both_ways() {
    let (script, _) = bundled::script("amix").expect("the script");
    let script =
        script.replace("fn step(t) {", "fn step(t) {\n    if t.step % 2 == 1 { t.freeze(\"q.backbone\"); }");
    alike(&|| session(AMIX, &script, 12).expect("a session"), 12, &one, (2, 8), "freezing");
}

fn copies(session: &Session) -> BTreeMap<String, Tensor> {
    session.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect()
}

#[test]
fn a_captured_run_goes_on_from_its_checkpoint_with_the_same_bits() {
    let build = || bundled_session("amix");
    let whole = run(build(), 10, Execution::Direct, &one);
    let first = run(build(), 5, Execution::Captured, &one);
    let saved = (copies(&first.session), first.session.clock());

    // In a new session, and in one that has captured graphs on other values.
    let new = build();
    let used = run(build(), 7, Execution::Captured, &one).session;
    for (mut session, fresh) in [(new, true), (used, false)] {
        if fresh {
            capture(&mut session, None);
        }
        session.load(&saved.0).expect("the state");
        session.set_clock(saved.1);
        let reports = go_on(&mut session, 5..10, Execution::Captured, &one);
        assert_eq!(differing(&whole.session.tensors(), &session.tensors()), Vec::<String>::new(), "{fresh}");
        for (a, b) in whole.reports[5..].iter().zip(&reports) {
            assert!(a.losses.iter().zip(&b.losses).all(|(a, b)| a.0 == b.0 && a.1.equal(&b.1)));
        }
    }
}

#[test]
fn steps_that_a_graph_cannot_take_are_executed_and_the_reason_is_told_once() {
    let mut ran = run(bundled_session("amix"), 4, Execution::Captured, &one);
    let options = StepOptions { execution: Execution::Captured, detail: true, ..StepOptions::default() };
    for number in 4..6 {
        let report = ran.session.step_with(one(number), &options).expect("a step");
        assert!(!report.mixes.is_empty() && !report.gradients.is_empty());
    }
    let plan = admix_api::Plan::given(0.4, &[1, 2, 3, 4, 5, 6, 7, 0]);
    let plan =
        plan.with("dropout_key", admix_api::Value::Int(1)).with("adjust", admix_api::Value::Float(0.0));
    let plans = BTreeMap::from([("attempt".to_string(), plan)]);
    let options = StepOptions { execution: Execution::Captured, plans, ..StepOptions::default() };
    ran.session.step_with(one(6), &options).expect("a step");
    let report = ran.captures();
    assert_eq!(report.reasons, ["details of a step are asked for", "plans are given"]);
    let replayed = report.replayed_steps;
    go_on(&mut ran.session, 7..8, Execution::Captured, &one);
    assert_eq!(ran.captures().replayed_steps, replayed + 1, "and replays go on");
}

#[test]
fn a_mixer_whose_results_the_host_looks_at_is_not_captured() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mine.rhai");
    let own = format!("{}// Not of this program.\n", bundled::part("mixers/cutmix").expect("a script").0);
    std::fs::write(&file, own).expect("written");
    let text = plain("mixup", &format!(r#"mixers: {{"mix": Script({:?})}}"#, file.display().to_string()));
    let (script, _) = bundled::script("mixup").expect("the script");
    let ran = alike(&|| session(&text, script, 5).expect("a session"), 5, &one, (0, 0), "a script");
    let reasons = ran.captures().reasons;
    assert!(
        reasons.len() == 1 && reasons[0].contains("`mix`") && reasons[0].contains("examined"),
        "{reasons:?}"
    );
}

#[test]
fn a_script_that_needs_shapes_which_only_execution_knows_is_executed() {
    let script = "fn weights(t) { #{ loss: 1.0 } }
        fn step(t) {
            let mixed = t.quiet(\"mix\", #{ as: \"mix\", images: t.images * 0.5 });
            t.learn(#{ loss: t.loss(\"mixup_cross_entropy\", t.pass(\"q\", mixed).logits(\"one\"), mixed.target(t.labels)) });
        }";
    let text = plain("mixup", r#"mixers: {"mix": MixUp()}"#);
    let ran = alike(&|| session(&text, script, 5).expect("a session"), 5, &one, (0, 0), "shapes");
    let reasons = ran.captures().reasons;
    assert!(reasons.len() == 1 && reasons[0].contains("cannot be recorded ahead"), "{reasons:?}");
}

#[test]
fn a_script_that_fails_does_so_in_a_captured_run_as_in_any() {
    let script = "fn weights(t) { #{ loss: 1.0 } }
        fn step(t) {
            if t.step == 4 { throw \"enough\"; }
            t.learn(#{ loss: t.loss(\"cross_entropy\", t.pass(\"q\", t.images).logits(\"one\"), t.labels) });
        }";
    let mut ran =
        run(session(&plain("mixup", ""), script, 9).expect("a session"), 4, Execution::Captured, &one);
    let before = copies(&ran.session);
    let options = StepOptions { execution: Execution::Captured, ..StepOptions::default() };
    let error = ran.session.step_with(one(4), &options).expect_err("thrown").to_string();
    assert!(error.contains("enough") && error.contains("test.rhai:3"), "{error}");
    assert_eq!(differing(&before, &ran.session.tensors()), Vec::<String>::new());
    assert_eq!(ran.captures().reasons, Vec::<String>::new());
}

#[test]
fn a_batch_of_another_size_is_another_variant() {
    let batches = |number: i64| vec![batch(number, if number % 2 == 0 { 8 } else { 6 })];
    let (script, _) = bundled::script("mixup").expect("the script");
    let text = plain("mixup", r#"mixers: {"mix": CutMix()}"#);
    alike(&|| session(&text, script, 10).expect("a session"), 10, &batches, (2, 6), "sizes");
}

#[test]
fn on_a_cpu_steps_are_executed_directly_and_the_reason_is_kept() {
    let mut session = bundled_session("amix");
    assert_eq!(session.captures().reasons, ["it was not asked for"]);
    session.capture();
    assert!(!session.is_capturing());
    go_on(&mut session, 0..2, Execution::Captured, &one);
    let wanted = CaptureReport {
        reasons: vec!["steps are captured on GPUs alone".into()],
        ..CaptureReport::default()
    };
    assert_eq!(session.captures(), wanted);
    assert_eq!(session.recorded_variants(), 0);
}

#[test]
fn where_no_graphs_can_be_had_one_line_says_why() {
    // No machine has so many devices; most have none, or no object to ask.
    let text = CudaRecorder::open(usize::MAX).expect_err("no such device").to_string();
    assert!(!text.is_empty() && !text.contains('\n'), "{text}");
    let known = ["cargo xtask setup --cuda", "NVIDIA driver", "CUDA"];
    assert!(known.iter().any(|part| text.contains(part)), "{text}");
}

#[test]
fn a_captured_evaluation_counts_what_a_direct_one_does() {
    let (name, _, text) =
        recipes::bundled().into_iter().find(|(name, ..)| name == "cifar10/r18/amix").expect("the recipe");
    let run = |stand_in: Option<Option<(usize, Failure)>>| {
        // Batches of two layouts, the smaller one last.
        let mut toy = Toy::new(&name, &text, &["evaluate.batch=7"]);
        let seen = stand_in.map(|fails| capture(&mut toy.session, fails));
        let mut found = Vec::new();
        for number in 0..4 {
            let batch = toy.batch(number);
            toy.session.step(batch).expect("a step");
            found.push(evaluate(&mut toy.session, &toy.dataset, &toy.recipe, None).expect("accuracies"));
        }
        (found, toy.session.captures(), toy.dataset.len(Split::Test), seen)
    };
    let (direct, ..) = run(None);
    let (found, report, images, seen) = run(Some(None));
    assert_eq!(direct, found);
    assert!(direct[0] != direct[3], "the network has moved");
    let (full, rest) = (images / 7, usize::from(images % 7 > 0));
    assert!(full > 0 && rest > 0, "{images}");
    assert_eq!(report.evaluation_variants, 2, "{report:?}");
    assert_eq!(report.replayed_evaluation_batches as usize, 4 * (full + rest) - 2 * 2, "{report:?}");
    let seen = seen.expect("a stand-in");
    assert_eq!(seen.borrow().syncs, Vec::<String>::new());

    let (found, report, ..) = run(Some(Some((0, Failure::AtTheEnd))));
    assert_eq!(direct, found);
    assert_eq!((report.evaluation_variants, report.replayed_evaluation_batches), (0, 0));
    assert_eq!(report.reasons, ["capturing an evaluation failed: the device does not capture this"]);
}
