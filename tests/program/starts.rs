//! Runs that start from weights of other programs and of other runs.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use admix_engine::Checkpoint;
use admix_torch::{Device, Tensor};
use admix_weights::WeightFile;
use serde_json::Value;

use super::resume::{file_of, same_state};
use super::{Place, repository};

/// A recipe for the network of `tests/fixtures/weights`, whose rate moves nothing that float32 shows.
const SMALL: &str = r#"(
    epochs: 2,
    batch: 8,
    data: (name: "toy", crop: None, toy: (train: 64, test: 32, classes: 5, size: 16)),
    model: ConvNet(widths: [4, 4], strides: [1, 2]),
    heads: ["one"],
    pairs: [(from: "q", to: "k", momentum: 0.99)],
    method: "amix",
    mixers: {"amix": AMix(alpha: 2.0, stage: 2)},
    heads: ["one", "mix"],
    losses: {"mask": Mask(margin: 0.1)},
    optimizer: Sgd(lr: 1e-12, weight_decay: 0.0),
    checkpoint: (every_steps: Some(2)),
)"#;

fn weights(name: &str) -> String {
    repository().join("tests/fixtures/weights").join(name).display().to_string()
}

fn place() -> Place {
    let place = Place::new();
    place.write("r.ron", SMALL.replacen("    heads: [\"one\"],\n", "", 1));
    place
}

fn facts(place: &Place, run: &str) -> Value {
    let text = fs::read_to_string(place.path(run).join("run.json")).expect("run.json");
    serde_json::from_str::<Value>(&text).expect("JSON")["started_from"].clone()
}

fn tensors(file: &Path) -> BTreeMap<String, Tensor> {
    Checkpoint::read(file, Device::Cpu).expect("a checkpoint").tensors
}

/// Fails unless networks of a checkpoint have the convolutions of a weight file.
#[track_caller]
fn starts_from(checkpoint: &Path, nets: &[&str], file: &str, prefix: &str) {
    let (held, file) = (tensors(checkpoint), WeightFile::open(weights(file)).expect("weights"));
    for net in nets {
        for layer in ["conv1.weight", "bn1.bias", "conv2.weight", "bn2.weight"] {
            let (ours, theirs) = (&held[&format!("net.{net}.backbone.{layer}")], format!("{prefix}{layer}"));
            let theirs = file.tensor(&theirs).expect("a tensor");
            assert!(ours.allclose(&theirs, 1e-6, 1e-7, false), "{net}: {layer}");
        }
    }
}

#[test]
fn networks_and_their_followers_start_from_the_weights_of_a_file() {
    let place = place();
    for (file, prefix) in [
        ("plain.pth", ""),
        ("legacy.pth", ""),
        ("moco.pth", "state_dict.module.encoder_q."),
        ("openmixup.pth", "state_dict.backbone."),
    ] {
        let run = ["run", "r.ron", "--out", file, "--init", &weights(file), "--max-steps", "2"];
        let said = place.compute(&run).good().stdout;
        assert!(said.contains("all 10 tensors of the backbone"), "{said}");
        assert!(said.contains("with random values begin head.one, head.mix"), "{said}");
        starts_from(&file_of(&place, file, 2), &["q", "k"], file, prefix);
        let facts = facts(&place, file);
        assert_eq!((&facts["matched"], &facts["prefix"]), (&10.into(), &prefix.into()), "{facts}");
        assert_eq!(facts["sha256"], admix_fetch::sha256(Path::new(&weights(file))).expect("a sum"));
        assert!(facts["same_normalisation"].is_null() && facts["left_over"].as_array().is_some(), "{facts}");
    }
}

