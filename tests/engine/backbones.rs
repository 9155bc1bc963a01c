//! Every kind of backbone under mixers that read maps, mix within the network, or need saliency; and the rules by layer.

use admix_engine::{Execution, Session, StepOptions, bundled};
use admix_torch::Kind;

use super::{batch, differing, session};

/// Each at toy size, with a stage whose map of a 16 pixel image has more than one cell.
const BACKBONES: [(&str, usize); 6] = [
    ("WideResNet(depth: 10, width: 0.5)", 2),
    ("PreActResNet(width: 0.125)", 3),
    ("ResNeXt(depth: 101, groups: 64, width: 0.1)", 3),
    (r#"ViT(size: Tiny, patch: 4, image: 16, width: 0.125, drop_path: 0.5)"#, 3),
    ("ConvNeXt(patch: 1, width: 0.1, drop_path: 0.5)", 3),
    ("Swin(patch: 2, window: 4, width: 0.1, drop_path: 0.5)", 2),
];

fn built(method: &str, model: &str, more: &str) -> Session {
    let text = format!(
        r#"(epochs: 2, batch: 8, method: "any", seed: 3, optimizer: AdamW(lr: 0.001), model: {model}, {more})"#
    );
    let script = bundled::script(method).expect("a script").0;
    session(&text, script, 12).unwrap_or_else(|error| panic!("{model}, {method}: {error}"))
}

fn run(mut session: Session, execution: Execution) -> Session {
    for number in 0..2 {
        let options = StepOptions { execution, ..StepOptions::default() };
        session.step_with(vec![batch(number, 8)], &options).unwrap_or_else(|error| panic!("{error}"));
    }
    session
}

#[test]
fn mixers_that_read_maps_work_on_every_backbone() {
    for (model, stage) in BACKBONES {
        let amix = format!(
            r#"heads: ["one", "mix"], pairs: [(momentum: 0.9)], mixers: {{"amix": AMix(stage: {stage})}},"#
        );
        for (method, more) in [
            ("amix", amix.as_str()),
            ("mixup", r#"mixers: {"mix": ManifoldMix(stages: [0, 1, 2])},"#),
            ("puzzlemix", r#"mixers: {"mix": PuzzleMix(blocks: [2])},"#),
        ] {
            let direct = run(built(method, model, more), Execution::Direct);
            let recorded = run(built(method, model, more), Execution::Recorded);
            assert_eq!(
                differing(&direct.tensors(), &recorded.tensors()),
                Vec::<String>::new(),
                "{model}, {method}"
            );
            for (name, tensor) in direct.tensors() {
                let finite = tensor.kind() != Kind::Float || tensor.isfinite().all().int64_value(&[]) == 1;
                assert!(finite, "{model}, {method}: {name}");
            }
        }
    }
}

#[test]
fn groups_of_batch_norms_and_recomputed_stages_do_not_matter_to_a_network_without_batch_norms() {
    let model = "ViT(size: Tiny, patch: 4, image: 16, width: 0.125, drop_path: 0.0)";
    let mixers = r#"mixers: {"mix": MixUp()},"#;
    let plain = run(built("mixup", model, mixers), Execution::Direct).tensors();
    for more in ["bn_groups: 2,", "recompute_stages: [0, 3, 12],"] {
        let other = run(built("mixup", model, &format!("{more} {mixers}")), Execution::Direct).tensors();
        for (name, tensor) in &plain {
            let near = tensor.kind() != Kind::Float || tensor.allclose(&other[name], 1e-3, 1e-5, false);
            assert!(near, "{more}: {name}");
        }
    }
}

#[test]
fn rules_by_layer_have_the_same_bits_where_steps_are_recorded() {
    let model = "ViT(size: Tiny, patch: 4, image: 16, width: 0.125)";
    let mixers = r#"mixers: {"mix": MixUp()},"#;
    let rules = format!("layer_decay: 0.75, decay_vectors: false, clip_norm: 0.5, warmup: 1, {mixers}");
    let direct = run(built("mixup", model, &rules), Execution::Direct);
    let recorded = run(built("mixup", model, &rules), Execution::Recorded);
    assert_eq!(recorded.recorded_variants(), 1);
    assert_eq!(differing(&direct.tensors(), &recorded.tensors()), Vec::<String>::new());
    // Each rule counts.
    for more in [
        "decay_vectors: false, clip_norm: 0.5, warmup: 1,",
        "layer_decay: 0.75, clip_norm: 0.5, warmup: 1,",
        "layer_decay: 0.75, decay_vectors: false, warmup: 1,",
        "layer_decay: 0.75, decay_vectors: false, clip_norm: 0.5,",
    ] {
        let other = run(built("mixup", model, &format!("{more} {mixers}")), Execution::Direct);
        let moved = differing(&direct.tensors(), &other.tensors());
        assert!(moved.iter().any(|name| name.starts_with("net.q.")), "{more}");
    }
    // The first step of a warm-up has the rate 0.
    let mut first = built("mixup", model, &format!("warmup: 1, {mixers}"));
    let before = first.world().nets[0].store.parameters()[0].1.copy();
    let _ = first.step_with(vec![batch(0, 8)], &StepOptions::default()).expect("a step");
    assert_eq!(first.world().nets[0].store.parameters()[0].1, before);
}

#[test]
fn rules_out_of_range_are_refused_by_name() {
    for (field, words) in [
        ("layer_decay: 0.0", "is 0, expected more than 0, at most 1"),
        ("clip_norm: -1.0", "is -1, expected a number above 0, or None"),
        ("warmup: 3", "is 3, expected at most the epochs, 2"),
    ] {
        let text = format!(r#"(epochs: 2, method: "mixup", {field})"#);
        let error = super::recipe(&text).expect_err(field).to_string();
        let name = field.split(':').next().expect("a name");
        assert!(error.contains(name) && error.contains(words), "{error}");
    }
}
