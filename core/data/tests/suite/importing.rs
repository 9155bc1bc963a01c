//! Import of folders and archives, honest, damaged and hostile.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use admix_data::{DataConfig, ImportOptions, ImportReport, Result, Split, Status};

use crate::support::{
    bytes, catalogue, config, encode, error, files, gz, import, info, jpeg, numbers, open, picture, png, tar,
    tar_header, verify, write_folder, xz, zip,
};

type Files = Vec<(String, Vec<u8>)>;

fn file(name: &str, bytes: Vec<u8>) -> (String, Vec<u8>) {
    (name.to_owned(), bytes)
}

/// Imports an archive from memory.
fn import_bytes(root: &Path, archive: &[u8], options: ImportOptions<'_>) -> Result<ImportReport> {
    let path = root.join("source");
    fs::write(&path, archive).unwrap();
    import(&path, "mine", root, options)
}

fn import_files(files: &Files, options: ImportOptions<'_>) -> (tempfile::TempDir, Result<ImportReport>) {
    let root = tempfile::tempdir().unwrap();
    let report = import_bytes(root.path(), &tar(files), options);
    (root, report)
}

/// No dataset and no unfinished file.
fn nothing_was_written(root: &Path) {
    let left: Vec<_> = fs::read_dir(root).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("admix")), "{left:?}");
}

#[test]
fn a_folder_and_every_kind_of_archive_give_the_same_dataset() {
    let files = files();
    let under_top: Files =
        files.iter().map(|(name, bytes)| file(&format!("./top/{name}"), bytes.clone())).collect();
    let mut seen = Vec::new();
    for archive in [
        None,
        Some(tar(&files)),
        Some(gz(&tar(&files))),
        Some(xz(&tar(&files))),
        Some(zip(&files)),
        Some(tar(&under_top)),
    ] {
        let root = tempfile::tempdir().unwrap();
        let report = match archive {
            None => {
                let source = write_folder(&root.path().join("images"), &files);
                import(&source, "mine", root.path(), ImportOptions::default()).unwrap()
            }
            Some(archive) => import_bytes(root.path(), &archive, ImportOptions::default()).unwrap(),
        };
        assert_eq!((report.images, report.classes, report.skipped.len()), (7, 2, 0));
        assert_eq!(report.bytes, fs::metadata(&report.path).unwrap().len());
        let data = open(&DataConfig { root: root.path().into(), crop: None, ..config("mine") });
        assert_eq!(data.info().class_names, ["ant", "cat"]);
        assert_eq!((data.info().height, data.info().width, data.info().channels), (8, 6, 3));
        assert_eq!(numbers(data.labels(Split::Train)), [0, 0, 1, 1, 1]);
        assert_eq!(numbers(data.labels(Split::Test)), [0, 1]);
        assert_eq!(data.info().std, [0.229, 0.224, 0.225]);
        let images = data.u8_images(Split::Train, &[0, 1, 2, 3, 4]).unwrap();
        // By file name within the class: a.png before b.png.
        let pixel = |i: i64| images.get(i).get(0).get(4).get(4).int64_value(&[]);
        assert_eq!((pixel(1), pixel(2), pixel(3)), (50, 10, 20));
        assert!((pixel(0) - 40).abs() < 6 && (pixel(4) - 30).abs() < 6);
        let checksum = verify("mine", root.path()).unwrap().checksum.unwrap();
        seen.push((bytes(&images), checksum));
    }
    assert!(seen.iter().all(|set| *set == seen[0]));
}

#[test]
fn classes_alone_hold_out_the_last_images_by_name() {
    let files: Files =
        (0..8).map(|i| file(&format!("{}/{i}.png", ["x", "y"][i % 2]), png(10 * i as u8))).collect();
    let (root, report) = import_files(&files, ImportOptions::default());
    assert!(error(report).contains("`--test-per-class N`"));
    nothing_was_written(root.path());
    let (root, report) =
        import_files(&files, ImportOptions { test_per_class: 1, ..ImportOptions::default() });
    assert_eq!(report.unwrap().images, 8);
    let data = open(&DataConfig { root: root.path().into(), crop: None, ..config("mine") });
    assert_eq!(numbers(data.labels(Split::Train)), [0, 0, 0, 1, 1, 1]);
    let red = |i| data.u8_images(Split::Test, &[i]).unwrap().int64_value(&[0, 0, 4, 4]);
    assert_eq!((red(0), red(1)), (60, 70));
    let (_, report) = import_files(&files, ImportOptions { test_per_class: 4, ..ImportOptions::default() });
    assert!(error(report).contains("class `x` has only 4 images"));
}

