//! Pre-training on pictures that nobody sorted: no class folders, no labels, no test images.

use std::fs;

use serde_json::Value;

use super::streaming::jpeg;
use super::{Outcome, Place};

/// MoCo v2 with a mixer, some milliseconds a step.
const RECIPE: &str = r#"(
    epochs: 2,
    batch: 4,
    data: (name: "photos", views: 2, augment: Moco(size: 16)),
    model: ConvNet(widths: [4, 8], strides: [2, 2]),
    heads: [],
    neck: Mlp(hidden: 8, out: 8),
    queues: {"keys": (length: 8)},
    pairs: [(from: "q", to: "k", when: BeforeStep, momentum: 0.99)],
    method: "moco",
    mixers: {"mix": MixUp(partner: Derangement)},
    optimizer: Sgd(lr: 0.03),
)"#;

const SUPERVISED: &str = r#"(
    epochs: 1,
    batch: 4,
    data: (name: "photos", augment: Moco(size: 16)),
    model: ConvNet(widths: [4, 8], strides: [2, 2]),
    method: "mixup",
    optimizer: Sgd(lr: 0.03),
)"#;

/// Nine pictures in a folder.
fn place(folder: impl Fn(u32) -> String) -> Place {
    let place = Place::new();
    for at in 0..9 {
        place.write(&format!("data/photos/{}{at}.jpg", folder(at)), jpeg(at));
    }
    place.write("r.ron", RECIPE);
    place.write("s.ron", SUPERVISED);
    place
}

fn flat() -> Place {
    place(|_| String::new())
}

fn train(place: &Place, out: &str, more: &[&str]) -> Outcome {
    place.compute(&[&["run", "r.ron", "--out", out], more].concat())
}

fn train_images(place: &Place, out: &str) -> Value {
    let facts = fs::read_to_string(place.path(out).join("run.json")).expect("facts");
    serde_json::from_str::<Value>(&facts).expect("JSON")["train_images"].clone()
}

#[test]
fn pictures_in_a_folder_are_trained_on_streamed_and_packed() {
    let place = flat();
    let outcome = train(&place, "run", &[]).good();
    let told = "warning: `photos` has no test images: no accuracy is measured while it trains";
    assert!(outcome.stderr.contains(told), "{}", outcome.stderr);
    assert!(!outcome.stdout.contains("test:"), "{}", outcome.stdout);
    assert_eq!(train_images(&place, "run"), 9);
    assert!(place.path("run/samples/epoch-002.png").exists());
    assert!(place.admix(&["datasets"]).good().stdout.contains("photos"));
    place.admix(&["data", "verify", "photos"]).good();
    assert!(
        place.admix(&["data", "info", "photos"]).good().stdout.contains("9 for training, without labels")
    );

    let import = ["data", "import", "data/photos", "--name", "packed", "--size", "20x20"];
    let said = place.admix(&import).good().stdout;
    assert!(said.starts_with("packed: 9 images without labels, 20x20"), "{said}");
    place.admix(&["data", "verify", "packed"]).good();
    for (out, split) in [("a", "Train"), ("b", "Unlabelled")] {
        let split = format!("data.split={split}");
        train(&place, out, &["--set", "data.name=\"packed\"", "--set", &split]).good();
        assert_eq!(train_images(&place, out), 9);
    }
    // What was learned is measured where there are labels.
    let toy = ["--protocol", "knn", "--k", "3", "--set", "data.name=\"toy\""];
    let said = place.compute(&[&["eval", "run", "--format", "json"], &toy[..]].concat()).good().stdout;
    assert!(said.contains("knn_q"), "{said}");
    for (protocol, parts) in [
        ("knn", ["training images of `photos` have no labels", "protocol knn needs"]),
        ("test", ["no head whose accuracy can be told", "--protocol knn"]),
    ] {
        place.compute(&["eval", "run", "--protocol", protocol]).refused(2, &parts);
    }
}

