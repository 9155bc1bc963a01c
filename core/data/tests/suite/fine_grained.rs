//! Sets of photographs in folders of their own layout.

use std::fs;
use std::path::{Path, PathBuf};

use admix_data::{Aircraft, CreditStrip, DataConfig, Dataset, ResizedCrop, Split, Storage, TrainSplit};
use image::{ImageFormat, Rgb, RgbImage};
use tempfile::TempDir;

use crate::support::{
    bytes, catalogue, config, encode, error, info, numbers, open, opened, read, verify, write_folder,
};

fn streamed(root: &Path, name: &str) -> DataConfig {
    let augment = ResizedCrop { size: Some(8), ..ResizedCrop::default() };
    DataConfig { root: root.into(), augment: augment.into(), ..config(name) }
}

/// A picture of one brightness whose last 20 rows are black.
fn photo(height: u32, width: u32, grey: u8) -> Vec<u8> {
    let pixel = |_, y| if y < height - 20 { Rgb([grey; 3]) } else { Rgb([0; 3]) };
    encode(&RgbImage::from_fn(width, height, pixel), ImageFormat::Png)
}

fn refused(config: &DataConfig) -> String {
    error(opened(config))
}

/// The brightness of the middle of each image, as it is measured.
fn greys(data: &Dataset, split: Split, n: usize) -> Vec<u8> {
    let images = data.clean_batch(split, 0, n).unwrap().images;
    let (mean, std) = (f64::from(data.info().mean[0]), f64::from(data.info().std[0]));
    bytes(
        &((images.select(3, 4).select(2, 4).select(1, 0) * std + mean) * 255.0)
            .round()
            .to_kind(admix_torch::Kind::Uint8),
    )
}

const CUB: [(&str, &str); 4] = [
    ("classes.txt", "1 001.Black_footed_Albatross\n2 002.Indigo Bunting\n"),
    (
        "images.txt",
        "1 002.Indigo Bunting/a b.jpg\n2 001.A/x.jpg\n3 001.A/y.jpg\n10 002.Indigo Bunting/c.jpg\n4 001.A/z.jpg\n",
    ),
    ("image_class_labels.txt", "2 1\n1 2\n3 1\n4 1\n10 2\n"),
    ("train_test_split.txt", "1 1\n2 0\n3 1\n4 1\n10 0\n"),
];

fn birds() -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("CUB_200_2011");
    let images = [
        ("002.Indigo Bunting/a b", 10),
        ("001.A/x", 20),
        ("001.A/y", 30),
        ("002.Indigo Bunting/c", 40),
        ("001.A/z", 50),
    ];
    let images =
        images.map(|(name, grey)| (format!("images/{name}.jpg"), photo(60 + u32::from(grey), 80, grey)));
    let lists = CUB.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    write_folder(&folder, &[&images[..], &lists].concat());
    (root, folder)
}

#[test]
fn birds_are_joined_by_the_number_of_their_image() {
    let (root, _) = birds();
    let data = open(&streamed(root.path(), "cub200"));
    assert_eq!(data.info().class_names, ["001.Black_footed_Albatross", "002.Indigo Bunting"]);
    assert_eq!((data.info().train, data.info().test, data.view_size()), (3, 2, (8, 8)));
    // By class, then in the order of the list.
    assert_eq!(numbers(data.labels(Split::Train)), [0, 0, 1]);
    assert_eq!(greys(&data, Split::Train, 3), [30, 50, 10]);
    assert_eq!((numbers(data.labels(Split::Test)), greys(&data, Split::Test, 2)), (vec![0, 1], vec![20, 40]));
    assert!(data.worked().is_some());
    assert_eq!(info("cub200", root.path()).unwrap().classes, 2);
    assert_eq!(verify("cub200", root.path()).unwrap().bytes, (3 * 80 * (5 * 60 + 150)) as u64);
    let all = open(&DataConfig { split: TrainSplit::Unlabelled, ..streamed(root.path(), "cub200") });
    assert_eq!((all.info().classes, all.info().train), (0, 3));
    let few = open(&DataConfig { per_class: Some(1), ..streamed(root.path(), "cub200") });
    assert_eq!(greys(&few, Split::Train, 2), [30, 10]);
}

