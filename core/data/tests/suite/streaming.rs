//! Sets that are read as they are needed, against resident ones and against themselves.

use std::fs;
use std::path::{Path, PathBuf};

use admix_api::Streams;
use admix_data::{
    AugmentChoice, Batch, DataConfig, Dataset, Interpolation, Moco, Pass, ResizedCrop, Shift, Split, Storage,
    Toy, View,
};
use admix_torch::{Device, Kind, Tensor};
use image::{ImageFormat, Rgb, RgbImage};
use tempfile::TempDir;

use crate::support::{
    bytes, catalogue, config, encode, error, info, numbers, open, opened, verify, write_folder,
};

/// Waves and a little noise, different for each seed.
fn photo(height: u32, width: u32, seed: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let wave = |frequency: f64| {
            ((f64::from(x) * frequency + f64::from(y * seed) * 0.11).sin() * 90.0 + 120.0) as u8
        };
        let noise = (x.wrapping_mul(2_654_435_761).wrapping_add(y.wrapping_mul(40_503)).wrapping_add(seed)
            >> 7) as u8
            % 40;
        Rgb([wave(0.2) + noise, wave(0.37), wave(0.05) + noise / 2])
    })
}

/// Two classes of training images and one test image each, of these heights and widths in turn; every other file a JPEG.
fn folder(root: &Path, train: usize, sizes: &[(u32, u32)]) -> PathBuf {
    let file = |split: &str, at: usize| {
        let (height, width) = sizes[at % sizes.len()];
        let format = if at.is_multiple_of(2) { ImageFormat::Png } else { ImageFormat::Jpeg };
        let class = if at % 4 < 2 { "ant" } else { "bee" };
        (format!("{split}/{class}/{at:03}.JPEG"), encode(&photo(height, width, at as u32 + 1), format))
    };
    let train = (0..train).map(|at| file("train", at));
    let files: Vec<_> = train.chain([1, 2, 5].map(|at| file("val", at))).collect();
    write_folder(&root.join("pictures"), &files)
}

const MIXED: [(u32, u32); 5] = [(40, 56), (64, 33), (50, 50), (24, 90), (61, 47)];

fn pictures(root: &TempDir, augment: AugmentChoice) -> DataConfig {
    DataConfig { root: root.path().into(), augment, views: 2.into(), ..config("pictures") }
}

fn moco(size: i64) -> AugmentChoice {
    Moco { size: Some(size), ..Moco::default() }.into()
}

fn crop(size: i64, interpolation: Interpolation) -> AugmentChoice {
    ResizedCrop { size: Some(size), interpolation, ..ResizedCrop::default() }.into()
}

/// Values that are pixels divided by 255.
fn plain(config: DataConfig) -> DataConfig {
    DataConfig { mean: Some(vec![0.0; 3]), std: Some(vec![1.0; 3]), ..config }
}

fn pass(data: &Dataset, epoch: u64, batch: usize, from: usize) -> Pass {
    let streams = Streams::new(3);
    let total = data.len(Split::Train);
    Pass {
        split: Split::Train,
        order: streams.draws("order", "", epoch, 0).permutation(total),
        batch,
        batches: (from..total.div_ceil(batch)).collect(),
        streams,
        purpose: "augment".into(),
        views: data.view_names(),
        epoch,
        first_step: 0,
    }
}

fn all(data: &Dataset, pass: Pass) -> Vec<Batch> {
    let mut loader = data.loader(pass).unwrap();
    std::iter::from_fn(|| loader.next_batch(data).unwrap()).collect()
}

#[track_caller]
fn same(a: &Batch, b: &Batch) {
    assert_eq!(a.views, b.views);
    assert_eq!((numbers(&a.labels), numbers(&a.index)), (numbers(&b.labels), numbers(&b.index)));
}

fn levels(a: &Tensor, b: &Tensor) -> (f64, f64) {
    let difference = (a - b).abs() * 255.0;
    (difference.max().double_value(&[]), difference.mean(Kind::Double).double_value(&[]))
}

