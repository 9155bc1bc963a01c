//! Pre-training on images without labels, and measuring what was learned with those that have some.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::Value;

use super::Place;

const IMAGE: usize = 3 * 96 * 96;

/// MoCo v2 on the unlabelled images, some milliseconds a step.
const RECIPE: &str = r#"(
    epochs: 1,
    batch: 4,
    data: (name: "stl10", split: Unlabelled, views: 2, augment: Moco(size: 16)),
    model: ConvNet(widths: [4, 8], strides: [2, 2]),
    heads: [],
    neck: Mlp(hidden: 8, out: 8),
    queues: {"keys": (length: 8)},
    pairs: [(from: "q", to: "k", when: BeforeStep, momentum: 0.99)],
    method: "moco",
    optimizer: Sgd(lr: 0.03),
)"#;

/// STL-10 with 20 training images and 10 test images, of a brightness for each class, and 8 images without labels.
fn place() -> Place {
    let place = Place::new();
    let class = |image: usize| (image % 10) as u8;
    let images = |n: usize| -> Vec<u8> {
        (0..n).flat_map(|image| (0..IMAGE).map(move |at| 20 * class(image) + (at % 7) as u8)).collect()
    };
    let labels = |n: usize| -> Vec<u8> { (0..n).map(|image| 1 + class(image)).collect() };
    let folds: String = (0..10).map(|fold| format!("{fold} {}\n", fold + 10)).collect();
    for (name, contents) in [
        ("train_X.bin", images(20)),
        ("train_y.bin", labels(20)),
        ("test_X.bin", images(10)),
        ("test_y.bin", labels(10)),
        ("unlabeled_X.bin", images(8)),
        ("fold_indices.txt", folds.into_bytes()),
    ] {
        place.write(&format!("data/stl10_binary/{name}"), contents);
    }
    place.write("r.ron", RECIPE);
    place
}