#[test]
fn broken_images_are_named_and_left_out() {
    let mut cut = jpeg(90);
    cut.truncate(cut.len() - 10);
    let mut bad_png = png(80);
    let middle = bad_png.len() / 2;
    bad_png[middle] ^= 0xff;
    let mut files = files();
    files.extend([
        file("train/cat/d.png", b"no image".to_vec()),
        file("train/cat/e.jpg", cut),
        file("train/ant/f.png", bad_png),
        file("test/ant/g.png", Vec::new()),
        file("README", b"hello".to_vec()),
        file("train/.DS_Store", b"junk".to_vec()),
    ]);
    let root = tempfile::tempdir().unwrap();
    let report = import_bytes(root.path(), &zip(&files), ImportOptions::default()).unwrap();
    assert_eq!(report.images, 7);
    let skipped: Vec<(&str, &str)> = report.skipped.iter().map(|(f, w)| (f.as_str(), w.as_str())).collect();
    let names: Vec<&str> = skipped.iter().map(|(file, _)| *file).collect();
    assert_eq!(
        names,
        [
            "README",
            "test/ant/g.png",
            "train/.DS_Store",
            "train/ant/f.png",
            "train/cat/d.png",
            "train/cat/e.jpg"
        ]
    );
    assert_eq!(skipped[1].1, "the file is empty");
    assert!(skipped[3].1.starts_with("broken PNG"), "{}", skipped[3].1);
    assert_eq!(skipped[4].1, "not a picture of a known format (JPEG, PNG, WebP, BMP, TIFF or GIF)");
    assert!(skipped[5].1.starts_with("broken JPEG"), "{}", skipped[5].1);
}

#[test]
fn a_jpeg_cut_anywhere_is_never_taken_for_an_image() {
    let whole = encode(&picture(40, 40, [200, 30, 90]), image::ImageFormat::Jpeg);
    for len in (3..whole.len()).step_by(7) {
        let mut files = files();
        files.push(file("train/cat/cut.jpg", whole[..len].to_vec()));
        let (_root, report) = import_files(&files, ImportOptions::default());
        assert_eq!(report.unwrap().skipped.len(), 1, "{len}");
    }
}

#[test]
fn more_broken_than_whole_images_fail() {
    let mut files = files();
    files.extend((0..8).map(|i| file(&format!("train/cat/bad{i}.png"), b"bad".to_vec())));
    let (root, report) = import_files(&files, ImportOptions::default());
    let text = error(report);
    assert!(
        text.contains("8 of 15 files could not be decoded") && text.contains("train/cat/bad0.png"),
        "{text}"
    );
    nothing_was_written(root.path());
}

#[test]
fn entries_that_would_leave_the_folder_and_links_are_refused() {
    let evil_names = [
        "../evil.png",
        "train/../../evil.png",
        "/etc/evil.png",
        "train/cat/..",
        "C:/evil.png",
        "..\\evil.png",
    ];
    for name in evil_names {
        let mut files = files();
        files.push(file(name, png(1)));
        let mut archives = vec![zip(&files)];
        if !name.contains('\\') {
            archives.extend([tar(&files), gz(&tar(&files))]);
        }
        for archive in archives {
            let root = tempfile::tempdir().unwrap();
            let text = error(import_bytes(root.path(), &archive, ImportOptions::default()));
            assert!(
                text.contains(&name.replace('\\', "/")) && text.contains("nothing was written"),
                "{text}"
            );
            nothing_was_written(root.path());
            assert!(!root.path().parent().unwrap().join("evil.png").exists());
        }
    }
    for kind in [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Fifo] {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar_header("train/cat/link.png", 0, kind);
        header.set_link_name("/etc/passwd").unwrap();
        header.set_cksum();
        builder.append(&header, &[][..]).unwrap();
        let root = tempfile::tempdir().unwrap();
        let text = error(import_bytes(root.path(), &builder.into_inner().unwrap(), ImportOptions::default()));
        assert!(text.contains("entry `train/cat/link.png` is "), "{text}");
        assert_eq!(text.contains("--hard-dereference"), kind == tar::EntryType::Link, "{text}");
    }
    let root = tempfile::tempdir().unwrap();
    let source = write_folder(&root.path().join("images"), &files());
    std::os::unix::fs::symlink("/etc/passwd", source.join("train/cat/link.png")).unwrap();
    assert!(error(import(&source, "mine", root.path(), ImportOptions::default())).contains("is a link"));
}

