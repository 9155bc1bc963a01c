//! The losses that a mixer may answer to (AMix paper, Tables 1, 7 and Fig. 2c): switches of the bundled scripts.

use admix_engine::{Execution, StepOptions};

use super::toy::Toy;
use crate::program::Place;
use crate::program::recipes::{bundled, small};

const SECOND_VIEW: [&str; 2] = ["data.views=2", "mixers.amix.partner=Derangement"];
const CLUSTERS: [&str; 2] = [r#"clusterers={"odc": Odc(k: 2, min_size: 1)}"#, r#"params.labels="clusters""#];
const CLUSTER_HEADS: [&str; 3] = [
    r#"embedding_heads={"online": (), "offline": ()}"#,
    r#"pairs=[(from: "q", to: "k", momentum: 0.999), (from: "online", to: "offline", when: BeforeStep, copy: true)]"#,
    "losses.cluster=CrossEntropy(class_weight: WeightedMean)",
];
const CLASSES: [&str; 3] = [
    r#"params.labels="classes""#,
    "clusterers={}",
    r#"embedding_heads={"online": (out: 10), "offline": (out: 10)}"#,
];
const KEYS: [&str; 1] = [r#"queues={"keys": (length: 16)}"#];
const LABELLED: [&str; 2] =
    [r#"queues={"keys": (length: 16), "labels": (length: 16)}"#, "losses.apart=InfoNce(same_label: Leave)"];

/// Each loss that a recipe's method can give its mixer, but the recipe's own: its name and the settings.
pub fn losses(recipe: &str) -> Vec<(&'static str, Vec<&'static str>)> {
    match recipe {
        "cifar10/r18/amix" => vec![
            ("pbce", vec![]),
            ("ce", [&CLUSTERS[..], &CLUSTER_HEADS].concat()),
            ("bce", SECOND_VIEW.to_vec()),
            ("info_nce", [&SECOND_VIEW[..], &KEYS].concat()),
            ("info_nce_apart", [&SECOND_VIEW[..], &LABELLED].concat()),
            ("info_nce_apart", [&SECOND_VIEW[..], &LABELLED, &CLUSTERS].concat()),
        ],
        "cifar10/r18/amix_c" => vec![
            ("ce", CLASSES.to_vec()),
            ("pbce", vec![]),
            ("pbce", CLASSES.to_vec()),
            ("ce+info_nce", vec![]),
            ("info_nce_apart", LABELLED.to_vec()),
            ("info_nce_apart", [&LABELLED[..], &CLASSES].concat()),
        ],
        _ => Vec::new(),
    }
}

/// The settings of such a loss, for a command.
pub fn settings(loss: &str, more: &[&str]) -> Vec<String> {
    let own = std::iter::once(format!("params.loss=\"{loss}\""));
    own.chain(more.iter().map(ToString::to_string)).collect()
}

#[test]
fn recorded_steps_with_each_loss_of_the_mixer_end_with_the_bits_of_direct_ones() {
    for (name, _, text) in bundled() {
        for (loss, more) in losses(&name) {
            let settings = settings(loss, &more);
            let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
            let run = |execution: Execution| {
                let mut toy = Toy::new(&name, &text, &settings);
                for step in 0..4 {
                    let options = StepOptions { execution, ..StepOptions::default() };
                    let batch = toy.batch(step);
                    let report = toy.session.step_with(vec![batch], &options);
                    let report = report.unwrap_or_else(|error| panic!("{name} {settings:?}: {error}"));
                    for (term, loss) in report.losses {
                        assert!(loss.double_value(&[]).is_finite(), "{name} {settings:?}: {term}");
                    }
                }
                toy.session.tensors()
            };
            let (direct, recorded) = (run(Execution::Direct), run(Execution::Recorded));
            assert_eq!(direct.len(), recorded.len());
            for (tensor, value) in &direct {
                assert!(value.equal(&recorded[tensor]), "{name} {settings:?}: {tensor}");
            }
        }
    }
}

#[test]
fn what_the_script_does_not_know_is_refused_with_what_it_knows() {
    let labels = [r#"params.labels="cluster""#];
    let of_clusters = [&CLUSTERS[..], &[r#"params.loss="pbce""#]].concat();
    for (recipe, settings, known) in [
        (
            "cifar10/r18/amix",
            &[r#"params.loss="focal""#][..],
            r#"params.loss is "focal", expected "ce", "pbce", "bce", "info_nce" or "info_nce_apart""#,
        ),
        ("cifar10/r18/amix", &labels, r#"params.labels is "cluster", expected "classes" or "clusters""#),
        (
            "cifar10/r18/amix",
            &of_clusters,
            r#""pbce" reads the head of the classes: set params.labels to "classes""#,
        ),
        (
            "cifar10/r18/amix_c",
            &[r#"params.loss="focal""#],
            r#"params.loss is "focal", expected "ce", "pbce", "ce+info_nce" or "info_nce_apart""#,
        ),
        ("cifar10/r18/amix_c", &labels, r#"params.labels is "cluster", expected "classes" or "clusters""#),
        (
            "cifar10/r18/moco_inter_intra",
            &labels,
            r#"params.labels is "cluster", expected "classes" or "clusters""#,
        ),
    ] {
        let text = bundled().into_iter().find(|(name, ..)| name == recipe).expect("a recipe").2;
        let flags =
            [small(&text), settings.iter().flat_map(|set| ["--set".into(), set.to_string()]).collect()];
        let flags = flags.concat();
        let all: Vec<&str> = ["check", recipe].into_iter().chain(flags.iter().map(String::as_str)).collect();
        Place::new().compute(&all).refused(2, &[known]);
    }
}
