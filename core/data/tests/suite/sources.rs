//! Datasets by name: embedded, raw files, generated; what is missing and what is misspelt.

use std::fs;
use std::path::Path;

use admix_api::Streams;
use admix_data::{DataConfig, Moco, Split, Status, Toy, TrainSplit};

use crate::support::{
    bytes, catalogue, config, error, gz, info, numbers, open, opened, opened_from, read, verify,
};

fn refused(config: &DataConfig) -> String {
    error(opened(config))
}

#[test]
fn the_embedded_set_is_balanced_and_needs_no_files() {
    let data = open(&DataConfig { root: "/nowhere".into(), ..config("fashion-mini") });
    assert_eq!((data.len(Split::Train), data.len(Split::Test)), (6000, 1000));
    for (split, each) in [(Split::Train, 600), (Split::Test, 100)] {
        let labels = numbers(data.labels(split));
        assert!((0..10).all(|class| labels.iter().filter(|&&label| label == class).count() == each));
    }
}

#[test]
fn per_class_keeps_the_first_images_of_each_class_in_order() {
    let whole = open(&config("fashion-mini"));
    let part = open(&DataConfig { per_class: Some(7), ..config("fashion-mini") });
    assert_eq!((part.len(Split::Train), part.info().train, part.len(Split::Test)), (70, 70, 1000));
    let labels = numbers(whole.labels(Split::Train));
    let mut seen = [0; 10];
    let first: Vec<i64> = (0..6000)
        .filter(|&i| {
            seen[labels[i as usize] as usize] += 1;
            seen[labels[i as usize] as usize] <= 7
        })
        .collect();
    let all: Vec<i64> = (0..70).collect();
    assert_eq!(
        bytes(&part.u8_images(Split::Train, &all).unwrap()),
        bytes(&whole.u8_images(Split::Train, &first).unwrap())
    );
}

fn idx_images(n: u32, side: u32) -> Vec<u8> {
    let header = [0x0803, n, side, side].map(u32::to_be_bytes).concat();
    header.into_iter().chain((0..n * side * side).map(|i| i as u8)).collect()
}

fn idx_labels(labels: &[u8]) -> Vec<u8> {
    [0x0801, labels.len() as u32]
        .map(u32::to_be_bytes)
        .concat()
        .into_iter()
        .chain(labels.iter().copied())
        .collect()
}

fn write_fashion(root: &Path, zipped: bool) {
    let folder = root.join("fashion-mnist");
    fs::create_dir_all(&folder).unwrap();
    for (name, contents) in [
        ("train-images-idx3-ubyte", idx_images(3, 5)),
        ("train-labels-idx1-ubyte", idx_labels(&[9, 0, 4])),
        ("t10k-images-idx3-ubyte", idx_images(2, 5)),
        ("t10k-labels-idx1-ubyte", idx_labels(&[1, 1])),
    ] {
        match zipped {
            true => fs::write(folder.join(format!("{name}.gz")), gz(&contents)).unwrap(),
            false => fs::write(folder.join(name), contents).unwrap(),
        }
    }
}

#[test]
fn fashion_mnist_is_read_plain_and_zipped() {
    for zipped in [false, true] {
        let root = tempfile::tempdir().unwrap();
        write_fashion(root.path(), zipped);
        let data = open(&DataConfig { root: root.path().into(), ..config("fashion-mnist") });
        assert_eq!(numbers(data.labels(Split::Train)), [9, 0, 4]);
        let image = data.u8_images(Split::Train, &[1]).unwrap();
        assert_eq!(image.size(), [1, 1, 5, 5]);
        assert_eq!(bytes(&image), (25..50).collect::<Vec<u8>>());
    }
}

#[test]
fn a_cut_idx_file_and_a_wrong_label_are_named() {
    let root = tempfile::tempdir().unwrap();
    write_fashion(root.path(), false);
    let set = DataConfig { root: root.path().into(), ..config("fashion-mnist") };
    let images = root.path().join("fashion-mnist/train-images-idx3-ubyte");
    fs::write(&images, &idx_images(3, 5)[..40]).unwrap();
    let text = refused(&set);
    assert!(
        text.contains("train-images-idx3-ubyte: 24 bytes follow the header; expected 75 bytes"),
        "{text}"
    );
    fs::write(&images, idx_images(3, 5)).unwrap();
    fs::write(root.path().join("fashion-mnist/train-labels-idx1-ubyte"), idx_labels(&[9, 10, 4])).unwrap();
    assert!(refused(&set).contains("label 1 is 10; expected labels below 10"));
    fs::write(root.path().join("fashion-mnist/train-labels-idx1-ubyte"), idx_labels(&[9, 0])).unwrap();
    assert!(refused(&set).contains("2 labels for 3 images"));
}