fn json(place: &Place, arguments: &[&str]) -> Value {
    let said = place.compute(&[arguments, &["--format", "json"]].concat()).good().stdout;
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn unlabelled_images_are_learned_from_and_labelled_ones_measure() {
    let place = place();
    let run = ["run", "r.ron", "--out", "run", "--max-steps", "2", "--set", "evaluate=(probes: [Knn])"];
    place.compute(&run).good();
    let facts = std::fs::read_to_string(place.path("run/run.json")).expect("facts");
    assert!(facts.contains(r#""train_images": 8"#), "{facts}");
    for protocol in ["knn", "linear", "linear-cached"] {
        let mut arguments = vec!["eval", "run", "--protocol", protocol];
        if protocol != "knn" {
            arguments.extend(["--epochs", "2", "--batch", "8"]);
        }
        let found = json(&place, &arguments);
        let head = &found["heads"][format!("{protocol}_q")];
        assert_eq!(head["images"], 10, "{found}");
        assert!(head["loss"].as_f64().is_some_and(|loss| loss > 0.0), "{found}");
    }
    // Nothing but the labelled images is needed to measure, and fewer of them than a batch had will do.
    std::fs::remove_file(place.path("data/stl10_binary/unlabeled_X.bin")).expect("removed");
    let found = json(&place, &["eval", "run", "--protocol", "knn", "--set", "data.fold=3", "--k", "1"]);
    // One class is known.
    assert_eq!(found["heads"]["knn_q"]["top1"], 10.0, "{found}");
    place
        .compute(&["run", "r.ron", "--out", "again"])
        .refused(2, &["`data.name` cannot be opened", "unlabeled_X.bin, which `data.split` needs"]);
}

#[test]
fn what_is_trained_on_is_shown_and_labels_that_are_not_there_are_missed() {
    let place = place();
    let said = place.admix(&["show", "r.ron"]).good().stdout;
    let row = said.lines().find(|line| line.starts_with("data.split")).expect("a row");
    assert!(row.contains("Unlabelled") && row.contains("line "), "{row}");
    let supervised = RECIPE
        .replace("moco", "mixup")
        .replace(r#"neck: Mlp(hidden: 8, out: 8),"#, "")
        .replace(r#"queues: {"keys": (length: 8)},"#, "")
        .replace(r#"pairs: [(from: "q", to: "k", when: BeforeStep, momentum: 0.99)],"#, "")
        .replace("heads: [],", r#"heads: ["one"],"#)
        .replace("views: 2,", "");
    place.write("s.ron", &supervised);
    for split in ["Unlabelled", "TrainUnlabelled"] {
        let set = format!("data.split={split}");
        place
            .compute(&["check", "s.ron", "--set", &set])
            .refused(2, &["`t.labels`", &format!("`data.split` is {split}"), "moco", "split: Train"]);
    }
    place.compute(&["check", "s.ron", "--set", "data.split=Train"]).good();
    place
        .compute(&["check", "r.ron", "--set", "data.name=\"toy\""])
        .refused(2, &["`data.split` is Unlabelled", "`toy` has no images without labels", "stl10"]);
    place
        .compute(&["check", "r.ron", "--set", "data.per_class=2"])
        .refused(2, &["`data.per_class` is 2", "images without labels have no class"]);
}

/// Answers one request, then is gone; returns the address of a file on it.
fn serve(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/file", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let (mut request, mut byte) = (Vec::new(), [0]);
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("a request") == 1 {
            request.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).expect("an answer");
    });
    url
}

#[test]
fn data_get_tells_bad_input_from_failed_downloads() {
    let place = Place::new();
    let get = |name: &str, url: &str| place.admix(&["data", "get", name, "--url", url]);
    place.admix(&["data", "get", "cifar1O"]).refused(2, &["`NAME` is `cifar1O`", "Did you mean `cifar10`"]);
    place.admix(&["data", "get", "imagenet"]).refused(2, &["https://image-net.org", "imagenet/train/CLASS/"]);
    get("stl10", "stl10.tar.gz").refused(2, &["`--url` is `stl10.tar.gz`", "http://"]);
    place.admix(&["data", "get", "stl10", "--mirror", "x"]).bad_flag(&["--mirror"]);
    let url = serve("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    get("stl10", &url).refused(1, &["cannot get", &url, "404 Not Found"]);
    // The server is gone.
    get("stl10", &url).refused(1, &["cannot get", &url]);
    let url = serve("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad");
    get("stl10", &url).refused(1, &["bae60998ffe4923b131e3d6e4c19993e", "91f7769df0f17e558f3565bffb0c7dfb"]);
    let left = std::fs::read_dir(place.path("data")).expect("a folder").count();
    assert_eq!(left, 0, "the file was removed");
    let said = place.admix(&["data", "get", "toy"]).good().stdout;
    assert!(said.contains("toy is ready in data (was there already)"), "{said}");
}

#[test]
fn datasets_and_augmentations_are_listed_and_told_as_plugins() {
    let place = Place::new();
    let told = |arguments: &[&str]| place.admix(arguments).good().stdout;
    let all = told(&["plugins", "dataset"]);
    for name in ["cifar10", "cifar100", "fashion-mini", "fashion-mnist", "stl10", "tiny_imagenet", "toy"] {
        assert!(all.contains(name), "{name}: {all}");
    }
    assert!(!all.contains("cutmix"), "{all}");
    let stl10 = told(&["plugins", "dataset", "stl10"]);
    for part in ["100000 without labels", "10 folds", "admix data get stl10", "data: (name: \"stl10\"),"] {
        assert!(stl10.contains(part), "{part}: {stl10}");
    }
    assert!(told(&["plugins", "dataset", "toy"]).contains("toy: (classes: 4)"));
    assert!(told(&["datasets"]).contains("cifar100"));
    assert!(told(&["datasets", "stl10"]).contains("to get it: `admix data get stl10`"));
    let all = told(&["plugins", "augmentations"]);
    assert!(["moco", "resized_crop", "shift"].iter().all(|name| all.contains(name)), "{all}");
    let moco = told(&["plugins", "augmentation", "moco"]);
    for part in ["scale: (0.2, 1.0)", "images of any size", "augment: Moco(", "Bilinear | Bicubic"] {
        assert!(moco.contains(part), "{part}: {moco}");
    }
    place.write("r.ron", "(epochs: 1, method: \"mixup\", data: (name: \"toy\", augment: Moco(size: 16)))");
    let shown = told(&["show", "r.ron"]);
    assert!(shown.contains("data.augment.size") && shown.contains("data.augment.blur"), "{shown}");
    let refused = place.admix(&["run", "r.ron", "--set", "data.augment=Mocco()", "--dry-run"]);
    refused.refused(2, &["no augmentation named `Mocco`", "Did you mean `moco`?"]);
    let refused = place.admix(&["run", "r.ron", "--set", "data.augment.scale=(2.0, 1.0)", "--dry-run"]);
    refused.refused(2, &["`data.augment.scale` is (2, 1)"]);
}
