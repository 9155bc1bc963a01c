//! The packed file: round trip, damage, and that only whole files ever bear the name.

use std::fs;
use std::path::{Path, PathBuf};

use admix_data::{DataConfig, ImportOptions, Split};

use crate::support::{
    bytes, config, error, files, import, info, numbers, open, opened, verify, write_folder,
};

fn packed(root: &Path) -> (PathBuf, DataConfig) {
    let source = write_folder(&root.join("images"), &files());
    let report = import(&source, "mine", root, ImportOptions::default()).unwrap();
    (report.path, DataConfig { root: root.into(), crop: None, ..config("mine") })
}

#[test]
fn the_payload_is_aligned_and_holds_labels_and_pixels_as_documented() {
    let root = tempfile::tempdir().unwrap();
    let (path, set) = packed(root.path());
    let file = fs::read(&path).unwrap();
    let number =
        |at: usize, n: usize| file[at..at + n].iter().rev().fold(0_usize, |sum, &b| sum << 8 | b as usize);
    assert_eq!(&file[..8], b"ADMIXPK1");
    assert_eq!((number(8, 4), number(16, 8) % 64, number(16, 8) + number(24, 8)), (1, 0, file.len()));
    let payload = &file[number(16, 8)..];
    assert_eq!(blake3::hash(payload).as_bytes()[..], file[32..64]);
    assert_eq!(payload[..14], [0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 1, 0]);
    let data = open(&set);
    assert_eq!(payload[64..64 + 5 * 144], bytes(&data.u8_images(Split::Train, &[0, 1, 2, 3, 4]).unwrap()));
    assert_eq!(payload[64 + 5 * 144..], bytes(&data.u8_images(Split::Test, &[0, 1]).unwrap()));
}

#[test]
fn every_flipped_bit_of_the_header_and_some_of_the_payload_are_noticed() {
    let root = tempfile::tempdir().unwrap();
    let (path, set) = packed(root.path());
    let whole = fs::read(&path).unwrap();
    let text = u32::from_le_bytes(whole[12..16].try_into().unwrap()) as usize;
    let payload = u64::from_le_bytes(whole[16..24].try_into().unwrap()) as usize;
    let places = (0..96 + text).chain((payload..whole.len()).step_by(13));
    for at in places {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, damaged).unwrap();
        let text = error(opened(&set));
        assert!(text.contains("mine.admix") && text.contains("admix data import"), "{at}: {text}");
        assert!(verify("mine", root.path()).is_err(), "{at}");
        assert_eq!(info("mine", root.path()).is_err(), at < payload, "{at}");
    }
}

#[test]
fn truncated_and_grown_files_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let (path, set) = packed(root.path());
    let whole = fs::read(&path).unwrap();
    for len in (0..whole.len()).step_by(29).chain([whole.len() - 1]) {
        fs::write(&path, &whole[..len]).unwrap();
        let text = error(opened(&set));
        assert!(text.contains("mine.admix: "), "{len}: {text}");
    }
    fs::write(&path, [whole.as_slice(), b"x"].concat()).unwrap();
    assert!(error(opened(&set)).contains("it was cut or grown"));
    fs::write(&path, whole).unwrap();
    assert_eq!(open(&set).len(Split::Train), 5);
}

#[test]
fn a_replaced_file_leaves_open_datasets_as_they_were() {
    let root = tempfile::tempdir().unwrap();
    let (_, set) = packed(root.path());
    let data = open(&set);
    let before = bytes(&data.u8_images(Split::Train, &[0, 4]).unwrap());
    let mut other = files();
    other.truncate(4);
    other.push(files()[5].clone());
    let source = write_folder(&root.path().join("others"), &other);
    import(&source, "mine", root.path(), ImportOptions { force: true, ..ImportOptions::default() }).unwrap();
    assert_eq!(bytes(&data.u8_images(Split::Train, &[0, 4]).unwrap()), before);
    assert_eq!(open(&set).len(Split::Train), 4);
}

#[test]
fn per_class_takes_the_first_by_file_name() {
    let root = tempfile::tempdir().unwrap();
    let (_, set) = packed(root.path());
    let data = open(&DataConfig { per_class: Some(2), ..set.clone() });
    assert_eq!(numbers(data.labels(Split::Train)), [0, 0, 1, 1]);
    let whole = open(&set);
    assert_eq!(
        bytes(&data.u8_images(Split::Train, &[2, 3]).unwrap()),
        bytes(&whole.u8_images(Split::Train, &[2, 3]).unwrap())
    );
    // A class with fewer images stays whole.
    assert_eq!(open(&DataConfig { per_class: Some(3), ..set }).len(Split::Train), 5);
}

#[test]
fn an_unwritable_folder_is_named() {
    let root = tempfile::tempdir().unwrap();
    let source = write_folder(&root.path().join("images"), &files());
    let blocked = root.path().join("file");
    fs::write(&blocked, "in the way").unwrap();
    let text = error(import(&source, "mine", &blocked, ImportOptions::default()));
    assert!(text.contains("cannot make the folder") && text.contains("file"), "{text}");
}