#[test]
fn streamed_crops_are_those_of_the_device_to_one_grey_level() {
    let root = tempfile::tempdir().unwrap();
    folder(root.path(), 12, &[(40, 52)]);
    for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
        let set = plain(pictures(&root, crop(24, interpolation)));
        let streamed = open(&set);
        let resident = open(&DataConfig { storage: Storage::Device, ..set });
        assert!(streamed.worked().is_some() && resident.worked().is_none());
        let (ours, theirs) =
            (all(&streamed, pass(&streamed, 1, 5, 0)), all(&resident, pass(&resident, 1, 5, 0)));
        assert_eq!((ours.len(), theirs.len()), (3, 3));
        for (a, b) in ours.iter().zip(&theirs) {
            assert_eq!((numbers(&a.labels), numbers(&a.index)), (numbers(&b.labels), numbers(&b.index)));
            assert_eq!(a.views.len(), 2);
            for (a, b) in a.views.iter().zip(&b.views) {
                assert_eq!(a.size(), b.size());
                let (most, mean) = levels(a, b);
                assert!(most < 1.001 && mean < 0.05, "{interpolation:?}: {most}, {mean} on average");
            }
        }
        // Every image was decoded once for both views.
        assert_eq!(streamed.worked().unwrap().images, 12);
    }
}

#[test]
fn flip_and_colours_of_a_streamed_image_are_those_of_a_resident_one_to_the_bit() {
    let root = tempfile::tempdir().unwrap();
    folder(root.path(), 40, &[(24, 24)]);
    let set = pictures(&root, moco(24));
    let (streamed, resident) = (open(&set), open(&DataConfig { storage: Storage::Device, ..set }));
    let drawn = resident.augmentation(40, &mut Streams::new(5).draws("augment", "", 0, 0)).unwrap();
    let mut views = drawn.of::<View>("views").unwrap().to_vec();
    for view in &mut views {
        let whole = View::whole(24, 24);
        (view.top, view.left, view.height, view.width) = (0, 0, whole.height, whole.width);
    }
    assert!(views.iter().any(|view| view.flip) && views.iter().any(|view| view.blur.is_some()));
    let index = Tensor::arange(40, (Kind::Int64, Device::Cpu));
    let made = |data: &Dataset| data.train_batch(&index, &views.clone().into()).unwrap();
    same(&made(&streamed), &made(&resident));
}

#[test]
fn neither_the_number_of_threads_nor_where_a_pass_begins_changes_a_bit() {
    let root = tempfile::tempdir().unwrap();
    folder(root.path(), 30, &MIXED);
    let with = |workers| open(&DataConfig { workers: Some(workers), ..pictures(&root, moco(32)) });
    let (one, four) = (with(1), with(4));
    for epoch in 0..2 {
        let first = all(&one, pass(&one, epoch, 4, 0));
        assert_eq!(first.len(), 8);
        assert_eq!(first[7].images.size(), [2, 3, 32, 32]);
        assert_ne!(first[0].views[0], first[0].views[1]);
        for (a, b) in first.iter().zip(all(&four, pass(&four, epoch, 4, 0))) {
            same(a, &b);
        }
        for (a, b) in first[5..].iter().zip(all(&four, pass(&four, epoch, 4, 5))) {
            same(a, &b);
        }
        // What the loader hands out is what is had by asking for it.
        let alone = four.train_views(&first[2].index, Streams::new(3), epoch, 2).unwrap();
        same(&first[2], &alone);
    }
    let (a, b) = (all(&one, pass(&one, 0, 4, 0)), all(&one, pass(&one, 1, 4, 0)));
    assert_ne!(a[0].views[0], b[0].views[0]);
}

#[test]
fn a_crop_is_drawn_for_the_size_of_its_own_image() {
    let root = tempfile::tempdir().unwrap();
    // Left half dark, right half bright, very wide.
    let wide = RgbImage::from_fn(400, 20, |x, _| if x < 200 { Rgb([0; 3]) } else { Rgb([255; 3]) });
    let files: Vec<_> = ["train/a/1", "train/b/1", "val/a/1"]
        .map(|name| (format!("{name}.png"), encode(&wide, ImageFormat::Png)))
        .to_vec();
    write_folder(&root.path().join("pictures"), &files);
    let small = ResizedCrop { size: Some(8), scale: (0.01, 0.03), ..ResizedCrop::default() };
    let data = open(&plain(pictures(&root, small.into())));
    let index = Tensor::zeros([200], (Kind::Int64, Device::Cpu));
    let batch = data.train_views(&index, Streams::new(1), 0, 0).unwrap();
    let mean = batch.views[0].mean_dim([1i64, 2, 3].as_slice(), false, Kind::Float);
    let (dark, bright) = (mean.lt(0.01).sum(Kind::Int64), mean.gt(0.99).sum(Kind::Int64));
    // Crops of 7 to 18 pixels lie on one side but for a few: with places drawn over all 400 columns both occur alike.
    let (dark, bright) = (dark.int64_value(&[]), bright.int64_value(&[]));
    assert!(dark > 60 && bright > 60 && dark + bright > 170, "{dark} {bright}");
}