#[test]
fn a_run_that_started_from_a_file_is_resumed_to_the_same_bits_without_it() {
    let place = place();
    fs::copy(weights("plain.pth"), place.path("w.pth")).expect("copied");
    let run = |out: &'static str, more: &[&'static str]| {
        let flags = ["run", "r.ron", "--set", "optimizer.lr=0.1", "--init", "w.pth", "--out", out];
        [&flags, more].concat()
    };
    place.compute(&run("whole", &[])).good();
    place.compute(&run("parts", &["--max-steps", "6"])).good();
    fs::remove_file(place.path("w.pth")).expect("removed");
    place.compute(&run("parts", &["--resume"])).good();
    same_state(&file_of(&place, "whole", 16), &file_of(&place, "parts", 16));
    assert_eq!(facts(&place, "whole"), facts(&place, "parts"));
    // Whoever starts anew needs it.
    place.compute(&run("new", &[])).refused(2, &["init.from", "w.pth", "torchvision:"]);
    assert!(!place.path("new").exists());
}

#[test]
fn a_head_takes_the_classifier_of_the_file_where_it_fits() {
    let place = place();
    let run = |out: &str, heads: &str| {
        let init = format!("init=(from: {:?}, heads: {heads})", weights("openmixup.pth"));
        place.compute(&["run", "r.ron", "--out", out, "--set", &init, "--max-steps", "2"]).good();
        tensors(&file_of(&place, out, 2))["net.q.head.one.fc.weight"].shallow_clone()
    };
    let file = WeightFile::open(weights("openmixup.pth")).expect("weights");
    let theirs = file.tensor("state_dict.head.fc.weight").expect("a tensor");
    assert!(run("matching", "Matching").allclose(&theirs, 1e-6, 1e-7, false));
    assert!(!run("fresh", "Fresh").allclose(&theirs, 1e-3, 1e-3, false));
    assert_eq!(facts(&place, "matching")["more"], serde_json::json!(["head.one", "head.mix"]));
    // With other classes, it does not fit, and starts anew.
    let init = format!("init=(from: {:?}, heads: Matching)", weights("openmixup.pth"));
    let classes = ["--set", &init, "--set", "data.toy.classes=3", "--max-steps", "2"];
    place.compute(&[&["run", "r.ron", "--out", "three"], &classes[..]].concat()).good();
    assert_eq!(facts(&place, "three")["more"], serde_json::json!([]));
    assert_eq!(facts(&place, "three")["new"], serde_json::json!(["head.one", "head.mix"]));
    assert!(facts(&place, "matching")["new"].is_null());
}

#[test]
fn a_run_starts_from_another_runs_network_whose_images_must_be_normalised_alike() {
    let place = place();
    place.compute(&["run", "r.ron", "--out", "first", "--set", "optimizer.lr=0.1"]).good();
    let first = file_of(&place, "first", 16);
    let init = |net: &str| format!("init=(from: {:?}, net: {net:?}, heads: Matching)", first.display());
    let run = ["run", "r.ron", "--max-steps", "2", "--set"];
    for net in ["q", "k"] {
        place.compute(&[&run[..], &[&init(net), "--out", net]].concat()).good();
        let (from, to) = (tensors(&first), tensors(&file_of(&place, net, 2)));
        for layer in ["backbone.conv1.weight", "head.one.fc.weight"] {
            let (from, to) = (&from[&format!("net.{net}.{layer}")], &to[&format!("net.q.{layer}")]);
            assert!(from.allclose(to, 1e-6, 1e-7, false), "{net}: {layer}");
        }
        assert_eq!(facts(&place, net)["same_normalisation"], true);
    }
    let other = ["--set", "data.mean=[0.1, 0.2, 0.3]", "--out", "other"];
    let init = init("q");
    let flags = [&run[..], &[&init], &other].concat();
    place.compute(&flags).refused(2, &["`data.mean`", "0.1", "first", "write mean:"]);
}