#[test]
fn tables_that_do_not_fit_each_other_are_told_by_file_and_line() {
    for (file, from, to, parts) in [
        ("classes.txt", "1 001", "2 001", &["classes.txt: line 2 is about `2`, as line 1 is"][..]),
        (
            "images.txt",
            "10 002",
            "11 002",
            &["images.txt: line 4 is about image 11", "image_class_labels.txt lacks"],
        ),
        (
            "image_class_labels.txt",
            "4 1",
            "4 3",
            &["image_class_labels.txt: line 4 gives the class `3`", "classes.txt lacks"],
        ),
        ("image_class_labels.txt", "4 1", "4", &["line 4 is `4`", "an identifier, a space and a value"]),
        (
            "train_test_split.txt",
            "3 1",
            "3 2",
            &["train_test_split.txt: line 3 gives `2`", "1 for training, 0 for testing"],
        ),
        (
            "train_test_split.txt",
            "4 1",
            "5 1",
            &["images.txt: line 5 is about image 4", "train_test_split.txt lacks"],
        ),
        (
            "image_class_labels.txt",
            "4 1",
            "4 1\n77 1",
            &["image_class_labels.txt: line 5 is about image 77", "images.txt lacks"],
        ),
        (
            "images.txt",
            "10 002",
            "10 ../images/002",
            &["line 4 names `../images/002", "not below the folder"],
        ),
        ("images.txt", "3 001.A/y.jpg", "3 001.A/x.jpg", &["is there twice", "in one split"]),
        (
            "classes.txt",
            "002.Indigo Bunting",
            "001.Black_footed_Albatross",
            &["classes.txt: the class `001.Black", "there twice"],
        ),
        ("train_test_split.txt", "1 1", "1 0", &["class `002.Indigo Bunting` has no training image"]),
        ("train_test_split.txt", "2 0\n3 1\n4 1\n10 0", "2 1\n3 1\n4 1\n10 1", &["there is no test image"]),
    ] {
        let (root, folder) = birds();
        let path = folder.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let text = refused(&streamed(root.path(), "cub200"));
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert!(text.contains("admix data get cub200"), "{text}");
    }
}