#[test]
fn a_measured_image_is_the_centre_after_its_shorter_side_was_scaled() {
    let root = tempfile::tempdir().unwrap();
    folder(root.path(), 8, &[(30, 20), (20, 31)]);
    let set = DataConfig { test_resize: Some(20), ..plain(pictures(&root, moco(16))) };
    let data = open(&set);
    assert_eq!((data.info().height, data.info().width, data.view_size()), (16, 16, (16, 16)));
    // The shorter side has its size already: the centre is cut out of the pixels as they are. Position 4 is `bee/002`.
    let (position, wanted) = (4, photo(30, 20, 3));
    let mut planes = Vec::new();
    for channel in 0..3 {
        for y in 7..23 {
            planes.extend((2..18).map(|x| wanted.get_pixel(x, y)[channel]));
        }
    }
    assert_eq!(bytes(&data.u8_images(Split::Train, &[position]).unwrap()), planes);
    let batch = data.clean_batch(Split::Train, position as usize, 1).unwrap();
    assert_eq!(bytes(&(batch.images * 255.0).round().to_kind(Kind::Uint8)), planes);
    assert_eq!((numbers(&batch.index), numbers(&batch.labels)), (vec![position], vec![1]));
}

#[test]
fn measured_batches_do_not_depend_on_what_was_asked_for_before() {
    let root = tempfile::tempdir().unwrap();
    folder(root.path(), 20, &MIXED);
    let data = open(&pictures(&root, moco(16)));
    let whole = data.clean_batch(Split::Train, 0, 20).unwrap();
    assert_eq!(whole.images.size(), [20, 3, 16, 16]);
    for (start, n) in [(0, 8), (8, 8), (16, 4), (8, 8), (3, 1), (4, 16), (0, 0)] {
        let part = data.clean_batch(Split::Train, start, n).unwrap();
        assert_eq!(part.images, whole.images.narrow(0, start as i64, n as i64), "{start} {n}");
        assert_eq!(data.clean_batch(Split::Test, 1, 2).unwrap().images.size(), [2, 3, 16, 16]);
    }
    assert!(error(data.clean_batch(Split::Test, 2, 2)).contains("a range within 0..3"));
    assert!(error(data.u8_images(Split::Test, &[3])).contains("a position within 0..3"));
}

#[test]
fn a_set_that_is_no_folder_can_be_streamed_too() {
    let toy = Toy { classes: 3, train: 40, test: 9, size: 16, channels: 3 };
    // Crops and flips alone are the same to the bit.
    let set =
        DataConfig { sets: toy.into(), views: 2.into(), crop: Some(3), per_class: Some(9), ..config("toy") };
    let streamed =
        |set: &DataConfig| open(&DataConfig { storage: Storage::Stream, workers: Some(3), ..set.clone() });
    let (ours, theirs) = (streamed(&set), open(&set));
    assert_eq!((ours.info(), ours.len(Split::Train)), (theirs.info(), 27));
    for (a, b) in all(&ours, pass(&ours, 0, 7, 0)).iter().zip(all(&theirs, pass(&theirs, 0, 7, 0))) {
        same(a, &b);
    }
    same(&ours.clean_batch(Split::Test, 2, 5).unwrap(), &theirs.clean_batch(Split::Test, 2, 5).unwrap());
    assert_eq!(
        ours.u8_images(Split::Test, &[3, 1]).unwrap(),
        theirs.u8_images(Split::Test, &[3, 1]).unwrap()
    );
    let set = plain(DataConfig { augment: crop(12, Interpolation::Bicubic), crop: Some(4), ..set });
    let (ours, theirs) = (streamed(&set), open(&set));
    for (a, b) in all(&ours, pass(&ours, 0, 7, 0)).iter().zip(all(&theirs, pass(&theirs, 0, 7, 0))) {
        let (most, mean) = levels(&a.views[1], &b.views[1]);
        assert!(most < 1.001 && mean < 0.05, "{most}, {mean} on average");
    }
    let augmentation = ours.augmentation(4, &mut Streams::new(1).draws("augment", "", 0, 0)).unwrap();
    assert_eq!(augmentation.len(), 4);
    let shift = vec![admix_data::Offset::default()];
    let one = Tensor::arange(1, (Kind::Int64, Device::Cpu));
    assert!(error(ours.train_batch(&one, &shift.into())).contains("expected views"));
}