fn record(labels: &[u8], fill: u8) -> Vec<u8> {
    labels.iter().copied().chain((0..3072).map(|i| fill.wrapping_add((i / 1024) as u8))).collect()
}

#[test]
fn cifar_binaries_are_read_in_file_order() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("cifar-10-batches-bin");
    fs::create_dir_all(&folder).unwrap();
    for i in 1..=5 {
        fs::write(folder.join(format!("data_batch_{i}.bin")), record(&[i], 10 * i)).unwrap();
    }
    fs::write(folder.join("test_batch.bin"), [record(&[9], 1), record(&[0], 2)].concat()).unwrap();
    let set = DataConfig { root: root.path().into(), ..config("cifar10") };
    let data = open(&set);
    assert_eq!(numbers(data.labels(Split::Train)), [1, 2, 3, 4, 5]);
    assert_eq!(numbers(data.labels(Split::Test)), [9, 0]);
    let image = bytes(&data.u8_images(Split::Train, &[4]).unwrap());
    assert_eq!((image[0], image[1024], image[3071]), (50, 51, 52));
    assert_eq!(data.info().mean, [0.4914, 0.4822, 0.4465]);
    assert_eq!(verify("cifar10", root.path()).unwrap().info.train, 5);

    fs::write(folder.join("data_batch_3.bin"), &record(&[3], 1)[..3000]).unwrap();
    let text = refused(&set);
    assert!(
        text.contains("data_batch_3.bin: the file has 3000 bytes; expected a multiple of 3073"),
        "{text}"
    );
    fs::write(folder.join("data_batch_3.bin"), record(&[10], 1)).unwrap();
    assert!(refused(&set).contains("record 0 has label 10; expected labels below 10"));
}

#[test]
fn cifar_100_has_the_fine_labels() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("cifar-100-binary");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("train.bin"), [record(&[4, 0], 1), record(&[19, 99], 2)].concat()).unwrap();
    fs::write(folder.join("test.bin"), record(&[0, 57], 3)).unwrap();
    let data = open(&DataConfig { root: root.path().into(), ..config("cifar100") });
    assert_eq!(numbers(data.labels(Split::Train)), [0, 99]);
    assert_eq!(data.info().class_names[57], "pear");
    assert_eq!(data.info().classes, 100);
}