#[test]
fn weights_that_do_not_fit_are_refused_by_run_and_check_before_anything_is_written() {
    let place = place();
    for (file, words) in [
        ("two.pth", &["init.from", "2 networks", "init.prefix"][..]),
        ("wide.pth", &["conv2.weight"]),
        ("quantised.pth", &["floating"]),
        ("poisoned.pth", &["NaN"]),
        ("deeper.pth", &["conv1.extra.weight"]),
        ("hostile_root.pth", &["without executing"]),
        ("make.py", &["neither safetensors nor"]),
    ] {
        for verb in ["run", "check"] {
            let set = format!("init.from={:?}", weights(file));
            let out: &[&str] = if verb == "run" { &["--out", "never"] } else { &[] };
            place.compute(&[&[verb, "r.ron", "--set", &set], out].concat()).refused(2, words);
        }
        assert!(!place.path("never").exists(), "{file}");
    }
    assert!(!place.path("hostile-was-executed").exists());
    let resnet = ["--set", "model=ResNet(width: 0.125)"];
    let init =
        ["check", "r.ron", "--set", &format!("init.from={:?}", weights("plain.pth"))].map(str::to_owned);
    let init: Vec<&str> = init.iter().map(String::as_str).chain(resnet).collect();
    place.compute(&init).refused(2, &["init.from", "tensors of this backbone", "`model`"]);
    place
        .compute(&["check", "r.ron", "--set", "init=(from: \"x\", prefix: Aut)"])
        .refused(2, &["Aut", "Auto"]);
    place.compute(&["run", "r.ron", "--init", "torchvision:resnet19"]).refused(2, &["resnet19", "resnet18"]);
}

#[test]
fn a_checkpoint_of_networks_without_usual_names_is_asked_for_one_by_its_name() {
    let place = place();
    let renamed = "pairs=[(from: \"q\", to: \"slow\", momentum: 0.99)]";
    let bare = [
        "--set",
        "method=\"mixup\"",
        "--set",
        "heads=[\"one\"]",
        "--set",
        "mixers={}",
        "--set",
        "losses={}",
        "--max-steps",
        "1",
    ];
    let first = [&["run", "r.ron", "--out", "first", "--set", renamed], &bare[..]].concat();
    place.compute(&first).good();
    let file = file_of(&place, "first", 1).display().to_string();
    let next = ["run", "r.ron", "--out", "next", "--init", &file];
    place.compute(&next).refused(2, &["holds 2 networks", "`init.net`, such as `net: \""]);
    let net = ["--set", &format!("init=(from: {file:?}, net: \"slow\")")];
    place.compute(&[&["run", "r.ron", "--out", "next", "--max-steps", "1"], &net[..]].concat()).good();
}

#[test]
fn images_of_other_channels_are_no_fault_of_the_networks_width() {
    let place = place();
    for model in [
        "WideResNet(depth: 10, width: 0.5)",
        "PreActResNet(width: 0.125)",
        "ResNet(width: 0.125)",
        "ViT(size: Tiny, patch: 4, image: 16, width: 0.125)",
        "ConvNeXt(patch: 1, width: 0.1)",
        "Swin(patch: 2, window: 4, width: 0.1)",
    ] {
        let model = format!("model={model}");
        let run = ["run", "r.ron", "--set", &model, "--set", "method=\"mixup\"", "--set", "mixers={}"];
        let run = [
            &run[..],
            &["--set", "losses={}", "--set", "pairs=[]", "--set", "heads=[\"one\"]", "--max-steps", "1"],
        ]
        .concat();
        place.compute(&[&run[..], &["--out", "grey", "--set", "data.toy.channels=1"]].concat()).good();
        place.compute(&["export", "grey", "-o", "grey.pth"]).good();
        let outcome = place.compute(&[&run[..], &["--out", "next", "--init", "grey.pth"]].concat());
        let outcome =
            outcome.refused(2, &["init.from", "has the shape", "that fits the `model` and the images"]);
        assert!(
            !outcome.stderr.contains("`model.width`") && !outcome.stderr.contains("`model.size`"),
            "{}",
            outcome.stderr
        );
        fs::remove_dir_all(place.path("grey")).expect("removed");
        fs::remove_file(place.path("grey.pth")).expect("removed");
        fs::remove_file(place.path("grey.pth.md")).expect("removed");
    }
}

