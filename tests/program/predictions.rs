//! What trained networks say of pictures.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use admix_torch::{Device, Kind};
use serde_json::Value;

use super::streaming::{jpeg, pictures};
use super::{Outcome, Place};

/// A place with a trained run on its pictures, `run`.
fn trained() -> Place {
    let place = pictures();
    place.compute(&["run", "stream.ron", "--out", "run"]).good();
    place
}

/// The best class of each picture and the probability of every class, by path.
fn told(outcome: &Outcome) -> BTreeMap<String, Vec<(String, f64)>> {
    let read = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let classes = line["classes"].as_array().expect("classes").iter();
        let name = |one: &Value| one["class"].as_str().expect("a name").to_owned();
        let share = |one: &Value| one["probability"].as_f64().expect("a share");
        (
            line["path"].as_str().expect("a path").to_owned(),
            classes.map(|one| (name(one), share(one))).collect(),
        )
    };
    outcome.stdout.lines().map(read).collect()
}

fn evaluated(place: &Place, more: &[&str]) -> Value {
    let said = place.compute(&[&["eval", "run", "--format", "json"], more].concat()).good().stdout;
    serde_json::from_str::<Value>(&said).expect("JSON")["heads"].clone()
}

/// Mean cross-entropy of predictions, whose label is the folder.
fn loss(predictions: &BTreeMap<String, Vec<(String, f64)>>) -> f64 {
    let of = |(path, classes): (&String, &Vec<(String, f64)>)| {
        let label = path.rsplit('/').nth(1).expect("a folder");
        -classes.iter().find(|(name, _)| name == label).expect("its class").1.ln()
    };
    predictions.iter().map(of).sum::<f64>() / predictions.len() as f64
}

#[test]
fn predictions_are_those_of_the_evaluation_image_for_image() {
    let place = trained();
    let lines = |split: &str| -> Vec<String> {
        let mut all = Vec::new();
        for class in ["ant", "bee"] {
            let folder = place.path(format!("data/pictures/{split}/{class}"));
            let names = fs::read_dir(folder).expect("a folder").map(|one| one.expect("a file").file_name());
            let mut names: Vec<String> = names.map(|name| name.into_string().expect("UTF-8")).collect();
            names.sort();
            all.extend(names.into_iter().map(|name| format!("{split}/{class}/{name} {class}")));
        }
        all
    };
    place.write("data/pictures/train.txt", lines("train").join("\n"));
    for net in ["q", "k"] {
        let predict = ["predict", "run", "data/pictures/val", "--format", "json", "--net", net];
        let predictions = told(&place.compute(&predict).good());
        assert_eq!(predictions.len(), 8);
        let head = format!("mix_{net}");
        let whole = evaluated(&place, &[])[&head]["loss"].as_f64().expect("a loss");
        assert!((loss(&predictions) - whole).abs() < 1e-5, "{net}: {} {whole}", loss(&predictions));
        for line in lines("val") {
            place.write("data/pictures/one.txt", &line);
            let lists = ["--set", "data.train_list=\"train.txt\"", "--set", "data.test_list=\"one.txt\""];
            let right = evaluated(&place, &lists)[&head]["top1"].as_f64().expect("a share") == 100.0;
            let (path, class) = line.split_once(' ').expect("a label");
            let best = &predictions[&format!("data/pictures/{path}")][0].0;
            assert_eq!(best == class, right, "{net}: {line}: {best}");
        }
    }
}

#[test]
fn pictures_of_another_size_become_what_an_import_made_of_them() {
    let place = pictures();
    place.admix(&["data", "import", "data/pictures", "--name", "packed", "--size", "16x16"]).good();
    let recipe = fs::read_to_string(place.path("stream.ron")).expect("a recipe");
    let recipe = recipe.replace("\"pictures\"", "\"packed\"").replace(", test_resize: Some(18)", "");
    place.write("packed.ron", recipe);
    place.compute(&["run", "packed.ron", "--out", "run"]).good();
    let predict = ["predict", "run", "data/pictures/val", "--format", "json", "--net", "k"];
    let found = loss(&told(&place.compute(&predict).good()));
    let wanted = evaluated(&place, &[])["mix_k"]["loss"].as_f64().expect("a loss");
    assert!((found - wanted).abs() < 1e-5, "{found} {wanted}");
}

