//! No step of any bundled recipe makes the host wait for the device.

use std::collections::BTreeSet;

use admix_engine::bundled as scripts;
use admix_torch::SyncCounter;

use super::mixer_losses::{losses, settings};
use super::toy::Toy;
use crate::program::recipes::bundled;

/// Steps that are watched, of each method.
const STEPS: u64 = 20;

#[test]
fn no_step_of_any_bundled_method_and_mixer_reads_anything_back() {
    let mut seen = BTreeSet::new();
    let mut watch = |name: &str, text: &str, more: &[&str]| {
        let mut toy = Toy::new(name, text, more);
        seen.insert(toy.recipe.method.clone());
        // In the first step memory is laid out.
        let first = toy.batch(0);
        toy.session.step(first).unwrap_or_else(|error| panic!("{name}: {error}"));
        let batches: Vec<_> = (1..=STEPS).map(|step| toy.batch(step)).collect();
        let counter = SyncCounter::start();
        for batch in batches {
            toy.session.step(batch).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert_eq!(counter.count(), 0, "{name} {more:?}: {:?}", counter.names());
        // What clusterers do between steps and solvers on the host in them is another count.
        let world = toy.session.world();
        if world.clusterers.is_empty() && !world.mixers.iter().any(|unit| unit.needs.host_solver) {
            assert_eq!(counter.count_apart(), 0, "{name}");
        } else if !world.clusterers.is_empty() {
            assert!(counter.count_apart() >= STEPS, "{name}: {}", counter.count_apart());
        }
    };
    for (name, _, text) in bundled() {
        let (folder, policy) = name.rsplit_once('/').unwrap_or_default();
        let is_young = folder == "cifar100/r18"
            && [
                "adautomix",
                "alignmix",
                "attentivemix",
                "augmix",
                "gridmix",
                "moex",
                "recursivemix",
                "smoothmix",
                "snapmix",
                "timm",
            ]
            .contains(&policy);
        if folder == "cifar10/r18" || folder == "cifar100/vit" || is_young {
            watch(&name, &text, &[]);
        }
        // Past the epochs without synthetic negatives.
        if name == "cifar10/r18/mochi" {
            watch(&name, &text, &["params.warm=0.0"]);
        }
        // As the authors' code does it, which no recipe does.
        if let Some(method) = name.strip_prefix("cifar10/r18/").filter(|m| ["amix_i", "amix_c"].contains(m)) {
            let method = format!("method=\"code/{method}\"");
            let mut more = vec![method.as_str()];
            if name.ends_with("amix_c") {
                more.extend([
                    "mixers.amix=AMix(alpha: 2.0, stage: 3, adjust: 1.0, partner: Derangement, same_cluster: Blend)",
                    "losses.cluster=CrossEntropy(class_weight: OverSamples)",
                ]);
            }
            watch(&name, &text, &more);
        }
    }
    for (name, _, text) in bundled() {
        for (loss, more) in losses(&name) {
            let settings = settings(loss, &more);
            watch(&name, &text, &settings.iter().map(String::as_str).collect::<Vec<_>>());
        }
        if name == "cifar10/r18/moco_inter_intra" {
            watch(&name, &text, &[r#"params.labels="classes""#, "clusterers={}"]);
        }
    }
    let all: BTreeSet<String> = scripts::script_names().map(String::from).collect();
    assert_eq!(seen, all, "every method was watched");
}