/// A server of the hub on this machine. Tells its address; it answers so many requests.
fn hub(requests: usize, sum: String, content: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let own = address.clone();
    std::thread::spawn(move || {
        for _ in 0..requests {
            let (mut stream, _) = listener.accept().expect("a request");
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("bytes") == 1 {
                request.push(byte[0]);
            }
            let request = String::from_utf8(request).expect("text");
            let close = "Connection: close\r\n";
            let answer = if request.contains("/stored") {
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{close}\r\n", content.len())
            } else if request.contains("/pytorch_model.bin") {
                let tag = format!("X-Linked-Etag: \"{sum}\"\r\nLocation: {own}/stored\r\n");
                format!("HTTP/1.1 302 Found\r\n{tag}Content-Length: 0\r\n{close}\r\n")
            } else {
                format!("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n{close}\r\n")
            };
            stream.write_all(answer.as_bytes()).expect("sent");
            if request.starts_with("GET") && request.contains("/stored") {
                stream.write_all(&content).expect("sent");
            }
        }
    });
    address
}

#[test]
fn weights_by_address_are_fetched_once_and_compared_with_the_published_checksum() {
    let place = place();
    let content = fs::read(weights("model.bin")).expect("weights");
    let sum = admix_fetch::sha256(Path::new(&weights("model.bin"))).expect("a sum");
    let run = |endpoint: &str, out: &str| {
        let mut command = place.command(&["run", "r.ron", "--init", "hf:tiny/net", "--out", out]);
        command.args(["--max-steps", "2", "--device", "cpu", "--threads", "1"]);
        command.env("HF_ENDPOINT", endpoint).env("ADMIX_CACHE", place.path("cache"));
        super::finish(command.spawn().expect("the program starts"))
    };
    // A file that is not the published one is not kept.
    let wrong = hub(5, "0".repeat(64), content.clone());
    run(&wrong, "wrong").refused(1, &["SHA-256", &sum, "removed", "HF_ENDPOINT"]);
    // One question for `model.safetensors`, one for the file, two to get it, one for `config.json`.
    let right = hub(5, sum.clone(), content);
    run(&right, "right").good();
    // Nobody is asked again.
    run("http://127.0.0.1:1", "again").good();
    assert_eq!(facts(&place, "right")["sha256"], sum);
    assert!(place.path("cache/weights/hf/tiny/net/main/pytorch_model.bin").is_file());
}

#[test]
fn a_frozen_network_starts_from_its_own_weights_and_stays_there() {
    let place = place();
    let first = ["run", "r.ron", "--out", "first", "--max-steps", "1"];
    place.compute(&first).good();
    let method = "fn weights(t) { #{ one: 1.0 } }
        fn step(t) {
            let seen = t.pass(\"teacher\", t.images).features(1);
            t.log(\"seen\", seen);
            t.learn(#{ one: t.loss(\"cross_entropy\", t.pass(\"q\", t.images).logits(\"one\"), t.labels) });
        }";
    place.write("taught.rhai", method);
    let taught = |from: &str| {
        let teacher = format!(
            "other_nets={{\"teacher\": (model: ConvNet(widths: [4, 4], strides: [1, 2]), init: (from: {from:?}, net: \"k\"))}}"
        );
        let plain = [
            "method=\"taught.rhai\"",
            "heads=[\"one\"]",
            "mixers={}",
            "losses={}",
            "pairs=[]",
            "model=ConvNet(widths: [8], strides: [2])",
        ];
        let sets =
            plain.into_iter().chain([teacher.as_str()]).flat_map(|set| ["--set", set].map(String::from));
        let all: Vec<String> = ["run", "r.ron", "--out", "taught", "--max-steps", "2"]
            .map(String::from)
            .into_iter()
            .chain(sets)
            .collect();
        place.compute(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    taught("nowhere").refused(2, &["`other_nets.teacher.init.from`", "nowhere"]);
    taught("first").good();
    let (theirs, ours) = (tensors(&file_of(&place, "first", 1)), tensors(&file_of(&place, "taught", 2)));
    let mut held = 0;
    for (name, tensor) in ours.iter().filter(|(name, _)| name.starts_with("net.teacher.backbone.")) {
        assert!(tensor.equal(&theirs[&name.replace("net.teacher.", "net.k.")]), "{name}");
        held += 1;
    }
    assert!(held > 4, "{held}");
}
