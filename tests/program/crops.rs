//! Runs on views in groups of their own sizes.

use super::Place;
use super::resume::{file_of, same_state};
use super::streaming::pictures;

/// Views of one size pass together; keys are made of the second view.
const METHOD: &str = r#"
    fn weights(t) { #{ large: 1.0, small: 1.0 } }
    fn step(t) {
        let queue = t.queue("keys");
        let key = t.pass("k", t.views[1]).unit();
        let small = t.pass("q", cat([t.views[2], t.views[3], t.views[4]], 0)).unit();
        t.learn(#{
            large: t.loss("info_nce", t.pass("q", t.views[0]).unit(), key, queue),
            small: t.loss("info_nce", small, cat([key, key, key], 0), queue),
        });
        t.enqueue("keys", key);
    }"#;

/// Two epochs of ten steps.
const RECIPE: &str = r#"(
    epochs: 2,
    batch: 4,
    data: (name: "pictures", test_resize: Some(18), views: [
        (count: 2, augment: Moco(size: 16)),
        (count: 3, augment: Moco(size: 8, scale: (0.05, 0.3))),
    ]),
    model: ConvNet(widths: [8, 8, 8], strides: [2, 2, 2]),
    heads: [],
    neck: Mlp(hidden: 16, out: 8),
    bn_groups: 2,
    queues: {"keys": (length: 16)},
    pairs: [(from: "q", to: "k", when: BeforeStep, momentum: 0.9)],
    method: "crops.rhai",
    optimizer: Lars(lr: 0.5),
    evaluate: (batch: 3, reestimate_batches: 2, probes: [Knn]),
    checkpoint: (every_steps: Some(2)),
    log_every: 2,
)"#;

fn place() -> Place {
    let place = pictures();
    place.write("crops.ron", RECIPE);
    place.write("crops.rhai", METHOD);
    place
}

#[test]
fn a_run_on_views_of_two_sizes_that_goes_on_with_other_threads_ends_with_the_same_bits() {
    let place = place();
    let with = |out: &str, workers: &str, more: &[&str]| {
        let workers = format!("data.workers={workers}");
        place.compute(&[&["run", "crops.ron", "--out", out, "--set", &workers], more].concat()).good()
    };
    with("whole", "1", &[]);
    with("parts", "4", &["--max-steps", "7"]);
    with("parts", "1", &["--resume", "--max-steps", "13"]);
    with("parts", "3", &["--resume"]);
    same_state(&file_of(&place, "whole", 20), &file_of(&place, "parts", 20));
    // Measured at the size of the first group.
    let outcome = place.compute(&["eval", "whole", "--protocol", "linear", "--epochs", "1"]).good();
    assert!(outcome.stdout.contains("linear"), "{}", outcome.stdout);
}

#[test]
fn groups_of_views_are_shown_timed_and_refused_by_their_field() {
    let place = place();
    let shown = place.admix(&["show", "crops.ron"]).good().stdout;
    assert!(shown.contains("data.views.1.count") && shown.contains("data.views.1.augment.size"), "{shown}");
    let timed = place.compute(&["bench", "data", "crops.ron", "--batches", "2", "--warmup", "1"]).good();
    assert!(timed.stdout.contains("2 views of 16x16 and 3 views of 8x8"), "{}", timed.stdout);
    let toy = r#"data=(name: "toy", views: [(count: 2, augment: Moco(size: 16)), (count: 3, augment: Moco(size: SIZE))])"#;
    let synthetic = toy.replace("SIZE", "8");
    place.compute(&["bench", "step", "crops.ron", "--synthetic", "--steps", "2", "--set", &synthetic]).good();
    for (set, parts) in [
        (toy.replace("SIZE", "17"), ["`data.views.1.augment.size` is 17", "expected at most 16"]),
        ("data.views=[(count: 0, augment: Moco())]".into(), ["`data.views.0.count` is 0", "at least 1"]),
        ("data.augment=Moco(size: 16)".into(), ["`data.augment` is given", "none beside groups"]),
        ("data.augment=Shift".into(), ["`data.augment` is given", "none beside groups"]),
        ("data.views=[(count: 2)]".into(), ["data.views", "`augment`"]),
    ] {
        place.admix(&["run", "crops.ron", "--dry-run", "--set", &set]).refused(2, &parts);
    }
}
