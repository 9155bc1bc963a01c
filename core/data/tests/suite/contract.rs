//! Every registered dataset and augmentation against the contract of its kind.

use admix_api::Kind;
use admix_api::contract::{self, Outcome};
use admix_data::{Augmentation, DatasetSource};
use serde_json::{Value, json};

use crate::support::registry;

/// Settings to try besides the defaults.
fn others(entry: &str) -> Vec<Value> {
    match entry {
        "toy" => vec![json!({"classes": 3, "train": 20, "test": 7, "size": 9, "channels": 1})],
        "resized_crop" => vec![json!({"size": 12, "interpolation": "Bilinear"})],
        "aug_mix" => vec![
            json!({"crop": {"ResizedCrop": {"size": 12}}}),
            json!({"width": 1, "depth": 4, "severity": 10.0}),
        ],
        "moco" => {
            vec![json!({"size": 24, "interpolation": "Bicubic", "blur": 1.0, "grey": 1.0, "jitter": 1.0})]
        }
        _ => Vec::new(),
    }
}

/// Holds every entry of a kind to its promises. `unmet` says how many of them there is nothing to hold against.
fn hold<K: Kind + ?Sized>(unmet: impl Fn(&str) -> usize) {
    let registry = registry();
    let mut entries = 0;
    for entry in registry.of::<K>() {
        let settings: Vec<Value> = [json!({})].into_iter().chain(others(&entry.name)).collect();
        let verdicts = contract::check(entry, &settings);
        let table = contract::table(&verdicts);
        assert!(verdicts.iter().all(|verdict| !verdict.is_broken()), "{}\n{table}", entry.name);
        let open = verdicts.iter().filter(|verdict| matches!(verdict.outcome, Outcome::NotApplicable { .. }));
        // One is about what the host serves to mixers.
        assert_eq!(open.count(), 1 + unmet(&entry.name), "{}\n{table}", entry.name);
        entries += 1;
    }
    assert!(entries >= 3, "{entries} of {}", K::WORD);
}

#[test]
fn every_dataset_keeps_its_promises() {
    // Without files there is nothing to get; with them, no image is here.
    hold::<dyn DatasetSource>(|name| if ["toy", "fashion-mini"].contains(&name) { 1 } else { 4 });
}

#[test]
fn every_augmentation_keeps_its_promises() {
    // `Shift` makes no crops on threads.
    hold::<dyn Augmentation>(|name| usize::from(name == "shift"));
}
