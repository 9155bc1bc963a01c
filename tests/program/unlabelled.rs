//! Runs without labels: every mixer under MoCo v2, and what is said where something is missing.

use std::fs;

use serde_json::Value;

use super::{Outcome, Place};

/// MoCo v2 with a mixer on generated images: an epoch of four steps.
pub const MOCO: &str = r#"(
    epochs: 1,
    batch: 8,
    data: (name: "toy", views: 2, augment: Moco(), toy: (train: 32, test: 16, classes: 4, size: 16)),
    model: ConvNet(widths: [8, 8, 8], strides: [2, 2, 2]),
    heads: [],
    neck: Mlp(hidden: 16, out: 8),
    bn_groups: 2,
    queues: {"keys": (length: 16)},
    pairs: [(from: "q", to: "k", when: BeforeStep, momentum: 0.9)],
    method: "moco",
    mixers: {"mix": MixUp(partner: Derangement)},
    optimizer: Sgd(lr: 0.1),
    log_every: 1,
)"#;

const CLUSTERS: &str = r#"clusterers: {"odc": Odc(k: 3, min_size: 4)},"#;
const PUZZLE: &str =
    r#"embedding_heads: {"online": ()}, losses: {"cluster": CrossEntropy(class_weight: WeightedMean)},"#;