#[test]
fn missing_data_says_where_it_was_sought_and_how_to_get_it() {
    let root = tempfile::tempdir().unwrap();
    let set = |name| DataConfig { root: root.path().into(), ..config(name) };
    let text = refused(&set("cifar10"));
    for part in [
        "dataset `cifar10` is not in",
        "cifar-10-batches-bin",
        "data_batch_1.bin",
        "test_batch.bin",
        "cifar10.admix",
        "cifar-10-binary.tar.gz",
        "admix data import PATH --name cifar10",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(refused(&set("fashion-mnist")).contains("t10k-images-idx3-ubyte"));
    write_fashion(root.path(), false);
    fs::remove_file(root.path().join("fashion-mnist/t10k-labels-idx1-ubyte")).unwrap();
    assert!(refused(&set("fashion-mnist")).contains("expected t10k-labels-idx1-ubyte (each"));
}

#[test]
fn an_unknown_name_suggests_the_nearest() {
    let text = refused(&config("cifar-1O"));
    assert!(
        text.contains("known: aircraft, cifar10, cifar100, cub200, fashion-mini, fashion-mnist, stl10, tiny_imagenet, toy"),
        "{text}"
    );
    assert!(text.contains("Did you mean `cifar10"), "{text}");
    assert!(text.contains("admix data import PATH --name cifar-1O"), "{text}");
    for name in ["", "../cifar10", "a/b", ".hidden", "a\\b", "-x"] {
        assert!(refused(&config(name)).contains("`data.name` is"), "{name}");
        assert!(info(name, Path::new("data")).is_err() && verify(name, Path::new("data")).is_err());
    }
}

#[test]
fn settings_out_of_range_are_named() {
    let toy = |toy: Toy| DataConfig { sets: toy.into(), ..config("toy") };
    for (set, field) in [
        (DataConfig { per_class: Some(0), ..config("toy") }, "data.per_class"),
        (DataConfig { fold: Some(10), ..config("stl10") }, "data.fold"),
        (DataConfig { fold: Some(0), ..config("toy") }, "data.fold"),
        (DataConfig { split: TrainSplit::Unlabelled, ..config("toy") }, "data.split"),
        (DataConfig { split: TrainSplit::TrainUnlabelled, ..config("cifar10") }, "data.split"),
        (
            DataConfig { split: TrainSplit::Unlabelled, per_class: Some(5), ..config("stl10") },
            "data.per_class",
        ),
        (DataConfig { crop: Some(0), ..config("toy") }, "data.crop"),
        (DataConfig { crop: Some(-4), ..config("toy") }, "data.crop"),
        (DataConfig { crop: Some(16), ..config("toy") }, "data.crop"),
        (DataConfig { std: Some(vec![0.0; 3]), ..config("toy") }, "data.std"),
        (DataConfig { mean: Some(vec![f64::NAN; 3]), ..config("toy") }, "data.mean"),
        (toy(Toy { classes: 1, ..Toy::default() }), "data.toy.classes"),
        (toy(Toy { train: 3, ..Toy::default() }), "data.toy.train"),
        (toy(Toy { test: 0, ..Toy::default() }), "data.toy.test"),
        (toy(Toy { size: 1 << 40, ..Toy::default() }), "data.toy.size"),
        (toy(Toy { channels: 0, ..Toy::default() }), "data.toy.channels"),
        (toy(Toy { train: usize::MAX, ..Toy::default() }), "data.toy.train"),
    ] {
        let text = refused(&set);
        assert!(text.starts_with(&format!("`{field}` is ")), "{field}: {text}");
    }
}

#[test]
fn a_recipe_reads_its_data_and_refuses_unknown_fields() {
    let toy = Toy { classes: 2, ..Toy::default() };
    assert_eq!(
        read(r#"(name: "toy", per_class: Some(5), crop: None, toy: (classes: 2))"#),
        Ok(DataConfig { per_class: Some(5), crop: None, sets: toy.into(), ..config("toy") })
    );
    let text = read("(flips: true)").unwrap_err();
    assert!(text.contains("flips"), "{text}");
    for (text, parts) in [
        ("(toy: (class: 3))", &["class", "classes"][..]),
        ("(toy: (classes: 3), toy: (train: 9))", &["duplicate field `toy`"]),
        ("(toys: (classes: 3))", &["unknown field `toys`", "`name`", "`aircraft`", "`toy`"]),
        ("(aircraft: (credit_strip: Cut))", &["Cut", "Keep"]),
    ] {
        let error = read(text).unwrap_err();
        assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
    }
}

#[test]
fn an_augmentation_without_settings_is_written_with_or_without_parentheses() {
    for text in ["(augment: Shift)", "(augment: Shift())", "(augment: Shift, flip: true)", "()"] {
        assert_eq!(read(text), Ok(DataConfig::default()), "{text}");
    }
    assert_eq!(
        read("(augment: Moco)"),
        Ok(DataConfig { augment: Moco::default().into(), ..config("fashion-mini") })
    );
    let size = Moco { size: Some(16), ..Moco::default() };
    assert_eq!(
        read("(augment: Moco(size: 16))"),
        Ok(DataConfig { augment: size.into(), ..config("fashion-mini") })
    );
    for (text, part) in [
        ("(augment: Shift(crop: 4))", "crop"),
        ("(augment: Mocco())", "Did you mean `moco`?"),
        ("(augment: Moco(scale: 1))", "Expected opening `(`"),
        ("(augment: Moco(size: 16)", "Expected"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn the_toy_set_is_balanced_and_made_from_the_streams_alone() {
    let toy = Toy { classes: 4, train: 40, test: 8, size: 8, channels: 3 };
    let set = DataConfig { sets: toy.clone().into(), crop: None, ..config("toy") };
    let images = |seed, set: &DataConfig| {
        let data = opened_from(set, Streams::new(seed)).unwrap();
        bytes(&data.u8_images(Split::Train, &(0..40).collect::<Vec<_>>()).unwrap())
    };
    assert_eq!(images(1, &set), images(1, &set));
    assert_ne!(images(1, &set), images(2, &set));
    let larger = DataConfig { sets: Toy { train: 80, ..toy }.into(), ..set.clone() };
    assert_eq!(images(1, &set), images(1, &larger));
    let labels = numbers(open(&set).labels(Split::Test));
    assert_eq!(labels, [0, 1, 2, 3, 0, 1, 2, 3]);
}

#[test]
fn the_catalogue_lists_all_and_says_what_is_there() {
    let root = tempfile::tempdir().unwrap();
    write_fashion(root.path(), true);
    fs::write(root.path().join("mine.admix"), "not a dataset").unwrap();
    let entries = catalogue(root.path());
    let found: Vec<(&str, Status)> = entries.iter().map(|e| (e.name.as_str(), e.status)).collect();
    assert_eq!(
        found,
        [
            ("aircraft", Status::Missing),
            ("cifar10", Status::Missing),
            ("cifar100", Status::Missing),
            ("cub200", Status::Missing),
            ("fashion-mini", Status::Ready),
            ("fashion-mnist", Status::Ready),
            ("stl10", Status::Missing),
            ("tiny_imagenet", Status::Missing),
            ("toy", Status::Ready),
            ("mine", Status::Damaged),
        ]
    );
    assert_eq!(Status::Missing.to_string(), "missing");
    assert_eq!(info("fashion-mnist", root.path()).unwrap().train, 3);
}