#[test]
fn an_unreadable_picture_is_named_and_the_others_are_told_of() {
    let place = trained();
    place.write("some/a b,c.jpg", jpeg(3));
    place.write("some/broken.jpg", b"\xff\xd8 no picture");
    place.write("list.txt", "some/a b,c.jpg 0\nnone.png 1\n");
    let flags = ["--format", "csv", "--top", "1", "--features", "f.npy"];
    let outcome = place.compute(&[&["predict", "run", "some", "list.txt"], &flags[..]].concat());
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "path,rank,class,probability"), "{}", outcome.stdout);
    assert!(lines[1].starts_with("\"some/a b,c.jpg\",1,") && lines[1] == lines[2], "{}", outcome.stdout);
    for word in ["some/broken.jpg", "none.png", "error: 2 of 4 pictures could not be read"] {
        assert!(outcome.stderr.contains(word), "{word}: {}", outcome.stderr);
    }
    let npy = fs::read(place.path("f.npy")).expect("features");
    assert!(npy.starts_with(b"\x93NUMPY"), "{npy:?}");
    let text = String::from_utf8_lossy(&npy[..128]).into_owned();
    assert!(text.contains("'shape': (2, 8)") && text.contains("'<f4'"), "{text}");
    assert_eq!(npy.len(), 128 + 2 * 8 * 4);

    // Those of the probes: equal pictures give equal rows, in either file.
    let again = ["predict", "run", "list.txt", "some/a b,c.jpg", "--features", "f.safetensors"];
    let outcome = place.compute(&again);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stdout.lines().all(|line| line.starts_with("some/a b,c.jpg: ")), "{}", outcome.stdout);
    let features = admix_models::load_safetensors(place.path("f.safetensors"), Device::Cpu).expect("a file");
    let (name, rows) = &features[0];
    assert_eq!((name.as_str(), rows.size(), rows.kind()), ("features", vec![2, 8], Kind::Float));
    assert_eq!(rows.get(0), rows.get(1));
    let values = Vec::<f32>::try_from(rows.get(0)).expect("values");
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(npy[npy.len() - 32..], bytes);
}

#[test]
fn a_picture_whose_name_is_not_utf_8_is_told_like_any_other() {
    let place = trained();
    place.write("odd/a.jpg", jpeg(1));
    let odd = place.path("odd").join(OsStr::from_bytes(b"b\xff.jpg"));
    fs::copy(place.path("odd/a.jpg"), odd).expect("copied");
    let outcome = place.compute(&["predict", "run", "odd", "--format", "json"]).good();
    assert_eq!(told(&outcome).len(), 2, "{}", outcome.stdout);
}

#[test]
fn what_cannot_be_predicted_is_refused_before_anything_is_read() {
    let place = trained();
    place.write("taken.npy", "mine");
    place.write("a.jpg", jpeg(1));
    let predict = |more: &[&str]| place.compute(&[&["predict", "run"], more].concat());
    predict(&["none.jpg"]).refused(2, &["none.jpg"]);
    predict(&["a.jpg", "--features", "f.txt"]).refused(2, &["--features f.txt", ".safetensors or .npy"]);
    predict(&["a.jpg", "--features", "taken.npy"]).refused(2, &["taken.npy exists already", "--force"]);
    predict(&["a.jpg", "--features", "no/f.npy"]).refused(2, &["there is no folder no"]);
    predict(&["a.jpg", "--net", "z"]).refused(2, &["--net z", "`q`, `k`"]);
    predict(&["a.jpg", "--head", "z"]).refused(2, &["--head z", "`one`, `mix`"]);
    place.compute(&["predict", "elsewhere", "a.jpg"]).refused(2, &["elsewhere", "no such run"]);
    assert_eq!(fs::read_to_string(place.path("taken.npy")).expect("a file"), "mine");
    // Images that the network was not trained on.
    let other = ["--set", "data.mean=[0.1, 0.2, 0.3]", "--set", "data.std=[1.0, 1.0, 1.0]"];
    predict(&[&["a.jpg", "--net", "k"], &other[..]].concat())
        .refused(2, &["a mean of [0.1, 0.2, 0.3]", "expected"]);
    // The momentum network needs training images.
    fs::rename(place.path("data"), place.path("moved")).expect("moved");
    predict(&["a.jpg", "--net", "k"]).refused(2, &["network `k`", "data.root", "--running-values"]);
    for more in [&["k", "--running-values"][..], &["q"], &["k", "--set", "data.root=\"moved\""]] {
        predict(&[&["a.jpg", "--net"], more].concat()).good();
    }
    // Without classes there are features alone.
    let moved =
        ["run", "stream.ron", "--set", "data.root=\"moved\"", "--max-steps", "1", "--out", "headless"];
    let bare = [
        "--set",
        "heads=[]",
        "--set",
        "method=\"moco\"",
        "--set",
        "losses={}",
        "--set",
        "queues={\"keys\": (length: 8)}",
    ];
    let bare = [
        &bare[..],
        &[
            "--set",
            "mixers={}",
            "--set",
            "pairs=[(momentum: 0.9, when: BeforeStep)]",
            "--set",
            "accumulate=1",
        ],
    ]
    .concat();
    place.compute(&[&moved[..], &bare[..]].concat()).good();
    place.compute(&["predict", "headless", "a.jpg"]).refused(2, &["has no head", "--features FILE"]);
    let outcome = place.compute(&["predict", "headless", "a.jpg", "--features", "h.npy"]).good();
    assert_eq!(outcome.stdout, "");
    assert!(place.path("h.npy").is_file());
}
