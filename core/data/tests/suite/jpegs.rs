//! JPEG files as they come, against the pixels of libjpeg-turbo (`fixtures/make_jpegs.py`).

use std::fs;
use std::path::Path;

use admix_data::{BrokenFiles, DataConfig, Exif, ImportOptions, Moco, Split};
use image::ImageFormat;
use proptest::prelude::*;

use crate::support::{bytes, config, encode, error, import, open, opened, picture, verify, write_folder};

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/jpeg").join(name)).unwrap()
}

/// Planes of the pixels that libjpeg-turbo decodes.
fn reference(name: &str) -> Vec<u8> {
    let image = image::load_from_memory(&fixture(&format!("{name}.png"))).unwrap().into_rgb8();
    (0..3).flat_map(|channel| image.pixels().map(move |pixel| pixel[channel]).collect::<Vec<_>>()).collect()
}

/// Planes of one file after an import, or why it is left out, and what is said of it.
fn decoded(file: &[u8], exif: Exif) -> Result<(Vec<u8>, Vec<String>), String> {
    let root = tempfile::tempdir().unwrap();
    let files = [("train/a/1.jpg", file), ("train/b/1.jpg", file), ("test/a/1.jpg", file)];
    let files: Vec<_> = files.map(|(name, file)| (name.to_owned(), file.to_vec())).to_vec();
    let source = write_folder(&root.path().join("images"), &files);
    let options = ImportOptions { exif, ..ImportOptions::default() };
    let report = import(&source, "mine", root.path(), options).map_err(|error| error.to_string())?;
    let data = open(&DataConfig { root: root.path().into(), ..config("mine") });
    let flaws = report.flawed.into_iter().map(|(_, flaw)| flaw).collect();
    Ok((bytes(&data.u8_images(Split::Train, &[0]).unwrap()), flaws))
}

/// Where the image data of the last scan begin and end.
fn scan(file: &[u8]) -> (usize, usize) {
    let start = file.windows(2).rposition(|two| two == [0xff, 0xda]).unwrap();
    let header = usize::from(file[start + 2]) * 256 + usize::from(file[start + 3]);
    (start + 2 + header, file.len() - 2)
}

const KINDS: [&str; 6] = ["444", "420", "progressive", "restarts", "grey", "cmyk"];

#[test]
fn every_kind_is_decoded_as_by_libjpeg_turbo() {
    for name in KINDS {
        let (ours, flaws) = decoded(&fixture(&format!("{name}.jpg")), Exif::Apply).expect(name);
        assert!(flaws.is_empty(), "{name}: {flaws:?}");
        let theirs = reference(name);
        assert_eq!(ours.len(), theirs.len(), "{name}");
        let apart: Vec<u8> = ours.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b)).collect();
        let mean = apart.iter().map(|&d| f64::from(d)).sum::<f64>() / apart.len() as f64;
        // Both round, and upsampling of colours is a choice.
        assert!(mean < 1.0, "{name}: {mean} on average, {:?} at most", apart.iter().max());
    }
}

#[test]
fn what_lies_between_and_behind_the_parts_changes_nothing_and_is_told() {
    for name in KINDS {
        let sound = fixture(&format!("{name}.jpg"));
        let (wanted, _) = decoded(&sound, Exif::Apply).expect(name);
        let first = 4 + usize::from(sound[4]) * 256 + usize::from(sound[5]);
        let stray = [&sound[..first], b"between the parts", &sound[first..]].concat();
        let trailing = [&sound[..], b"\0\0behind the end", &[0xff, 0xd8, 0xff, 0xd9]].concat();
        let endless = sound[..sound.len() - 2].to_vec();
        let note =
            [&sound[..first], &[0xff, 0xe5, 0, 4, 1, 2, 0xff, 0xff, 0xff, 0xfe, 0, 3, 7], &sound[first..]]
                .concat();
        for (file, flaw) in [
            (stray, "17 stray bytes"),
            (trailing, ""),
            (endless, "end marker of the JPEG is missing"),
            (note, ""),
        ] {
            let (found, flaws) =
                decoded(&file, Exif::Apply).unwrap_or_else(|why| panic!("{name}, {flaw}: {why}"));
            assert_eq!(found, wanted, "{name}, {flaw}");
            assert_eq!(flaws.is_empty(), flaw.is_empty(), "{name}: {flaws:?}");
            assert!(flaws.iter().all(|told| told.contains(flaw)), "{name}: {flaws:?}");
        }
    }
}

#[test]
fn a_scan_that_ends_early_is_an_error_with_and_without_its_end_marker() {
    for name in KINDS {
        let file = fixture(&format!("{name}.jpg"));
        let (start, end) = scan(&file);
        for share in [0, 1, 2, 3] {
            let mut cut = file[..start + (end - start) * share / 4].to_vec();
            while cut.last() == Some(&0xff) {
                cut.pop();
            }
            assert!(decoded(&cut, Exif::Apply).unwrap_err().contains("broken JPEG"), "{name} {share}");
            cut.extend([0xff, 0xd9]);
            let why = decoded(&cut, Exif::Apply).expect_err(name);
            assert!(why.contains("image data end early"), "{name} {share}: {why}");
        }
    }
}