#[test]
fn birds_that_are_missing_are_told_and_their_pictures_are_named() {
    let (root, folder) = birds();
    let data = open(&streamed(root.path(), "cub200"));
    fs::remove_file(folder.join("images/001.A/y.jpg")).unwrap();
    let text = error(data.clean_batch(Split::Train, 0, 3));
    assert!(text.contains("001.A/y.jpg"), "{text}");
    let text = refused(&streamed(root.path(), "cub200"));
    for part in ["001.A/y.jpg is missing", "admix data get cub200"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    fs::remove_file(folder.join("images.txt")).unwrap();
    let text = refused(&streamed(root.path(), "cub200"));
    for part in ["CUB_200_2011", "expected images.txt", "admix data get cub200"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let status = |name: &str| catalogue(root.path()).into_iter().find(|set| set.name == name).unwrap().status;
    assert_eq!(status("cub200").to_string(), "missing");
    // What only folders and what only whole sets heed.
    let (root, _) = birds();
    let set = streamed(root.path(), "cub200");
    for (set, wanted) in [
        (DataConfig { train_list: Some("x".into()), ..set.clone() }, "has lists of its own"),
        (DataConfig { split: TrainSplit::TrainUnlabelled, ..set.clone() }, "`data.split`"),
        (DataConfig { fold: Some(1), ..set.clone() }, "`data.fold`"),
        (DataConfig { storage: Storage::Device, ..set.clone() }, "Stream, as the images differ in size"),
        (DataConfig { augment: DataConfig::default().augment, ..set }, "`data.augment` is Shift"),
    ] {
        assert!(refused(&set).contains(wanted), "{wanted}: {}", refused(&set));
    }
}

#[test]
fn a_table_that_is_a_pipe_is_refused_and_not_waited_for() {
    let (root, folder) = birds();
    let path = folder.join("images.txt");
    fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let text = refused(&streamed(root.path(), "cub200"));
    assert!(text.contains("images.txt") && text.contains("no ordinary file"), "{text}");
}

/// Variants in an order that is not that of their names.
fn aircraft() -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("fgvc-aircraft-2013b/data");
    let lists = [
        ("variants.txt", "F/A-18\nBoeing 717\nA300B4\nDC-10\n"),
        (
            "images_variant_trainval.txt",
            "0034309 Boeing 717\n0000002 F/A-18\n0000003 DC-10\n0000004 A300B4\n",
        ),
        ("images_variant_test.txt", "0000005 DC-10\n0000006 Boeing 717\n"),
    ];
    let lists = lists.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    let images = [
        ("0034309", 10),
        ("0000002", 20),
        ("0000003", 30),
        ("0000004", 40),
        ("0000005", 50),
        ("0000006", 60),
    ];
    // As high as the strip and a little: half of an image is black.
    let images = images.map(|(name, grey)| (format!("images/{name}.jpg"), photo(40, 20, grey)));
    write_folder(&folder, &[&images[..], &lists].concat());
    (root, folder)
}

#[test]
fn aircraft_are_labelled_by_variant_in_the_order_of_the_list() {
    let (root, _) = aircraft();
    let data = open(&streamed(root.path(), "aircraft"));
    assert_eq!(data.info().class_names, ["F/A-18", "Boeing 717", "A300B4", "DC-10"]);
    assert_eq!(numbers(data.labels(Split::Train)), [0, 1, 2, 3]);
    assert_eq!(numbers(data.labels(Split::Test)), [1, 3]);
    assert_eq!(verify("aircraft", root.path()).unwrap().bytes, 6 * 3 * 40 * 20);
}

#[test]
fn the_strip_with_the_credit_is_kept_or_removed() {
    let (root, folder) = aircraft();
    let with = |credit_strip, storage| {
        let sets = Aircraft { credit_strip }.into();
        DataConfig { sets, storage, ..streamed(root.path(), "aircraft") }
    };
    for storage in [Storage::Auto, Storage::Device] {
        let whole = open(&with(CreditStrip::Keep, storage));
        let cut = open(&with(CreditStrip::Remove, storage));
        let rows =
            |data: &Dataset| bytes(&data.u8_images(Split::Test, &[0]).unwrap().select(3, 4).select(1, 1));
        let (whole, cut) = (rows(&whole), rows(&cut));
        // The centre of a strip of 20 columns and 40 rows lies half in the black.
        assert!(whole.contains(&0) && whole.contains(&60), "{whole:?}");
        assert_eq!(cut, vec![60; cut.len()]);
    }
    let device = open(&with(CreditStrip::Remove, Storage::Device));
    assert_eq!((device.info().height, device.info().width), (20, 20));
    fs::write(folder.join("images/0000006.jpg"), photo(20, 20, 60)).unwrap();
    let cut = open(&with(CreditStrip::Remove, Storage::Auto));
    let text = error(cut.u8_images(Split::Test, &[0]));
    assert!(text.contains("0000006.jpg") && text.contains("it has 20 rows"), "{text}");
}

#[test]
fn the_strip_is_set_in_the_recipe_beside_the_name() {
    let removed: DataConfig = read(r#"(name: "aircraft", aircraft: (credit_strip: Remove))"#).unwrap();
    let sets = Aircraft { credit_strip: CreditStrip::Remove }.into();
    assert_eq!(removed, DataConfig { sets, ..config("aircraft") });
    let told = serde_json::to_value(&removed).unwrap();
    assert_eq!(told["aircraft"], serde_json::json!({"credit_strip": "Remove"}));
    let mut default = config("aircraft");
    default.complete(&crate::support::registry());
    assert_eq!(serde_json::to_value(&default).unwrap()["aircraft"]["credit_strip"], "Keep");
}

#[test]
fn variants_that_the_list_lacks_are_told() {
    for (file, from, to, parts) in [
        (
            "images_variant_test.txt",
            "Boeing 717",
            "Boeing 777",
            &["images_variant_test.txt: line 2 gives the variant `Boeing 777`"][..],
        ),
        ("variants.txt", "A300B4", "DC-10", &["variants.txt: the class `DC-10` is there twice"]),
        (
            "images_variant_trainval.txt",
            "0000003 DC-10",
            "0000003 F/A-18",
            &["class `DC-10` has no training image"],
        ),
    ] {
        let (root, folder) = aircraft();
        let path = folder.join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let text = refused(&streamed(root.path(), "aircraft"));
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}