#[test]
fn what_needs_labels_is_refused_before_anything_starts() {
    let place = flat();
    let said =
        ["`heads` need classes", "the images of `photos` have no labels", "\"moco\"", "train/CLASS/IMAGE"];
    place.compute(&["check", "s.ron"]).refused(2, &said);
    place.write("own.rhai", "fn weights(t) { #{ one: 1.0 } }\nfn step(t) {\n    let y = t.labels;\n}\n");
    let own = ["check", "r.ron", "--set", "method=\"own.rhai\""];
    place.compute(&own).refused(2, &["own.rhai:3:", "`t.labels`: the images of the dataset have no labels"]);
    for (set, parts) in [
        (
            "evaluate=(probes: [Knn])",
            ["training images of `photos` have no labels", "choose data with labels"],
        ),
        ("data.per_class=2", ["`data.per_class` is 2", "the images of `photos` have no classes"]),
        (
            "data.split=TrainUnlabelled",
            ["`data.split` is TrainUnlabelled", "Unlabelled for all training images"],
        ),
        ("data.fold=1", ["`data.fold` is 1", "`photos` has no folds"]),
    ] {
        place.compute(&["check", "r.ron", "--set", set]).refused(2, &parts);
    }
    place.compute(&["check", "r.ron"]).good();
    let held = ["data", "import", "data/photos", "--name", "p", "--size", "8x8", "--test-per-class", "1"];
    place.admix(&held).refused(2, &["`--test-per-class` is 1", "no classes"]);
    assert!(!place.path("data/p.admix").exists());
}

#[test]
fn folders_are_classes_unless_the_recipe_or_a_flag_says_otherwise() {
    let place = place(|at| format!("train/{}/", ["ant", "bee", "cat"][at as usize % 3]));
    place.write("data/photos/notes.txt", "hello");
    let lacking = ["it has no `val` and no `test` folder", "`data: (split: Unlabelled)`"];
    place.compute(&["check", "r.ron"]).refused(2, &lacking);
    let unlabelled = ["--set", "data.split=Unlabelled"];
    train(&place, "run", &unlabelled).good();
    assert_eq!(train_images(&place, "run"), 9);
    place.compute(&[&["check", "s.ron"], &unlabelled[..]].concat()).refused(2, &["`heads` need classes"]);

    let import = ["data", "import", "data/photos", "--name", "packed", "--size", "20x20"];
    place.admix(&import).refused(2, &["a training split and no test split", "`--unlabelled`"]);
    place.write("data/photos/val/ant/x.jpg", jpeg(1));
    let said = place.admix(&[&import[..], &["--unlabelled"]].concat()).good().stdout;
    assert!(said.starts_with("packed: 9 images without labels"), "{said}");
    assert!(said.contains("val/ant/x.jpg: not in the training folder, and the set has no labels"), "{said}");
    let said = place.admix(&[&import[..], &["--force"]].concat()).good().stdout;
    assert!(said.starts_with("packed: 9 training and 1 test images of 3 classes"), "{said}");
}

#[test]
fn an_archive_of_pictures_and_folders_of_any_depth_are_taken() {
    let place = place(|at| format!("20{at}/05/"));
    let import = |source: &str, more: &[&str]| {
        let flags = ["data", "import", source, "--name", "p", "--size", "8x8", "--force"];
        place.admix(&[&flags[..], more].concat())
    };
    import("data/photos", &["--unlabelled"]).good();
    place.write("flat/a.jpg", jpeg(0));
    place.write("flat/b.jpg", jpeg(1));
    let tar = |arguments: &[&str]| {
        let status = std::process::Command::new("tar").args(arguments).current_dir(place.path("")).status();
        assert!(status.expect("tar runs").success());
    };
    tar(&["cf", "below.tar", "flat"]);
    tar(&["cf", "side_by_side.tar", "-C", "flat", "."]);
    for source in ["flat", "below.tar", "side_by_side.tar"] {
        let said = import(source, &[]).good().stdout;
        assert!(said.starts_with("p: 2 images without labels, 8x8"), "{source}: {said}");
    }
}