const PROTOTYPES: &str = r#"embedding_heads: {"prototypes": (out: 5, prototypes: true)}, params: {"large": 3.0},
    mixers: {"#;
const MOCHI: &str = r#"losses: {"info_nce": InfoNce(candidates: QueueAndNegatives)},
    params: {"warm": 0.0, PARAMS},
    mixers: {"#;

/// The recipe with parts of its text replaced.
#[track_caller]
fn edited(edits: &[(&str, &str)]) -> Place {
    let mut text = MOCO.to_string();
    for (part, by) in edits {
        assert!(text.contains(part), "{part}");
        text = text.replacen(part, by, 1);
    }
    let place = Place::new();
    place.write("r.ron", text);
    place
}

fn run(place: &Place) -> Outcome {
    place.compute(&["run", "r.ron", "--out", "run"])
}

#[test]
fn moco_runs_with_every_mixer_and_its_losses_are_finite() {
    let plain = "MixUp(partner: Derangement)";
    let clusters = |more: &str| format!("optimizer: Sgd(lr: 0.1), {CLUSTERS} {more}");
    for (mixer, method, more) in [
        ("ManifoldMix(partner: Derangement)", "moco", String::new()),
        ("SaliencyMix(partner: Derangement)", "moco", String::new()),
        ("FMix(partner: Derangement)", "moco", String::new()),
        ("ResizeMix(partner: Derangement)", "moco", String::new()),
        ("InterIntra(partner: ClusterAware())", "moco", clusters("")),
        ("CutMix(partner: ClusterAware())", "moco", clusters("")),
        ("PuzzleMix(partner: Derangement)", "moco_puzzlemix", clusters(PUZZLE)),
    ] {
        let mut edits = vec![(plain, mixer)];
        let name = format!("method: \"{method}\"");
        edits.push(("method: \"moco\"", name.as_str()));
        if !more.is_empty() {
            edits.push(("optimizer: Sgd(lr: 0.1),", &more));
        }
        let place = edited(&edits);
        let outcome = run(&place).good();
        assert_eq!(outcome.stderr, "", "{mixer}");
        let text = fs::read_to_string(place.path("run/metrics.jsonl")).expect("metrics");
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let trained: Vec<&Value> = rows.iter().filter(|row| row["event"] == "train").collect();
        assert_eq!(trained.len(), 4, "{mixer}: {text}");
        for row in trained {
            let losses = row["losses"].as_object().expect("losses");
            let terms = if method == "moco" { 2 } else { 3 };
            assert_eq!(losses.len(), terms, "{mixer}: {row}");
            // JSON has no number that is not finite.
            assert!(
                losses.values().all(|value| value.as_f64().is_some_and(|loss| loss > 0.0)),
                "{mixer}: {row}"
            );
            assert_eq!(row["skipped"], 0, "{mixer}: {row}");
        }
        assert!(place.path("run/samples/epoch-001.png").exists(), "{mixer}");
    }
}

#[test]
fn what_a_run_without_labels_lacks_is_told_with_field_and_remedy() {
    let mix = "MixUp(partner: Derangement)";
    let clustered = format!("{CLUSTERS} optimizer:");
    for (edits, parts) in [
        (
            &[("bn_groups: 2", "bn_groups: 3")][..],
            &["r.ron:8:16: `bn_groups` is 3", "from 1 that divides the batch, 8"][..],
        ),
        (&[("bn_groups: 2", "bn_groups: 0")], &["r.ron:8:16: `bn_groups` is 0", "divides the batch, 8"]),
        // The batch that they must divide may come from elsewhere.
        (&[("batch: 8", "batch: 5")], &["`bn_groups` is 2", "divides the batch, 5"]),
        (
            &[("length: 16", "length: 20")],
            &["r.ron:9:", "`queues.keys.length` is 20", "a multiple of the batch, 8", "such as 16"],
        ),
        (&[("length: 16", "length: 4")], &["`queues.keys.length` is 4", "such as 8"]),
        (
            &[("optimizer:", &clustered.replace("k: 3", "k: 33"))],
            &["r.ron:13:", "`clusterers.odc.k` is 33", "at most the 32 training images"],
        ),
        (
            &[("optimizer:", &clustered.replace("min_size: 4", "min_size: 11"))],
            &["`clusterers.odc.min_size` is 11", "3 clusters share 32 training images"],
        ),
        // Mixers and methods that ask for a clusterer.
        (
            &[(mix, "InterIntra()")],
            &[
                "moco.rhai:",
                "no clusterer named `odc`",
                "has none",
                "add `clusterers: {\"odc\": Odc(k: 200)}`",
            ],
        ),
        (
            &[(mix, "CutMix(partner: ClusterAware())")],
            &["moco.rhai:", "no clusterer named `odc`", "add `clusterers: {\"odc\": Odc(k: 200)}`"],
        ),
        (
            &[("method: \"moco\"", "method: \"moco_puzzlemix\""), (mix, "PuzzleMix()")],
            &["moco_puzzlemix.rhai:", "no clusterer named `odc`", "add `clusterers:"],
        ),
        (
            &[("optimizer:", "embedding_heads: {\"online\": ()}, optimizer:")],
            &["`embedding_heads.online", "is missing", "(out: 200)"],
        ),
        (
            &[(mix, "InterIntra()"), ("optimizer:", &clustered.replace("\"odc\"", "\"odk\""))],
            &["no clusterer named `odc`", "Did you mean `odk`?"],
        ),
        (&[(mix, "MixUp()")], &["moco.rhai:", "may pair an image with itself", "`partner: Derangement`"]),
        (&[("views: 2", "views: 1")], &["moco.rhai:", "1 view(s)", "data: (views: 2)"]),
        (
            &[("queues: {\"keys\": (length: 16)},", "")],
            &["moco.rhai:", "no queue named `keys`", "add `queues:"],
        ),
        (
            &[("pairs: [(from: \"q\", to: \"k\", when: BeforeStep, momentum: 0.9)],", "")],
            &["moco.rhai:", "no network named `k`", "`q`"],
        ),
        // Negatives that are mixed from more than there are.
        (
            &[("method: \"moco\"", "method: \"mochi\""), ("mixers: {", MOCHI), ("PARAMS", "\"hard\": 17.0")],
            &["mochi.rhai:", "`top_k_indices` is asked for the 17 largest of 16 values", "1 to 16"],
        ),
        (
            &[("method: \"moco\"", "method: \"mochi\""), ("mixers: {", MOCHI), ("PARAMS", "\"hard\": 4.5")],
            &["mochi.rhai:", "params.hard is 4.5, expected a whole number from 1"],
        ),
        (
            &[
                ("method: \"moco\"", "method: \"mochi\""),
                ("mixers: {", MOCHI),
                ("PARAMS", "\"hard\": 4.0, \"pairs\": 17.0"),
            ],
            &["mochi.rhai:", "`narrow` is asked for 17 places from 0 on", ", 16]"],
        ),
        (
            &[("method: \"moco\"", "method: \"swav\""), ("mixers: {", PROTOTYPES)],
            &["swav.rhai:", "params.large is 3", "data.views gives 2 views"],
        ),
        (
            &[
                ("method: \"moco\"", "method: \"swav\""),
                ("mixers: {", PROTOTYPES),
                ("(out: 5,", "(out: 3,"),
                ("\"large\": 3.0", "\"large\": 2.0"),
            ],
            &[
                "`embedding_heads.prototypes.out",
                "is 3",
                "fewer prototypes than the 4 classes",
                "write 4 or more",
            ],
        ),
        (
            &[
                ("method: \"moco\"", "method: \"swav\""),
                ("mixers: {", PROTOTYPES),
                ("prototypes: true)", "prototypes: true, hidden: 4)"),
            ],
            &["`embedding_heads.prototypes", "`prototypes` and `hidden`"],
        ),
        (
            &[
                ("method: \"moco\"", "method: \"swav\""),
                ("mixers: {", PROTOTYPES),
                ("\"large\": 3.0", "\"epsilon\": 0.0"),
            ],
            &["swav.rhai:", "params.epsilon and params.temperature must be above 0"],
        ),
        (
            &[
                ("method: \"moco\"", "method: \"swav\""),
                ("mixers: {", PROTOTYPES),
                ("\"large\": 3.0", "\"stored\": true"),
                ("\"keys\": (length: 16)", "\"store0\": (length: 4), \"store1\": (length: 4)"),
            ],
            &["store0", "length"],
        ),
        (
            &[
                ("method: \"moco\"", "method: \"simclr\""),
                ("optimizer:", "params: {\"temperature\": 0.0}, optimizer:"),
            ],
            &["simclr.rhai:", "params.temperature is 0", "expected a number above 0"],
        ),
        // The loss as it is for MoCo.
        (
            &[("method: \"moco\"", "method: \"imix\"")],
            &["imix.rhai:", "loss `info_nce` takes", "(4 given)", "`losses`"],
        ),
        (
            &[("method: \"moco\"", "method: \"unmix\""), (mix, "MixUp()")],
            &["unmix.rhai:", "may pair an image with itself"],
        ),
        (&[("out: 8", "out: 8, nrom: true")], &["r.ron:7:", "nrom", "`norm`"]),
        (&[("Mlp(hidden: 16, out: 8)", "Linear(out: 0)")], &["neck", "out", "a width from 1"]),
        (&[("method: \"moco\"", "method: \"mixup\"")], &["mixup.rhai:", "no head named `one`"]),
        (
            &[("optimizer:", "params: {\"pipeline\": \"crossed\"}, optimizer:")],
            &["moco.rhai:", "crossed", "\"cross\""],
        ),
    ] {
        let place = edited(edits);
        run(&place).refused(2, parts);
        assert!(!place.path("run").exists(), "a run that cannot be must leave nothing behind: {parts:?}");
        place.compute(&["check", "r.ron"]).refused(2, parts);
    }
}
