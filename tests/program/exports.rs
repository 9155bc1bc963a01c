//! Trained networks as files for others.

use std::fs;
use std::path::Path;
use std::process::Command;

use admix_engine::Checkpoint;
use admix_torch::Device;
use admix_weights::{Format, WeightFile};
use serde_json::Value;

use super::resume::file_of;
use super::{Place, TINY};

/// A place with a trained run, `run`, of the networks `q` and `k`.
fn trained() -> Place {
    let place = Place::new();
    place.write("r.ron", TINY);
    place.compute(&["run", "r.ron", "--out", "run"]).good();
    place
}

fn export(place: &Place, more: &[&str]) -> super::Outcome {
    place.compute(&[&["export", "run"], more].concat())
}

/// Fails unless a file has these values of the network of a checkpoint.
#[track_caller]
fn holds(place: &Place, file: &str, net: &str, pairs: &[(&str, &str)]) {
    let held = Checkpoint::read(&file_of(place, "run", 16), Device::Cpu).expect("a checkpoint").tensors;
    let file = WeightFile::open(place.path(file)).expect("weights");
    for (theirs, ours) in pairs {
        assert_eq!(file.tensor(theirs).expect("a tensor"), held[&format!("net.{net}.{ours}")], "{theirs}");
    }
}

#[test]
fn a_network_is_written_in_both_kinds_of_file_by_the_names_of_others_or_its_own() {
    let place = trained();
    let trunk = [("conv1.weight", "backbone.conv1.weight"), ("bn3.running_var", "backbone.bn3.running_var")];
    for (file, format) in [("w.pth", Format::PyTorch), ("w.safetensors", Format::Safetensors)] {
        export(&place, &["--net", "q", "-o", file]).good();
        let head = [("fc.weight", "head.mix.fc.weight"), ("fc.bias", "head.mix.fc.bias")];
        holds(&place, file, "q", &[trunk, head].concat());
        let read = WeightFile::open(place.path(file)).expect("weights");
        assert_eq!((read.format(), read.names().count()), (format, 17));
    }
    export(&place, &["--net", "q", "--head", "one", "-o", "one.pth"]).good();
    holds(&place, "one.pth", "q", &[("fc.weight", "head.one.fc.weight")]);
    export(&place, &["--net", "q", "--format", "admix", "-o", "own.pth"]).good();
    let own = ["backbone.conv1.weight", "head.one.fc.weight", "head.mix.fc.bias"].map(|name| (name, name));
    holds(&place, "own.pth", "q", &own);
    let said = export(&place, &["--net", "q", "-o", "j.pth", "--report", "json"]).good().stdout;
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (&said["format"], &said["classifier"], &said["head"]),
        (&"plain".into(), &"fc".into(), &"mix".into())
    );
    assert_eq!(said["left_out"], serde_json::json!(["head.one"]));
}

#[test]
fn the_batch_norms_of_a_momentum_network_are_those_of_the_evaluation() {
    let place = trained();
    // Between two evaluations: one leaves its values in the checkpoint that follows it.
    let checkpoint = file_of(&place, "run", 14);
    let export = |more: &[&str]| {
        let path = checkpoint.display().to_string();
        place.compute(&[&["export", &path, "--net", "k"], more].concat()).good()
    };
    export(&["--running-values", "-o", "kept.pth"]);
    export(&["-o", "new.pth"]);
    export(&["-o", "again.pth"]);
    let held = Checkpoint::read(&checkpoint, Device::Cpu).expect("a checkpoint").tensors;
    let same = |file: &str, name: &str| {
        let file = WeightFile::open(place.path(file)).expect("weights");
        file.tensor(name).expect("a tensor") == held[&format!("net.k.backbone.{name}")]
    };
    for (name, is_moved) in
        [("conv1.weight", false), ("bn1.bias", false), ("bn1.running_mean", true), ("bn3.running_var", true)]
    {
        assert!(same("kept.pth", name), "{name}");
        assert_eq!(same("new.pth", name), !is_moved, "{name}");
    }
    let bytes = |file: &str| fs::read(place.path(file)).expect("a file");
    assert_eq!(bytes("new.pth"), bytes("again.pth"));
}

#[test]
fn a_card_says_what_a_user_of_the_weights_must_know() {
    let place = trained();
    export(&place, &["-o", "w.safetensors"]).good();
    let card = fs::read_to_string(place.path("w.safetensors.md")).expect("a card");
    for words in [
        "# w.safetensors",
        "`k`, head `mix`",
        "toy, 4 classes",
        "16x16 (height x width), red, green, blue",
        "mean [",
        "estimated anew on training images",
        "2 of 2 epochs, 16 steps",
        "top-1 ",
        "random weights",
        "| recipe | r.ron |",
        "## Classes\n\n- 0: ",
        "mixers: {\"amix\": AMix(alpha: 2.0)}",
    ] {
        assert!(card.contains(words), "{words}: {card}");
    }
    // A run that starts from the file knows what its images were normalised by.
    let init = ["run", "r.ron", "--init", "w.safetensors", "--max-steps", "1", "--out", "next"];
    place.compute(&init).good();
    let facts = fs::read_to_string(place.path("next/run.json")).expect("facts");
    let facts: Value = serde_json::from_str(&facts).expect("JSON");
    assert_eq!(
        (&facts["started_from"]["matched"], &facts["started_from"]["same_normalisation"]),
        (&15.into(), &true.into())
    );
}