#[test]
fn a_part_of_a_published_set_is_told_when_it_is_verified() {
    let root = tempfile::tempdir().unwrap();
    let source = write_folder(&root.path().join("images"), &files());
    let unlike = |name: &str| {
        import(&source, name, root.path(), ImportOptions::default()).unwrap();
        verify(name, root.path()).unwrap().unlike_published
    };
    assert_eq!(unlike("mine"), None);
    let told = unlike("cifar10").expect("a part");
    assert!(told.contains(" training images, not 50000; ") && told.ends_with(" classes, not 10"), "{told}");
}

#[test]
fn long_names_in_tar_archives_are_read_and_checked() {
    let long = "n".repeat(180);
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files() {
        builder.append(&tar_header(&name, bytes.len(), tar::EntryType::Regular), bytes.as_slice()).unwrap();
    }
    let mut header = tar::Header::new_gnu();
    let bytes = png(77);
    header.set_size(bytes.len() as u64);
    builder.append_data(&mut header, format!("train/cat/{long}.png"), bytes.as_slice()).unwrap();
    let archive = builder.into_inner().unwrap();
    let root = tempfile::tempdir().unwrap();
    assert_eq!(import_bytes(root.path(), &archive, ImportOptions::default()).unwrap().images, 8);

    // A harmless name in the header, an evil one before it.
    let evil = format!("{}/../../../{long}", "a");
    let mut builder = tar::Builder::new(Vec::new());
    let name = tar_header("././@LongLink", evil.len() + 1, tar::EntryType::GNULongName);
    builder.append(&name, format!("{evil}\0").as_bytes()).unwrap();
    builder.append(&tar_header("train/cat/x.png", 0, tar::EntryType::Regular), &[][..]).unwrap();
    let text = error(import_bytes(
        root.path(),
        &builder.into_inner().unwrap(),
        ImportOptions { force: true, ..ImportOptions::default() },
    ));
    assert!(text.contains("would leave the target folder"), "{text}");
}

#[test]
fn cut_archives_fail_or_name_the_file_they_end_in() {
    let whole = tar(&files());
    for archive in [xz(&whole), gz(&whole), zip(&files())] {
        for keep in [archive.len() / 3, archive.len() - 5] {
            let root = tempfile::tempdir().unwrap();
            assert!(import_bytes(root.path(), &archive[..keep], ImportOptions::default()).is_err(), "{keep}");
            nothing_was_written(root.path());
        }
    }
    let root = tempfile::tempdir().unwrap();
    let text = error(import_bytes(root.path(), b"neither", ImportOptions::default()));
    assert!(text.contains("neither a folder nor a tar"), "{text}");
    assert!(
        error(import(Path::new("/no/such"), "mine", root.path(), ImportOptions::default()))
            .contains("/no/such")
    );
}

#[test]
fn images_of_several_sizes_need_a_size() {
    let mut files = files();
    files.push(file("train/cat/wide.png", encode(&picture(5, 9, [1, 2, 3]), image::ImageFormat::Png)));
    let (root, report) = import_files(&files, ImportOptions::default());
    let text = error(report);
    assert!(text.contains("`train/cat/b.png` is 8x6, `train/cat/wide.png` is 5x9"), "{text}");
    assert!(text.contains("--size 8x6"), "{text}");
    nothing_was_written(root.path());
    let (root, report) =
        import_files(&files, ImportOptions { size: Some((12, 10)), ..ImportOptions::default() });
    let report = report.unwrap();
    assert_eq!((report.images, report.info.height, report.info.width), (8, 12, 10));
    let data = open(&DataConfig { root: root.path().into(), ..config("mine") });
    assert_eq!(data.u8_images(Split::Train, &[2]).unwrap().int64_value(&[0, 0, 9, 7]), 10);
    let (_, report) = import_files(&files, ImportOptions { size: Some((0, 10)), ..ImportOptions::default() });
    assert!(error(report).contains("`--size` is 0x10"));
}

