//! Files of every layout, as the field's programs write them.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use admix_models::Naming;
use admix_torch::{Device, Kind, Tensor};

use crate::{Error, Format, Match, Matching, Own, WeightFile};

/// The length along the first axis, and the rest of the shape, of `ConvNet(widths: [4, 4])`.
fn own() -> Vec<Own> {
    let mut own = Vec::new();
    for (layer, inputs) in [(1, 3), (2, 4)] {
        own.push((format!("conv{layer}.weight"), vec![4, inputs, 3, 3]));
        for leaf in ["weight", "bias", "running_mean", "running_var"] {
            own.push((format!("bn{layer}.{leaf}"), vec![4]));
        }
    }
    own
}

/// What the script that wrote the files put in.
fn written(name: &str, shape: &[i64], start: f64) -> Tensor {
    let (layer, leaf) = name.split_once('.').unwrap();
    let digit = layer[layer.len() - 1..].parse::<f64>().unwrap();
    let offset = match (layer.starts_with("conv"), leaf) {
        (true, _) => 0.0,
        (_, "weight") => 10.0,
        (_, "bias") => 20.0,
        (_, "running_mean") => 30.0,
        _ => 40.0,
    };
    let ramp = Tensor::arange(shape.iter().product::<i64>(), (Kind::Float, Device::Cpu));
    let value = ((ramp * 0.37) + (start + offset + digit)).sin().reshape(shape);
    if leaf == "running_var" { &value * &value } else { value }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/weights").join(name)
}

const NAMINGS: [Naming; 1] = [Naming::same(&["torchvision"], "fc")];

fn find(name: &str, prefix: Option<&str>) -> Result<(WeightFile, Match), Error> {
    let file = WeightFile::open(path(name))?;
    let own = own();
    let matching =
        Matching { file: &file, own: &own, namings: &NAMINGS, prefix, misfit: &|_, _, _| Some("widths") };
    let found = matching.find()?;
    Ok((file, found))
}

#[track_caller]
fn holds(name: &str, prefix: Option<&str>, start: f64, at: &str) -> Match {
    let (file, found) = find(name, prefix).unwrap();
    assert_eq!(found.prefix, at, "{name}");
    for (tensor, shape) in own() {
        let value = file.weight(&found.names[&tensor], &shape).unwrap();
        let wanted = written(&tensor, &shape, start);
        // Another build of libtorch may take the sine by other instructions.
        assert!(value.allclose(&wanted, 1e-6, 1e-6, false), "{name}: {tensor}");
    }
    found
}

#[test]
fn every_layout_is_read_as_it_was_written() {
    for (name, at) in [
        ("plain.pth", ""),
        ("twenty_one_characters.pth", ""),
        ("legacy.pth", ""),
        ("model.bin", ""),
        ("moco.pth", "state_dict.module.encoder_q."),
        ("openmixup.pth", "state_dict.backbone."),
        ("timm.pth", "state_dict."),
        ("parallel.pth", "model.module."),
    ] {
        let found = holds(name, None, 0.0, at);
        assert!(found.left_over.iter().all(|name| !name.ends_with("num_batches_tracked")));
    }
    assert_eq!(WeightFile::open(path("legacy.pth")).unwrap().format(), Format::PyTorch);
}

#[test]
fn a_network_that_follows_another_is_left_alone_and_told() {
    assert_eq!(
        holds("moco.pth", None, 0.0, "state_dict.module.encoder_q.").followers,
        ["state_dict.module.encoder_k."]
    );
    assert_eq!(holds("timm.pth", None, 0.0, "state_dict.").followers, ["state_dict_ema."]);
    // Whoever wants it says so.
    holds("moco.pth", Some("state_dict.module.encoder_k."), 1.0, "state_dict.module.encoder_k.");
    holds("timm.pth", Some("state_dict_ema"), 1.0, "state_dict_ema.");
}

#[test]
fn what_is_not_used_is_told() {
    let left = holds("plain.pth", None, 0.0, "").left_over;
    assert_eq!(left, ["fc.bias", "fc.weight"]);
    let left = holds("openmixup.pth", None, 0.0, "state_dict.backbone.").left_over;
    assert!(left.contains(&"state_dict.head.fc.weight".to_string()), "{left:?}");
}

