//! Import of Tiny ImageNet as it is published.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use admix_data::{DataConfig, ImportOptions, ImportReport, Result, Split, Status};
use image::{GrayImage, ImageFormat, Luma};

use crate::support::{catalogue, config, error, import, jpeg, numbers, open, opened, tar, write_folder, zip};

type Files = Vec<(String, Vec<u8>)>;

fn grey(level: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    GrayImage::from_pixel(6, 8, Luma([level])).write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

/// Three classes, whose order in `wnids.txt` is not that of their names; two training images each, one of them grey.
fn files() -> Files {
    let mut files: Files = vec![
        ("wnids.txt".into(), b"n03\nn01\nn02\n".to_vec()),
        ("words.txt".into(), b"n01\tgoldfish, Carassius auratus\nn03\tship\nn09\tother\n".to_vec()),
        (
            "val/val_annotations.txt".into(),
            b"val_0.JPEG\tn01\t0\t32\t44\t62\nval_1.JPEG\tn03\t5\t5\t9\t9\nval_2.JPEG\tn01\t0\t0\t1\t1\n"
                .to_vec(),
        ),
        ("test/images/test_0.JPEG".into(), jpeg(200)),
        ("test/images/test_1.JPEG".into(), jpeg(210)),
    ];
    for (class, wnid) in ["n01", "n02", "n03"].iter().enumerate() {
        let first = 10 + 40 * class as u8;
        files.push((format!("train/{wnid}/images/{wnid}_0.JPEG"), jpeg(first)));
        files.push((format!("train/{wnid}/images/{wnid}_1.JPEG"), grey(first + 10)));
        files.push((format!("train/{wnid}/{wnid}_boxes.txt"), b"n01_0.JPEG\t0\t0\t63\t63\n".to_vec()));
    }
    for (image, level) in [60, 70, 80].iter().enumerate() {
        files.push((format!("val/images/val_{image}.JPEG"), jpeg(*level)));
    }
    files
}

fn import_files(root: &Path, files: &Files) -> Result<ImportReport> {
    let path = root.join("source");
    fs::write(&path, zip(files)).unwrap();
    import(&path, "tiny_imagenet", root, ImportOptions { force: true, ..ImportOptions::default() })
}

fn changed(name: &str, contents: Option<&[u8]>) -> Files {
    let kept = files().into_iter().filter(|(file, _)| file != name);
    kept.chain(contents.map(|bytes| (name.to_owned(), bytes.to_vec()))).collect()
}

#[test]
fn the_published_layout_is_understood_in_a_folder_and_in_archives() {
    let top = |files: Files| -> Files {
        files.into_iter().map(|(name, bytes)| (format!("tiny-imagenet-200/{name}"), bytes)).collect()
    };
    for source in ["folder", "zip", "tar", "top"] {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("source");
        match source {
            "folder" => drop(write_folder(&path, &files())),
            "zip" => fs::write(&path, zip(&files())).unwrap(),
            "tar" => fs::write(&path, tar(&files())).unwrap(),
            _ => fs::write(&path, zip(&top(files()))).unwrap(),
        }
        let report = import(&path, "tiny_imagenet", root.path(), ImportOptions::default()).unwrap();
        assert_eq!((report.images, report.classes), (9, 3), "{source}");
        let set = DataConfig { root: root.path().into(), crop: None, ..config("tiny_imagenet") };
        let data = open(&set);
        // In the order of wnids.txt; a class that words.txt lacks keeps its identifier.
        assert_eq!(data.info().class_names, ["ship", "goldfish", "n02"], "{source}");
        assert_eq!(numbers(data.labels(Split::Train)), [0, 0, 1, 1, 2, 2]);
        assert_eq!(numbers(data.labels(Split::Test)), [0, 1, 1]);
        assert_eq!(data.info().mean, [0.485, 0.456, 0.406]);
        let pixel =
            |split, at, channel| data.u8_images(split, &[at]).unwrap().int64_value(&[0, channel, 4, 4]);
        let near =
            |found: i64, wanted: i64| assert!((found - wanted).abs() < 6, "{source}: {found} {wanted}");
        near(pixel(Split::Train, 0, 0), 90);
        near(pixel(Split::Test, 0, 0), 70);
        near(pixel(Split::Test, 2, 0), 80);
        for channel in 0..3 {
            near(pixel(Split::Train, 3, channel), 20);
        }
        let left_out: Vec<&str> = report.skipped.iter().map(|(_, why)| why.as_str()).collect();
        assert_eq!(left_out.len(), 2, "{:?}", report.skipped);
        assert!(left_out.iter().any(|why| why.contains("2 images without labels")), "{left_out:?}");
        assert!(left_out.iter().any(|why| why.contains("3 files of bounding boxes")), "{left_out:?}");
        let entry = catalogue(root.path()).into_iter().find(|entry| entry.name == "tiny_imagenet").unwrap();
        assert_eq!(entry.status, Status::Ready);
    }
}

#[test]
fn annotations_that_do_not_fit_are_told() {
    let root = tempfile::tempdir().unwrap();
    const FILE: &str = "val/val_annotations.txt";
    let good = "val_0.JPEG\tn01\t0\nval_1.JPEG\tn03\t5\n";
    for (contents, wanted) in [
        (None, &["`val/val_annotations.txt` is not there"][..]),
        (Some(good.into()), &["`val/images/val_2.JPEG` has no line"]),
        (Some(format!("{good}val_2.JPEG\n")), &["line 3", "`val_2.JPEG`", "a tab"]),
        (Some(format!("{good}val_2.JPEG\tn77\t1\n")), &["line 3", "`n77`", "wnids.txt"]),
        (Some(format!("{good}val_2.JPEG\tn01\nval_2.JPEG\tn02\n")), &["line 4", "`val_2.JPEG` again"]),
        (Some(format!("{good}val_2.JPEG\tn01\nval_3.JPEG\tn02\n")), &["line 4", "`val_3.JPEG`", "not there"]),
    ] {
        let text = error(import_files(root.path(), &changed(FILE, contents.as_deref().map(str::as_bytes))));
        for part in wanted {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!root.path().join("tiny_imagenet.admix").exists());
    }
    let text = error(import_files(root.path(), &changed(FILE, Some(&[0xff, 0xfe]))));
    assert!(text.contains("is not text"), "{text}");
}

#[test]
fn classes_that_do_not_fit_are_told() {
    let root = tempfile::tempdir().unwrap();
    for (contents, wanted) in [
        ("n03\nn01\nn02\nn04\n", "class `n04` of wnids.txt has no training image"),
        ("n03\nn01\n", "class `n02`, which wnids.txt lacks"),
        ("n03\nn01\nn02\nn01\n", "`n01` twice"),
    ] {
        let text = error(import_files(root.path(), &changed("wnids.txt", Some(contents.as_bytes()))));
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
}

#[test]
fn without_an_import_the_way_to_one_is_told() {
    let root = tempfile::tempdir().unwrap();
    let set = DataConfig { root: root.path().into(), ..config("tiny_imagenet") };
    let text = error(opened(&set));
    assert!(text.contains("tiny_imagenet.admix") && text.contains("admix data get tiny_imagenet"), "{text}");
    write_folder(&root.path().join("tiny-imagenet-200"), &files());
    let text = error(opened(&set));
    assert!(text.contains("tiny-imagenet-200 --name tiny_imagenet"), "{text}");
}
