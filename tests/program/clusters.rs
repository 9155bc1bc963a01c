//! Runs with a clusterer.

use std::fs;

use admix_engine::Checkpoint;
use admix_torch::{Device, Kind, Tensor};
use serde_json::Value;

use super::{Place, TINY};

/// A network that learns the labels of its own clusters.
const METHOD: &str = r#"
fn weights(t) { #{ cluster: 1.0 } }

fn step(t) {
    let bank = t.bank("odc");
    let labels = bank.labels(t.index);
    let p = t.pass("q", t.images);
    let map = p.features(2);
    t.learn(#{ cluster: t.loss("weighted", p.logits("one"), labels, bank.class_weight()) });
    bank.update(t.index, mean_over(mean_over(map, 3), 2));
}
"#;

fn recipe(clusterers: &str) -> String {
    let head = TINY.split("    heads:").next().expect("a part");
    format!(
        r#"{head}
    heads: ["one"],
    method: "cluster.rhai",
    losses: {{"weighted": CrossEntropy(class_weight: WeightedMean)}},
    clusterers: {{{clusterers}}},
    checkpoint: (every_steps: Some(2), keep: 9),
)"#
    )
}

const SMALL: &str = r#""odc": Odc(k: 4, min_size: 6, every: 2)"#;

pub fn place(clusterers: &str) -> Place {
    let place = Place::new();
    place.write("cluster.rhai", METHOD);
    place.write("r.ron", recipe(clusterers));
    place
}

pub fn checkpoint(place: &Place, run: &str, step: u64) -> Checkpoint {
    let path = place.path(run).join(format!("checkpoints/step-{step:08}.safetensors"));
    Checkpoint::read(&path, Device::Cpu).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn labels_come_from_k_means_and_move_with_the_training() {
    let place = place(SMALL);
    place.compute(&["run", "r.ron", "--out", "run"]).good();
    let (early, last) = (checkpoint(&place, "run", 2), checkpoint(&place, "run", 16));
    for held in [&early, &last] {
        let part = |name: &str| &held.tensors[&format!("bank.odc.{name}")];
        assert_eq!((part("features").size(), part("centroids").size()), (vec![64, 8], vec![4, 8]));
        let counts: Vec<i64> = Vec::try_from(part("counts")).expect("counts");
        assert!(counts.iter().sum::<i64>() == 64 && counts.iter().all(|count| *count >= 1), "{counts:?}");
        for (label, count) in counts.iter().enumerate() {
            let found = part("labels").eq(label as i64).sum(Kind::Int64).int64_value(&[]);
            assert_eq!(found, *count, "label {label}");
        }
        let norms: Tensor = part("features").norm_scalaropt_dim(2.0, 1i64, false) - 1.0;
        assert!(norms.abs().max().double_value(&[]) < 1e-5);
    }
    let moved = |name: &str| early.tensors[name] != last.tensors[name];
    assert!(moved("bank.odc.features") && moved("bank.odc.centroids"));
    let text = fs::read_to_string(place.path("run/metrics.jsonl")).expect("metrics");
    let first: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    assert!(
        first["logged"]["odc_changed"].as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)),
        "{first}"
    );
    let facts = fs::read_to_string(place.path("run/run.json")).expect("facts");
    let facts: Value = serde_json::from_str(&facts).expect("JSON");
    assert!(facts["clustering_s"].as_f64().is_some_and(|seconds| seconds > 0.0), "{facts}");
    // Its features can be measured, whatever the clusters.
    place.compute(&["eval", "run", "--protocol", "knn"]).good();
}

#[test]
fn a_run_with_clusters_that_was_stopped_goes_on_bit_for_bit() {
    let place = place(SMALL);
    place.compute(&["run", "r.ron", "--out", "whole"]).good();
    place.compute(&["run", "r.ron", "--out", "parts", "--max-steps", "5"]).good();
    place.compute(&["run", "r.ron", "--out", "parts", "--resume"]).good();
    let (whole, parts) = (checkpoint(&place, "whole", 16), checkpoint(&place, "parts", 16));
    assert!(whole.tensors.contains_key("bank.odc.labels"));
    for (name, tensor) in &whole.tensors {
        assert!(tensor.equal(&parts.tensors[name]), "{name} differs");
    }
}

#[test]
fn clusters_that_cannot_be_are_refused_with_field_and_remedy() {
    let refused = |clusterers: &str, parts: &[&str]| {
        place(clusterers).admix(&["check", "r.ron"]).refused(2, parts);
    };
    refused(
        r#""odc": Odc(k: 65)"#,
        &["r.ron:", "`clusterers.odc.k` is 65", "at most the 64 training images"],
    );
    refused(
        r#""odc": Odc(k: 8)"#,
        &["`clusterers.odc.min_size` is 20", "1 to 8: 8 clusters share 64 training images"],
    );
    refused(r#""odc": Odc(size: 8)"#, &["r.ron:", "unknown field `size`", "min_size"]);
    refused("", &["cluster.rhai:5:", "no clusterer named `odc`", "add `clusterers: {\"odc\": Odc(k: 200)}`"]);
    refused(r#""odk": Odc(k: 4, min_size: 6)"#, &["no clusterer named `odc`", "Did you mean `odk`?"]);
}
