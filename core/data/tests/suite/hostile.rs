//! Folders and archives as they should not be.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use admix_data::{DataConfig, Datasets, ImportOptions, Moco, Split};
use image::ImageFormat;

use crate::support::{
    config, encode, error, files, import, info, open, picture, registry, tar, verify, write_folder, xz,
};

fn moco(root: &tempfile::TempDir) -> DataConfig {
    let augment = Moco { size: Some(16), ..Moco::default() }.into();
    DataConfig { root: root.path().into(), augment, ..config("pictures") }
}

#[test]
fn a_streamed_folder_holds_each_ordinary_file_once() {
    let root = tempfile::tempdir().unwrap();
    let folder = write_folder(&root.path().join("pictures"), &files());
    let cat = folder.join("train/cat");
    symlink(&cat, cat.join("loop")).unwrap();
    symlink(folder.join("train"), cat.join("all")).unwrap();
    symlink(cat.join("a.png"), cat.join("again.png")).unwrap();
    symlink("/dev/zero", cat.join("zero.png")).unwrap();
    assert!(Command::new("mkfifo").arg(cat.join("pipe.png")).status().unwrap().success());
    let names = info("pictures", root.path()).unwrap();
    assert_eq!((names.train, names.test), (5, 2));
    assert_eq!(open(&moco(&root)).len(Split::Train), 5);
    // One that becomes a pipe later is refused and never waited for.
    let data = open(&moco(&root));
    fs::remove_file(cat.join("b.png")).unwrap();
    fs::rename(cat.join("pipe.png"), cat.join("b.png")).unwrap();
    assert!(error(data.clean_batch(Split::Train, 0, 5)).contains("no ordinary file"));
}

#[test]
fn other_formats_are_read_by_imports_and_streams() {
    let root = tempfile::tempdir().unwrap();
    let formats = [
        (ImageFormat::WebP, "webp"),
        (ImageFormat::Bmp, "bmp"),
        (ImageFormat::Tiff, "tiff"),
        (ImageFormat::Gif, "gif"),
    ];
    let image = picture(8, 6, [200, 100, 0]);
    let mut files = files();
    for (format, suffix) in formats {
        files.push((format!("train/cat/z.{suffix}"), encode(&image, format)));
    }
    let source = write_folder(&root.path().join("pictures"), &files);
    assert_eq!(verify("pictures", root.path()).unwrap().info.train, 9);
    let report = import(&source, "mine", root.path(), ImportOptions::default()).unwrap();
    assert_eq!((report.info.train, report.skipped.len()), (9, 0));
    let data = open(&DataConfig { root: root.path().into(), ..config("mine") });
    for at in 5..9 {
        let pixels = data.u8_images(Split::Train, &[at]).unwrap();
        assert_eq!([0, 1, 2].map(|c| pixels.int64_value(&[0, c, 4, 4])), [200, 100, 0], "{at}");
    }
}

#[test]
fn a_class_that_ends_empty_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let options = ImportOptions::default();
    let source = write_folder(&root.path().join("images"), &files());
    fs::create_dir(source.join("train/dog")).unwrap();
    let text = error(import(&source, "mine", root.path(), options));
    assert!(
        text.contains("class folder `dog` holds no image") && text.contains("the folder is empty"),
        "{text}"
    );
    fs::write(source.join("train/dog/a.txt"), "woof").unwrap();
    let text = error(import(&source, "mine", root.path(), options));
    assert!(text.contains("`dog`") && text.contains("dog/a.txt: not a picture of a known format"), "{text}");
    fs::remove_dir_all(source.join("train/dog")).unwrap();
    import(&source, "mine", root.path(), options).unwrap();
}

#[test]
fn folders_for_evaluation_are_known_by_all_their_names() {
    for name in ["valid", "validation", "eval", "testing", "val", "test"] {
        let root = tempfile::tempdir().unwrap();
        let files: Vec<_> = files()
            .into_iter()
            .map(|(path, bytes)| (path.replace("test/", &format!("{name}/")), bytes))
            .collect();
        let source = write_folder(&root.path().join("pictures"), &files);
        assert_eq!(info("pictures", root.path()).unwrap().test, 2, "{name}");
        assert_eq!(
            import(&source, "mine", root.path(), ImportOptions::default()).unwrap().info.test,
            2,
            "{name}"
        );
    }
}

#[test]
fn damaged_archives_are_bad_input_and_links_have_a_remedy() {
    let root = tempfile::tempdir().unwrap();
    let archive = xz(&tar(&files()));
    let path = root.path().join("cut.tar.xz");
    fs::write(&path, &archive[..archive.len() / 2]).unwrap();
    let result = import(&path, "mine", root.path(), ImportOptions::default());
    assert!(matches!(result, Err(admix_data::Error::Malformed { .. })), "{result:?}");
    let source = write_folder(&root.path().join("images"), &files());
    symlink("a.png", source.join("train/cat/link.png")).unwrap();
    let text = error(import(&source, "mine", root.path(), ImportOptions::default()));
    assert!(
        text.contains("link.png` is a link") && text.contains("cp -rL") && !text.contains("pack"),
        "{text}"
    );
}

#[test]
fn of_imports_at_once_under_one_name_one_is_done() {
    let root = tempfile::tempdir().unwrap();
    let source = write_folder(&root.path().join("images"), &files());
    let done: usize = std::thread::scope(|scope| {
        let one = || {
            let registry = registry();
            let sets = Datasets::new(root.path(), &registry);
            usize::from(sets.import(&source, "mine", ImportOptions::default()).is_ok())
        };
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(done, 1);
    verify("mine", root.path()).unwrap();
}

#[test]
fn a_packed_file_that_is_cut_or_rewritten_under_a_run_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let source = write_folder(&root.path().join("images"), &files());
    let report = import(&source, "mine", root.path(), ImportOptions::default()).unwrap();
    let data = open(&DataConfig { root: root.path().into(), ..config("mine") });
    let before = data.clean_batch(Split::Train, 0, 5).unwrap().images;
    fs::write(&report.path, vec![0; report.bytes as usize]).unwrap();
    assert_eq!(data.clean_batch(Split::Train, 0, 5).unwrap().images, before);
    fs::write(&report.path, []).unwrap();
    assert_eq!(data.clean_batch(Split::Train, 0, 5).unwrap().images, before);
}
