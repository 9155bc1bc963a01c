//! STL-10 in its binary version: pixels, labels, folds, and images without labels.

use std::fs;
use std::path::Path;

use admix_api::Streams;
use admix_data::{DataConfig, Split, Status, Storage, TrainSplit};

use crate::support::{bytes, catalogue, config, error, numbers, open, opened, read, verify};

const PLANE: usize = 96 * 96;

/// The value of a pixel of an image: every place has its own.
fn value(image: u8, channel: usize, y: usize, x: usize) -> u8 {
    image.wrapping_mul(7).wrapping_add((channel * 50 + y * 3 + x) as u8)
}

/// One image as the files hold it, a plane column after column.
fn columns(image: u8) -> Vec<u8> {
    (0..3 * PLANE).map(|at| value(image, at / PLANE, at % 96, at % PLANE / 96)).collect()
}

/// The same image row after row.
fn rows(image: u8) -> Vec<u8> {
    (0..3 * PLANE).map(|at| value(image, at / PLANE, at % PLANE / 96, at % 96)).collect()
}

fn images(numbers: std::ops::Range<u8>) -> Vec<u8> {
    numbers.flat_map(columns).collect()
}

/// 6 training images (0 to 5), 3 test images (10 to 12) and 5 without labels (20 to 24).
fn write(root: &Path) -> DataConfig {
    let folder = root.join("stl10_binary");
    fs::create_dir_all(&folder).unwrap();
    let folds = ["5 0\n", "1 2\n"].concat() + &"3\n".repeat(8);
    for (name, contents) in [
        ("train_X.bin", images(0..6)),
        ("train_y.bin", vec![1, 10, 2, 3, 4, 5]),
        ("test_X.bin", images(10..13)),
        ("test_y.bin", vec![10, 1, 9]),
        ("unlabeled_X.bin", images(20..25)),
        ("fold_indices.txt", folds.into_bytes()),
    ] {
        fs::write(folder.join(name), contents).unwrap();
    }
    DataConfig { root: root.into(), ..config("stl10") }
}

fn refused(config: &DataConfig) -> String {
    error(opened(config))
}

#[test]
fn planes_are_turned_from_columns_to_rows_and_labels_begin_at_zero() {
    let root = tempfile::tempdir().unwrap();
    let data = open(&write(root.path()));
    assert_eq!(numbers(data.labels(Split::Train)), [0, 9, 1, 2, 3, 4]);
    assert_eq!(numbers(data.labels(Split::Test)), [9, 0, 8]);
    let image = data.u8_images(Split::Train, &[2]).unwrap();
    assert_eq!((image.size(), bytes(&image)), (vec![1, 3, 96, 96], rows(2)));
    assert_eq!(bytes(&data.u8_images(Split::Test, &[0, 2]).unwrap()), [rows(10), rows(12)].concat());
    let info = data.info();
    assert_eq!((info.train, info.test, info.unlabelled, info.classes), (6, 3, 5, 10));
    assert_eq!(info.class_names[9], "truck");
    assert_eq!((info.mean[0], info.std[2]), (0.485, 0.225));
    assert_eq!(numbers(data.labels(Split::Labelled)), numbers(data.labels(Split::Train)));
}

#[test]
fn images_without_labels_are_trained_on_and_those_with_labels_stay_at_hand() {
    let root = tempfile::tempdir().unwrap();
    let set = write(root.path());
    let data = open(&DataConfig { split: TrainSplit::Unlabelled, crop: None, flip: false, ..set.clone() });
    assert_eq!((data.len(Split::Train), data.len(Split::Labelled), data.len(Split::Test)), (5, 6, 3));
    assert_eq!((data.info().train, data.info().split), (5, TrainSplit::Unlabelled));
    assert_eq!(numbers(data.labels(Split::Train)), [-1; 5]);
    assert_eq!(numbers(data.labels(Split::Labelled)), [0, 9, 1, 2, 3, 4]);
    assert_eq!(bytes(&data.u8_images(Split::Train, &[4]).unwrap()), rows(24));
    assert_eq!(bytes(&data.u8_images(Split::Labelled, &[4]).unwrap()), rows(4));

    let mut draws = Streams::new(1).draws("order", "", 0, 0);
    assert_eq!(data.order(&mut draws).unwrap().size(), [5]);
    let order = data.order_of(Split::Labelled, &mut draws).unwrap();
    assert_eq!(order.size(), [6]);
    let batch = data
        .augmented_batch_of(Split::Labelled, &order, &[data.augmentation(6, &mut draws).unwrap()])
        .unwrap();
    let clean = data.clean_batch(Split::Labelled, 0, 6).unwrap();
    assert_eq!(batch.images, clean.images.index_select(0, &order));
    assert_eq!(batch.labels, clean.labels.index_select(0, &order));

    let both = open(&DataConfig { split: TrainSplit::TrainUnlabelled, ..set });
    assert_eq!(numbers(both.labels(Split::Train)), [0, 9, 1, 2, 3, 4, -1, -1, -1, -1, -1]);
    assert_eq!(bytes(&both.u8_images(Split::Train, &[5, 6]).unwrap()), [rows(5), rows(20)].concat());
    assert_eq!(bytes(&both.u8_images(Split::Labelled, &[5]).unwrap()), rows(5));
    assert_eq!(both.len(Split::Labelled), 6);
}