#[test]
fn a_picture_is_turned_as_its_camera_noted_unless_that_is_ignored() {
    let stored = reference("turned");
    let (ignored, _) = decoded(&fixture("turned.jpg"), Exif::Ignore).unwrap();
    let (applied, _) = decoded(&fixture("turned.jpg"), Exif::Apply).unwrap();
    assert_eq!((ignored.len(), applied.len()), (stored.len(), stored.len()));
    // Orientation 6: a quarter turn clockwise; 83 columns and 61 rows are stored.
    for (row, column) in [(0, 0), (3, 60), (82, 0), (40, 17)] {
        assert_eq!(applied[row * 61 + column], ignored[(60 - column) * 83 + row], "{row} {column}");
    }
    let root = tempfile::tempdir().unwrap();
    let files = ["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg"]
        .map(|name| (name.to_owned(), fixture("turned.jpg")));
    write_folder(&root.path().join("pictures"), &files);
    let set = DataConfig {
        root: root.path().into(),
        augment: Moco { size: Some(16), ..Moco::default() }.into(),
        test_resize: Some(61),
        ..config("pictures")
    };
    let of = |exif| bytes(&open(&DataConfig { exif, ..set.clone() }).u8_images(Split::Train, &[0]).unwrap());
    let (streamed, upright) = (of(Exif::Apply), of(Exif::Ignore));
    assert_ne!(streamed, upright);
    assert_eq!(streamed[0], applied[34 * 61 + 22], "the centre of the turned picture");
}

#[test]
fn an_orientation_behind_the_first_scan_is_no_part_of_the_header_and_turns_nothing() {
    let file = fixture("turned.jpg");
    let note = file.windows(2).position(|two| two == [0xff, 0xe1]).unwrap();
    let behind = note + 2 + usize::from(file[note + 2]) * 256 + usize::from(file[note + 3]);
    let end = file.len() - 2;
    let moved = [&file[..note], &file[behind..end], &file[note..behind], &file[end..]].concat();
    let (stored, _) = decoded(&file, Exif::Ignore).unwrap();
    assert!(decoded(&moved, Exif::Apply).unwrap().0 == stored);
    let root = tempfile::tempdir().unwrap();
    let files =
        ["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg"].map(|name| (name.to_owned(), moved.clone()));
    write_folder(&root.path().join("pictures"), &files);
    let of = |exif| {
        let augment = Moco { size: Some(16), ..Moco::default() }.into();
        let root = root.path().into();
        let set = DataConfig { root, augment, test_resize: Some(61), exif, ..config("pictures") };
        bytes(&open(&set).u8_images(Split::Train, &[0]).unwrap())
    };
    assert!(of(Exif::Apply) == of(Exif::Ignore));
}

#[test]
fn a_skipped_file_has_the_same_stand_in_for_any_number_of_threads() {
    let root = tempfile::tempdir().unwrap();
    let file = |at: u8| encode(&picture(20 + u32::from(at), 24, [at * 20, 9, 9]), ImageFormat::Png);
    let mut files: Vec<(String, Vec<u8>)> =
        (0..10).map(|at| (format!("train/{}/{at}.png", if at < 5 { "a" } else { "b" }), file(at))).collect();
    files.push(("val/a/0.png".into(), file(1)));
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 30);
    // No picture; the last of its class, whose header is whole; two in a row.
    files[2].1 = b"no picture".to_vec();
    cut(&mut files[9].1);
    files[6].1 = Vec::new();
    cut(&mut files[7].1);
    write_folder(&root.path().join("pictures"), &files);
    let with = |broken, workers| DataConfig {
        root: root.path().into(),
        augment: Moco { size: Some(16), ..Moco::default() }.into(),
        views: 2.into(),
        broken,
        workers: Some(workers),
        ..config("pictures")
    };
    assert!(error(open(&with(BrokenFiles::Stop, 2)).clean_batch(Split::Train, 0, 10)).contains("a/2.png"));
    let skip = BrokenFiles::Skip { limit: 0.4 };
    let (one, four) = (open(&with(skip, 1)), open(&with(skip, 4)));
    let clean = |data: &admix_data::Dataset| {
        bytes(&data.u8_images(Split::Train, &(0..10).collect::<Vec<_>>()).unwrap())
    };
    let pixels = clean(&one);
    assert_eq!(pixels, clean(&four));
    let reds: Vec<u8> = pixels.chunks(3 * 256).map(|image| image[128 + 8]).collect();
    assert_eq!(reds, [0, 20, 60, 60, 80, 100, 160, 160, 160, 100], "the next sound image of the class");
    let index = admix_torch::Tensor::arange(10, (admix_torch::Kind::Int64, admix_torch::Device::Cpu));
    let views = |data: &admix_data::Dataset| {
        data.train_views(&index, admix_api::Streams::new(3), 1, 2).unwrap().views
    };
    assert_eq!(views(&one), views(&four));
    // Four of ten are broken.
    let few = open(&with(BrokenFiles::Skip { limit: 0.3 }, 2));
    let text = error(few.clean_batch(Split::Train, 0, 10));
    assert!(text.contains("4 of 10 files are broken") && text.contains("0.3"), "{text}");
    assert!(error(opened(&with(BrokenFiles::Skip { limit: 1.5 }, 1))).contains("`data.broken.limit` is 1.5"));
    assert!(error(verify("pictures", root.path())).contains("3 more files are broken"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_cut_of_the_image_data_passes(kind in 0..KINDS.len(), share in 0.0..1.0_f64) {
        let file = fixture(&format!("{}.jpg", KINDS[kind]));
        let (start, end) = scan(&file);
        // One Huffman code and its bits take up to 27 bits: of five missing bytes, at least one begins a code.
        let at = start + ((end - start - 4) as f64 * share) as usize;
        let cut = [&file[..at], &[0xff, 0xd9]].concat();
        prop_assert!(decoded(&cut, Exif::Apply).is_err(), "{} {at} of {start}..{end}", KINDS[kind]);
    }
}