#[test]
fn the_first_images_of_each_class_are_kept_and_named_classes_are_numbered_in_order() {
    let root = tempfile::tempdir().unwrap();
    folder(root.path(), 20, &MIXED);
    let data = open(&DataConfig { per_class: Some(3), ..pictures(&root, moco(16)) });
    assert_eq!((data.info().class_names.join(" "), data.info().classes), ("ant bee".into(), 2));
    assert_eq!((data.info().train, data.info().test, data.len(Split::Train)), (6, 3, 6));
    assert_eq!(numbers(data.labels(Split::Train)), [0, 0, 0, 1, 1, 1]);
    let whole = open(&pictures(&root, moco(16)));
    assert_eq!(
        data.u8_images(Split::Train, &[2, 3]).unwrap(),
        whole.u8_images(Split::Train, &[2, 10]).unwrap()
    );
}

#[test]
fn a_broken_file_is_named_when_it_is_first_used() {
    /// What is left of a file's bytes; `None`: not even the file.
    type Spoil<'a> = &'a dyn Fn(Vec<u8>) -> Option<Vec<u8>>;
    let broken: [(&str, Spoil<'_>, &str); 7] = [
        ("its end is cut off", &|bytes| Some(bytes[..bytes.len() / 2].to_vec()), "its end is missing"),
        ("a text", &|_| Some(b"<html>not found</html>".to_vec()), "not a picture of a known format"),
        (
            "of a telephone",
            &|_| Some(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic".to_vec()),
            "HEIC is not read: convert it",
        ),
        ("of 64 bits", &|_| Some(b"II+\0\x08\0\0\0".to_vec()), "BigTIFF is not read: convert it"),
        ("nothing", &|_| Some(Vec::new()), "the file is empty"),
        ("no header", &|bytes| Some(bytes[..20].to_vec()), "broken JPEG"),
        ("gone", &|_| None, "cannot read"),
    ];
    for (what, spoil, wanted) in broken {
        let root = tempfile::tempdir().unwrap();
        let files = folder(root.path(), 12, &MIXED);
        let data = open(&pictures(&root, moco(16)));
        let path = files.join("train/ant/005.JPEG");
        match spoil(fs::read(&path).unwrap()) {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let in_order = Pass { order: (0..12).collect(), ..pass(&data, 0, 3, 0) };
        let mut loader = data.loader(in_order).unwrap();
        // `ant` holds 000, 001, 004, 005, ...: the file is the first of the second batch.
        assert!(loader.next_batch(&data).unwrap().is_some(), "{what}");
        let text = error(loader.next_batch(&data));
        assert!(text.contains(wanted) && text.contains("pictures/train/ant/005.JPEG"), "{what}: {text}");
        // Others are not affected.
        assert!(loader.next_batch(&data).unwrap().is_some(), "{what}");
        assert!(error(data.clean_batch(Split::Train, 0, 12)).contains("005.JPEG"), "{what}");
        assert!(data.clean_batch(Split::Test, 0, 3).is_ok(), "{what}");
        let verified = verify("pictures", root.path());
        if what == "gone" {
            // What is not there is no part of the folder.
            assert_eq!(verified.unwrap().info.train, 11);
        } else {
            let text = error(verified);
            assert!(text.contains(wanted) && text.contains("005.JPEG"), "{what}: {text}");
        }
    }
}

#[test]
fn of_several_broken_files_the_first_of_the_batch_is_named_whatever_the_timing() {
    let root = tempfile::tempdir().unwrap();
    let files = folder(root.path(), 24, &MIXED);
    for name in ["ant/004", "ant/008", "bee/003"] {
        fs::write(files.join(format!("train/{name}.JPEG")), "no image").unwrap();
    }
    for workers in [1, 4] {
        let data = open(&DataConfig { workers: Some(workers), ..pictures(&root, moco(16)) });
        for _ in 0..5 {
            assert!(error(data.clean_batch(Split::Train, 0, 24)).contains("train/ant/004.JPEG"));
        }
        let text = error(verify("pictures", root.path()));
        assert!(text.contains("2 more files are broken"), "{text}");
    }
}

#[test]
fn a_pass_that_is_left_early_ends_its_work() {
    let root = tempfile::tempdir().unwrap();
    folder(root.path(), 40, &MIXED);
    for take in [0, 1, 3] {
        let data = open(&DataConfig { workers: Some(2), ..pictures(&root, moco(64)) });
        let mut loader = data.loader(pass(&data, 0, 4, 0)).unwrap();
        for _ in 0..take {
            loader.next_batch(&data).unwrap();
        }
        if take == 1 {
            // Also where the images end first; batches that were asked for are still handed out.
            let other = data;
            drop(loader);
            assert!(other.clean_batch(Split::Test, 0, 3).is_ok());
        } else {
            drop(data);
            drop(loader);
        }
    }
}

#[test]
fn no_more_batches_are_made_ahead_than_are_said() {
    let root = tempfile::tempdir().unwrap();
    folder(root.path(), 40, &MIXED);
    let data = open(&DataConfig { workers: Some(2), ..pictures(&root, moco(16)) });
    let mut loader = data.loader(pass(&data, 0, 2, 0)).unwrap();
    loader.next_batch(&data).unwrap();
    // The next one is ready before it is asked for.
    while !loader.is_ready() {
        std::thread::yield_now();
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    let made = data.worked().unwrap().images;
    assert!(made > 2 && made <= 2 * (1 + admix_data::AHEAD as u64), "{made}");
}

#[test]
fn folders_that_are_no_dataset_are_refused_with_a_way_out() {
    let picture = || encode(&photo(20, 20, 1), ImageFormat::Png);
    let good = ["train/a/1.png", "train/b/1.png", "val/a/1.png"];
    let with = |more: &'static str| [&good[..], &[more]].concat();
    let cases: [(&str, Vec<&str>, &str); 8] = [
        ("no split", vec!["x/a/1.png"], "it has no `train` folder"),
        ("no test split", vec!["train/a/1.png", "train/b/1.png"], "it has no `val` and no `test` folder"),
        ("no class", vec!["train/1.txt", "val/a/1.png"], "it has no class folder"),
        ("one class", vec!["train/a/1.png", "val/a/1.png"], "it has 1 class folders, 2 to 65536 are needed"),
        (
            "an empty class",
            with("train/c/1.txt"),
            "class folder `c` holds no file with the name of a picture",
        ),
        (
            "no test image",
            vec!["train/a/1.png", "train/b/1.png", "val/1.png"],
            "it has no image in a class folder",
        ),
        ("another class", with("val/c/1.png"), "class folder `c` is not in"),
        ("two folders", with("training/a/1.png"), "are there; keep one of the two folders"),
    ];
    for (what, files, wanted) in cases {
        let root = tempfile::tempdir().unwrap();
        let files: Vec<_> = files.iter().map(|name| (name.to_string(), picture())).collect();
        write_folder(&root.path().join("pictures"), &files);
        let text = error(opened(&pictures(&root, moco(16))));
        assert!(text.contains(wanted) && text.contains("pictures"), "{what}: {text}");
    }
}

#[test]
fn hidden_files_and_texts_are_passed_over_and_an_unlabelled_test_split_is_not_taken() {
    let root = tempfile::tempdir().unwrap();
    let files = folder(root.path(), 8, &MIXED);
    for name in ["train/ant/.DS_Store", "train/.cache/x.png", "train/ant/boxes.txt", "train/readme.txt"] {
        fs::create_dir_all(files.join(name).parent().unwrap()).unwrap();
        fs::write(files.join(name), "x").unwrap();
    }
    fs::create_dir_all(files.join("train/ant/images")).unwrap();
    fs::rename(files.join("train/ant/000.JPEG"), files.join("train/ant/images/000.PNG")).unwrap();
    fs::create_dir(files.join("test")).unwrap();
    fs::write(files.join("test/1.JPEG"), encode(&photo(9, 9, 1), ImageFormat::Png)).unwrap();
    let data = open(&pictures(&root, moco(16)));
    assert_eq!((data.len(Split::Train), data.len(Split::Test)), (8, 3));
    assert!(data.clean_batch(Split::Train, 0, 8).is_ok());
    // One that has classes is.
    fs::create_dir(files.join("test/bee")).unwrap();
    fs::rename(files.join("test/1.JPEG"), files.join("test/bee/1.JPEG")).unwrap();
    let data = open(&pictures(&root, moco(16)));
    assert_eq!(numbers(data.labels(Split::Test)), [1]);
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let root = tempfile::tempdir().unwrap();
    folder(root.path(), 8, &MIXED);
    let set = |augment| pictures(&root, augment);
    let refused = |set: DataConfig| error(opened(&set));
    let text = refused(set(Shift {}.into()));
    assert!(text.starts_with("`data.augment` is Shift") && text.contains("`Moco(size: 224)`"), "{text}");
    let text = refused(DataConfig { storage: Storage::Device, ..set(moco(16)) });
    assert!(
        text.starts_with("`data.storage` is Device, expected Stream") && text.contains("40x56"),
        "{text}"
    );
    let text = refused(DataConfig { test_resize: Some(20), ..config("toy") });
    assert!(text.starts_with("`data.test_resize` is 20, expected "), "{text}");
    let text = refused(DataConfig { test_resize: Some(16), augment: moco(12), ..config("toy") });
    assert!(text.starts_with("`data.test_resize` is 16, expected None"), "{text}");
    for (config, field) in [
        (DataConfig { workers: Some(0), ..set(moco(16)) }, "data.workers"),
        (DataConfig { workers: Some(2000), ..set(moco(16)) }, "data.workers"),
        (DataConfig { test_resize: Some(15), ..set(moco(16)) }, "data.test_resize"),
        (DataConfig { test_resize: Some(5000), ..set(moco(16)) }, "data.test_resize"),
    ] {
        let text = error(config.validate());
        assert!(text.starts_with(&format!("`{field}` is ")), "{text}");
    }
    let data = open(&set(moco(16)));
    let text = error(data.augmentation(2, &mut Streams::new(1).draws("augment", "", 0, 0)));
    assert!(text.contains("images of unknown size"), "{text}");
    let index = Tensor::arange(1, (Kind::Int64, Device::Cpu));
    let beyond = View { left: 50, ..View::whole(16, 16) };
    assert!(error(data.train_batch(&index, &vec![beyond].into())).contains("a part of an image of 40x56"));
    let outside = Pass { order: vec![0, 8], ..pass(&data, 0, 2, 0) };
    assert!(error(data.loader(outside)).contains("a position within 0..8"));
    let none = Pass { views: Vec::new(), ..pass(&data, 0, 2, 0) };
    assert!(error(data.loader(none)).contains("at least one view"));
    let missing = DataConfig { root: root.path().into(), augment: moco(16), ..config("imagenet") };
    let text = refused(missing);
    assert!(
        text.contains("imagenet/train/<class>/*.JPEG") && text.contains("https://image-net.org"),
        "{text}"
    );
}

#[test]
fn a_folder_is_listed_described_and_verified() {
    let root = tempfile::tempdir().unwrap();
    folder(root.path(), 8, &MIXED);
    fs::create_dir(root.path().join("something")).unwrap();
    let listed = catalogue(root.path());
    let entry = listed.iter().find(|entry| entry.name == "pictures").unwrap();
    assert!(entry.summary.contains("a folder of images"), "{}", entry.summary);
    assert!(listed.iter().all(|entry| entry.name != "something"));
    let info = info("pictures", root.path()).unwrap();
    assert_eq!((info.train, info.test, info.channels, info.classes), (8, 3, 3, 2));
    let verified = verify("pictures", root.path()).unwrap();
    assert_eq!(verified.unlike_published, None);
    let pixels: u32 = (0..8).chain([1, 2, 5]).map(|at| MIXED[at % 5].0 * MIXED[at % 5].1 * 3).sum();
    assert_eq!((verified.bytes, verified.path), (u64::from(pixels), Some(root.path().join("pictures"))));
    let text = error(opened(&DataConfig { name: "picture".into(), ..pictures(&root, moco(16)) }));
    assert!(text.contains("Did you mean `pictures`?"), "{text}");
}