#[test]
fn a_fold_is_its_images_in_the_order_of_the_file() {
    let root = tempfile::tempdir().unwrap();
    let set = DataConfig { fold: Some(0), ..write(root.path()) };
    let data = open(&set);
    assert_eq!(numbers(data.labels(Split::Train)), [4, 0]);
    assert_eq!(bytes(&data.u8_images(Split::Train, &[0, 1]).unwrap()), [rows(5), rows(0)].concat());
    // What protocols learn from, when images without labels are trained on.
    let data = open(&DataConfig { split: TrainSplit::Unlabelled, fold: Some(1), ..set.clone() });
    assert_eq!((numbers(data.labels(Split::Labelled)), data.len(Split::Train)), (vec![9, 1], 5));
    let path = root.path().join("stl10_binary/fold_indices.txt");
    fs::write(&path, "6\n".repeat(10)).unwrap();
    let text = refused(&set);
    assert!(text.contains("fold_indices.txt: line 1 has `6`") && text.contains("below 6"), "{text}");
    fs::remove_file(&path).unwrap();
    let text = refused(&set);
    assert!(text.contains("fold_indices.txt, which `data.fold` needs"), "{text}");
    open(&DataConfig { fold: None, ..set });
}

#[test]
fn files_that_do_not_fit_are_named() {
    let root = tempfile::tempdir().unwrap();
    let set = write(root.path());
    let folder = root.path().join("stl10_binary");
    fs::write(folder.join("train_y.bin"), [1, 2, 3, 4, 5]).unwrap();
    assert!(refused(&set).contains("train_y.bin: 5 labels for 6 images"));
    fs::write(folder.join("train_y.bin"), [0, 1, 2, 3, 4, 5]).unwrap();
    let text = refused(&set);
    assert!(text.contains("train_y.bin: label 0 is 0; expected labels from 1 to 10"), "{text}");
    fs::write(folder.join("train_y.bin"), [1; 6]).unwrap();
    fs::write(folder.join("class_names.txt"), "one\ntwo\n").unwrap();
    assert!(refused(&set).contains("class_names.txt: 2 lines; expected the names of 10 classes"));
    fs::remove_file(folder.join("class_names.txt")).unwrap();

    let unlabelled = DataConfig { split: TrainSplit::Unlabelled, ..set.clone() };
    fs::write(folder.join("unlabeled_X.bin"), &images(0..2)[1..]).unwrap();
    open(&set);
    let text = refused(&unlabelled);
    assert!(
        text.contains("unlabeled_X.bin: the file has 55295 bytes; expected a multiple of 27648"),
        "{text}"
    );
    fs::remove_file(folder.join("unlabeled_X.bin")).unwrap();
    let text = refused(&unlabelled);
    assert!(text.contains("unlabeled_X.bin, which `data.split` needs"), "{text}");
    assert!(text.contains("admix data get stl10"), "{text}");
    assert_eq!(open(&set).info().unlabelled, 0);

    fs::write(folder.join("test_X.bin"), []).unwrap();
    assert!(refused(&set).contains("test_X.bin: the file has 0 bytes"));
    fs::remove_file(folder.join("test_X.bin")).unwrap();
    assert!(refused(&set).contains("expected test_X.bin; to get it: `admix data get stl10`"));
}

#[test]
fn the_catalogue_knows_it_and_a_check_reads_all_its_bytes() {
    let root = tempfile::tempdir().unwrap();
    let status = |root: &Path| catalogue(root).into_iter().find(|e| e.name == "stl10").unwrap().status;
    assert_eq!(status(root.path()), Status::Missing);
    write(root.path());
    assert_eq!(status(root.path()), Status::Ready);
    let verified = verify("stl10", root.path()).unwrap();
    assert_eq!(verified.bytes, (6 + 3 + 5) * 27648 + 6 + 3);
}

#[test]
fn a_set_without_unlabelled_images_says_which_has_some() {
    let set = DataConfig { split: TrainSplit::Unlabelled, ..config("fashion-mini") };
    let text = refused(&set);
    assert!(
        text.starts_with("`data.split` is Unlabelled, expected Train: `fashion-mini` has no images"),
        "{text}"
    );
    assert!(text.contains("stl10"), "{text}");
    let read = read(r#"(name: "stl10", split: Unlabelled, fold: Some(3))"#).unwrap();
    assert_eq!((read.split, read.fold), (TrainSplit::Unlabelled, Some(3)));
}

#[test]
fn a_file_that_is_cut_after_it_was_opened_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    for storage in [Storage::Device, Storage::Stream] {
        let data = open(&DataConfig { storage, workers: Some(1), ..write(root.path()) });
        for name in ["train_X.bin", "test_X.bin"] {
            let file = fs::OpenOptions::new().write(true).open(root.path().join("stl10_binary").join(name));
            file.unwrap().set_len(0).unwrap();
        }
        assert_eq!(bytes(&data.u8_images(Split::Train, &[5]).unwrap()), rows(5));
        assert_eq!(bytes(&data.u8_images(Split::Test, &[2]).unwrap()), rows(12));
    }
}