#[test]
fn what_cannot_be_written_is_refused_and_nothing_is_replaced_unasked() {
    let place = trained();
    place.write("taken.pth", "mine");
    place.write("card.pth.md", "mine");
    for (more, words) in [
        (&["-o", "w.onnx"][..], &["--output w.onnx", ".safetensors or .pth"][..]),
        (&["-o", "taken.pth"], &["taken.pth exists already", "--force"]),
        (&["-o", "card.pth"], &["card.pth.md exists already"]),
        (&["-o", "no/w.pth"], &["there is no folder no"]),
        (&["-o", "w.pth", "--format", "timm"], &["--format timm", "convnet", "`plain`", "detectron2"]),
        (&["-o", "w.pth", "--format", "detectron2"], &["ends in .pkl"]),
        (&["-o", "w.pth", "--format", "safetensors"], &["ends in .safetensors"]),
        (&["-o", "w.pkl"], &["only with --format detectron2"]),
        (&["-o", "w.pkl", "--format", "detectron2"], &["ResNet or ResNeXt with the large stem", "convnet"]),
        (&["-o", "w.pth", "--net", "z"], &["--net z", "`q`, `k`"]),
    ] {
        export(&place, more).refused(2, words);
    }
    assert_eq!(fs::read_to_string(place.path("taken.pth")).expect("a file"), "mine");
    assert!(!place.path("w.pth").exists() && !place.path("w.pkl").exists());
    place.write("taken.pth.partial", "mine");
    export(&place, &["-o", "taken.pth", "--force"]).good();
    assert_eq!(fs::read_to_string(place.path("taken.pth.partial")).expect("a file"), "mine");
    assert!(WeightFile::open(place.path("taken.pth")).is_ok());
}

/// Reads a pickle with functions of its own in place of NumPy's, and prints names, shapes and sums.
const UNPICKLE: &str = r#"
import json, pickle, struct, sys

class Reader(pickle.Unpickler):
    def find_class(self, module, name):
        def frombuffer(data, kind):
            assert kind == "<f4"
            return struct.unpack(f"<{len(data) // 4}f", data)
        return {("numpy", "frombuffer"): frombuffer, ("numpy", "reshape"): lambda array, shape: (array, shape)}[module, name]

file = Reader(open(sys.argv[1], "rb"), encoding="latin1").load()
assert file.pop("__author__") == "Admix" and file.pop("matching_heuristics") is True
model = {name: [list(shape), array[0], len(array)] for name, (array, shape) in file.pop("model").items()}
assert not file
print(json.dumps(model))
"#;

fn unpickled(path: &Path) -> Value {
    let said = Command::new("python3").args(["-c", UNPICKLE]).arg(path).output().expect("python3");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    serde_json::from_slice(&said.stdout).expect("JSON")
}

#[test]
fn detectron2_gets_a_trunk_by_its_own_names() {
    let place = Place::new();
    place.write("r.ron", TINY);
    let large =
        ["--set", "model=ResNet(depth: 18, stem: Large)", "--set", "pairs=[]", "--set", "heads=[\"one\"]"];
    let plain = ["--set", "method=\"mixup\"", "--set", "mixers={}", "--set", "losses={}", "--max-steps", "1"];
    place.compute(&[&["run", "r.ron", "--out", "run"], &large[..], &plain[..]].concat()).good();
    export(&place, &["--format", "detectron2", "-o", "w.pkl"]).good();
    let model = unpickled(&place.path("w.pkl"));
    let model = model.as_object().expect("arrays");
    // 20 convolutions with a BatchNorm of four arrays each.
    assert_eq!(model.len(), 100);
    let held = Checkpoint::read(&file_of(&place, "run", 1), Device::Cpu).expect("a checkpoint").tensors;
    for (theirs, ours) in [
        ("stem.conv1.weight", "conv1.weight"),
        ("res3.0.shortcut.norm.running_var", "layer2.0.downsample.1.running_var"),
        ("res5.1.conv2.norm.bias", "layer4.1.bn2.bias"),
    ] {
        let ours = &held[&format!("net.q.backbone.{ours}")];
        let first = ours.flatten(0, -1).double_value(&[0]);
        assert_eq!(model[theirs], serde_json::json!([ours.size(), first, ours.numel()]), "{theirs}");
    }
    let said = fs::read_to_string(place.path("w.pkl.md")).expect("a card");
    assert!(said.contains("left out") && said.contains("head.one"), "{said}");
}