#[test]
fn grey_and_transparent_images_become_rgb() {
    let mut files = files();
    let grey = image::DynamicImage::from(picture(8, 6, [100, 100, 100])).into_luma8();
    let clear = image::DynamicImage::from(picture(8, 6, [9, 8, 7])).into_rgba8();
    for (name, image) in [("1grey", image::DynamicImage::from(grey)), ("2clear", clear.into())] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        files.push(file(&format!("test/ant/{name}.png"), bytes.into_inner()));
    }
    let (root, report) = import_files(&files, ImportOptions::default());
    assert_eq!(report.unwrap().images, 9);
    let data = open(&DataConfig { root: root.path().into(), ..config("mine") });
    let pixel = |i| [0, 1, 2].map(|c| data.u8_images(Split::Test, &[i]).unwrap().int64_value(&[0, c, 3, 3]));
    assert_eq!((pixel(1), pixel(2)), ([100; 3], [9, 8, 7]));
}

#[test]
fn a_name_is_taken_once_unless_forced_and_comes_before_raw_files() {
    let root = tempfile::tempdir().unwrap();
    let source = write_folder(&root.path().join("images"), &files());
    let add =
        |name, force| import(&source, name, root.path(), ImportOptions { force, ..ImportOptions::default() });
    assert_eq!(add("cifar10", false).unwrap().info.mean, [0.4914, 0.4822, 0.4465]);
    assert!(error(add("cifar10", false)).contains("--force"));
    add("cifar10", true).unwrap();
    let found = info("cifar10", root.path()).unwrap();
    assert_eq!((found.train, found.test), (5, 2));
    let entry = |name: &str| catalogue(root.path()).into_iter().find(|e| e.name == name).unwrap();
    assert_eq!(entry("cifar10").status, Status::Ready);
    add("pets", false).unwrap();
    assert_eq!(entry("pets").summary, "5 + 2 images, 2 classes, 8x6; from images");
    for name in ["toy", "fashion-mini", "../x", "a b"] {
        assert!(error(add(name, true)).contains("`--name` is"), "{name}");
    }
    let text = error(info("pest", root.path()));
    assert!(text.contains("Did you mean `pets`?") && text.contains("toy, pets"), "{text}");
}

#[test]
fn wrong_layouts_are_explained() {
    let case = |files: Files, wanted: &str| {
        let (root, report) = import_files(&files, ImportOptions::default());
        let text = error(report);
        assert!(text.contains(wanted), "{wanted}: {text}");
        nothing_was_written(root.path());
    };
    case(vec![file("a.txt", png(1))], "no image in a class folder");
    case(vec![file("test/a/1.png", png(1))], "test images but no training images");
    case(
        vec![file("train/a/1.png", png(1)), file("train/b/1.png", png(1))],
        "a training split and no test split",
    );
    case(
        vec![file("train/a/1.png", png(1)), file("train/b/1.png", png(1)), file("val/c/1.png", png(2))],
        "class `c` has test images but no training images",
    );
    case(vec![file("train/a/1.png", png(1)), file("test/a/1.png", png(2))], "it has 1 class folders");
    case(Vec::new(), "neither a folder nor a tar");
}

#[test]
fn with_test_and_val_folders_test_is_used_and_val_is_named() {
    let mut files = files();
    files.push(file("val/cat/1.png", png(9)));
    let (_root, report) = import_files(&files, ImportOptions::default());
    let report = report.unwrap();
    assert_eq!((report.info.test, report.skipped[0].0.as_str()), (2, "val/cat/1.png"));
}

#[test]
fn an_entry_given_twice_counts_once_and_is_named() {
    let mut files = files();
    files.push(file("train/cat/a.png", png(99)));
    let (root, report) = import_files(&files, ImportOptions::default());
    let report = report.unwrap();
    assert_eq!((report.images, report.skipped.len()), (7, 1));
    let data = open(&DataConfig { root: root.path().into(), ..config("mine") });
    assert_eq!(data.u8_images(Split::Train, &[2]).unwrap().int64_value(&[0, 0, 4, 4]), 99);
}

#[test]
fn progress_rises_to_the_size_of_the_source() {
    for archive in [tar(&files()), zip(&files()), xz(&tar(&files()))] {
        let root = tempfile::tempdir().unwrap();
        let last = Cell::new((0, 0));
        let progress = |done, total| {
            assert!(done >= last.get().0 && done <= total);
            last.set((done, total));
        };
        import_bytes(
            root.path(),
            &archive,
            ImportOptions { progress: &progress, ..ImportOptions::default() },
        )
        .unwrap();
        assert_eq!(last.get().0, archive.len() as u64);
    }
}