#[test]
fn half_precision_becomes_float32() {
    let (file, found) = find("half.pth", None).unwrap();
    for (tensor, shape) in own() {
        let value = file.weight(&found.names[&tensor], &shape).unwrap();
        assert_eq!(value.kind(), Kind::Float);
        assert!(value.allclose(&written(&tensor, &shape, 0.0), 1e-3, 1e-3, false), "{tensor}");
    }
}

#[track_caller]
fn refused(name: &str, words: &[&str]) {
    let error = find(name, None)
        .and_then(|(file, found)| {
            own().iter().try_for_each(|(own, shape)| file.weight(&found.names[own], shape).map(drop))
        })
        .expect_err(name)
        .to_string();
    for word in words {
        assert!(error.contains(word), "{name}: `{word}` is not in: {error}");
    }
}

#[test]
fn what_is_no_weight_of_this_network_is_refused_with_the_reason() {
    refused("quantised.pth", &["quantised.pth", "`conv1.weight`", "Int8", "floating"]);
    refused("two.pth", &["two.pth", "2 networks", "`a.`", "`b.`", "init.prefix"]);
    refused("deeper.pth", &["deeper.pth", "`conv1.extra.weight`", "layers that this network has not"]);
    refused("wide.pth", &["wide.pth", "`conv2.weight`", "[4, 8, 3, 3]", "[4, 4, 3, 3]", "`model.widths`"]);
    refused("poisoned.pth", &["poisoned.pth", "`bn1.running_mean`", "NaN"]);
}

#[test]
fn a_network_of_which_a_part_or_nothing_is_there_is_refused() {
    let file = WeightFile::open(path("openmixup.pth")).unwrap();
    let find = |own: &[Own]| {
        let matching =
            Matching { file: &file, own, namings: &NAMINGS, prefix: None, misfit: &|_, _, _| None };
        matching.find().expect_err("no such network").to_string()
    };
    let mut more = own();
    more.push(("conv3.weight".into(), vec![4, 4, 3, 3]));
    let error = find(&more);
    assert!(
        error.contains("10 of the 11") && error.contains("`state_dict.backbone.conv3.weight`"),
        "{error}"
    );
    let error = find(&[("stem.weight".into(), vec![4])]);
    assert!(error.contains("none of its") && error.contains("`stem.weight`"), "{error}");
}

#[test]
fn a_hostile_pickle_is_not_executed() {
    let here = tempfile::tempdir().unwrap();
    for name in ["hostile.pth", "hostile_root.pth"] {
        let copy = here.path().join(name);
        std::fs::copy(path(name), &copy).unwrap();
        let opened = WeightFile::open(&copy).and_then(|file| file.tensor("state_dict.conv1.weight"));
        if name == "hostile_root.pth" {
            let error = opened.expect_err(name).to_string();
            assert!(error.contains(name), "{error}");
        }
        let left: Vec<_> = std::fs::read_dir(here.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name == "hostile-was-executed"), "{left:?}");
    }
    assert!(!PathBuf::from("hostile-was-executed").exists());
}

#[test]
fn files_cut_anywhere_and_files_of_other_kinds_get_one_message() {
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("cut.pth");
    for name in ["plain.pth", "legacy.pth"] {
        let whole = std::fs::read(path(name)).unwrap();
        for length in (0..whole.len()).step_by(97) {
            std::fs::write(&cut, &whole[..length]).unwrap();
            let read = WeightFile::open(&cut).and_then(|file| {
                let names: Vec<String> = file.names().map(str::to_owned).collect();
                names.iter().try_for_each(|name| file.tensor(name).map(drop))
            });
            // What is cut off behind the last tensor of the older format is no loss.
            if let Err(error) = read {
                assert!(error.to_string().contains("cut.pth"), "{error}");
            }
        }
    }
    for bytes in [&b""[..], b"hello, world, this is text", &[0; 64], b"PK\x03\x04nothing"] {
        std::fs::write(&cut, bytes).unwrap();
        let error = WeightFile::open(&cut).unwrap_err().to_string();
        assert!(error.contains("cut.pth"), "{error}");
    }
    let error = WeightFile::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("folder"), "{error}");
}

