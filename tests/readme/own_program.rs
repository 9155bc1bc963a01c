//! The entries of `examples/own_program/`, which the guide to extending shows.

use admix_api::{Describe, Entry, contract};

#[path = "../../examples/own_program/augmentation.rs"]
mod augmentation;
#[path = "../../examples/own_program/backbone.rs"]
mod backbone;
#[path = "../../examples/own_program/clusterer.rs"]
mod clusterer;
#[path = "../../examples/own_program/dataset.rs"]
mod dataset;
#[path = "../../examples/own_program/logger.rs"]
mod logger;
#[path = "../../examples/own_program/loss.rs"]
mod loss;
#[path = "../../examples/own_program/mixer.rs"]
mod mixer;
#[path = "../../examples/own_program/optimizer.rs"]
mod optimizer;
#[path = "../../examples/own_program/probe.rs"]
mod probe;

/// One of each kind.
pub fn entries() -> Vec<Entry> {
    vec![
        mixer::Columns::entry(),
        loss::Brier::entry(),
        backbone::AllConv::entry(),
        dataset::Stripes::entry(),
        augmentation::Roll::entry(),
        clusterer::Moving::entry(),
        optimizer::Signum::entry(),
        probe::NearestMean::entry(),
        logger::Slowest::entry(),
    ]
}

#[test]
fn the_entries_of_the_guide_to_extending_keep_the_contract_of_their_kind() {
    for entry in entries() {
        let verdicts = contract::check(&entry, &[serde_json::json!({})]);
        // Other tests of this process draw from libtorch's one generator.
        let draws = |promise: &str| promise.contains("generator") || promise.contains("draws nothing");
        let broken = verdicts.iter().find(|verdict| verdict.is_broken() && !draws(verdict.promise));
        assert!(broken.is_none(), "{entry:?}\n{}", contract::table(&verdicts));
    }
}