/// A safetensors file with this header.
fn safetensors(header: &str, values: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; values]].concat()
}

#[test]
fn a_safetensors_header_that_lies_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.safetensors");
    let one = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    let cases: [(Vec<u8>, &str); 5] = [
        (safetensors(&format!("{{{one},{one}}}"), 8), "`a` twice"),
        (safetensors(&format!("{{{one}}}"), 4), "ends beyond its"),
        ([&u64::MAX.to_le_bytes()[..], b"{"].concat(), "header"),
        (safetensors(r#"{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,8]}}"#, 8), "safetensors"),
        (safetensors(r#"{"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}"#, 8), "store it as F32"),
    ];
    for (bytes, words) in cases {
        std::fs::write(&file, bytes).unwrap();
        let error = WeightFile::open(&file).expect_err(words).to_string();
        assert!(error.contains("w.safetensors") && error.contains(words), "{error}");
    }
    std::fs::write(&file, safetensors(&format!("{{{one}}}"), 8)).unwrap();
    assert_eq!(WeightFile::open(&file).unwrap().tensor("a").unwrap().size(), [2]);
}

/// A file of float32 vectors of four zeros.
fn vectors(path: &std::path::Path, metadata: &str, names: &[&str], pad: usize) {
    let entry = |(at, name): (usize, &&str)| {
        format!(r#""{name}":{{"dtype":"F32","shape":[4],"data_offsets":[{},{}]}}"#, 16 * at, 16 * at + 16)
    };
    let all: Vec<String> = names.iter().enumerate().map(entry).collect();
    let header = format!("{{{metadata}{}}}", all.join(","));
    std::fs::write(path, safetensors(&format!("{header:pad$}"), 16 * names.len())).unwrap();
}

fn found(path: &std::path::Path, own: &[&str], naming: Naming) -> Result<Match, Error> {
    let own: Vec<Own> = own.iter().map(|name| (name.to_string(), vec![4])).collect();
    let file = WeightFile::open(path)?;
    Matching { file: &file, own: &own, namings: &[naming], prefix: None, misfit: &|_, _, _| None }.find()
}

#[test]
fn a_classifier_beside_a_norm_of_the_backbone_is_no_layer_too_many() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.safetensors");
    let names = ["stem.weight", "head.norm.weight", "head.fc.weight"];
    vectors(&file, "", &names, 0);
    let naming = Naming::same(&["timm"], "head.fc");
    assert_eq!(found(&file, &names[..2], naming).unwrap().left_over, ["head.fc.weight"]);
    assert!(found(&file, &names[..2], Naming::same(&["other"], "fc")).is_err());
}

#[test]
fn one_more_numbered_layer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.safetensors");
    vectors(&file, "", &["conv1.weight", "conv2.weight", "conv3.weight"], 0);
    let error = found(&file, &["conv1.weight", "conv2.weight"], NAMINGS[0]).unwrap_err().to_string();
    assert!(error.contains("`conv3.weight`"), "{error}");
}

#[test]
fn the_optimisers_state_in_a_checkpoint_is_no_network() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.safetensors");
    let names = ["net.q.backbone.a", "optimizer.exp_avg.net.q.backbone.a"];
    vectors(&file, r#""__metadata__":{"admix":"{}"},"#, &names, 0);
    assert_eq!(found(&file, &["a"], NAMINGS[0]).unwrap().prefix, "net.q.backbone.");
    vectors(&file, "", &names, 0);
    assert!(found(&file, &["a"], NAMINGS[0]).is_err());
}

#[test]
fn a_header_whose_length_begins_like_a_pickle_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.safetensors");
    for pickle in [1, 2, 5] {
        vectors(&file, "", &["a"], 0x80 + 256 * pickle);
        assert_eq!(std::fs::read(&file).unwrap()[..2], [0x80, pickle as u8]);
        assert_eq!(WeightFile::open(&file).unwrap().format(), Format::Safetensors);
    }
}
