//! Parsers of foreign bytes meet random ones: they may refuse, never panic or allocate more than they were given.

use std::fs;

use admix_data::{ImportOptions, parse};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{files, gz, import, tar, xz, zip};

/// Everything that a byte string may be handed to.
fn feed(bytes: &[u8]) {
    if let Ok(images) = parse::idx_images(bytes) {
        assert_eq!(images.pixels.len() % (images.height * images.width), 0);
    }
    if let Ok(labels) = parse::idx_labels(bytes, 10) {
        assert!(labels.iter().all(|&label| label < 10));
    }
    for set in [&parse::CIFAR10, &parse::CIFAR100] {
        if let Ok(images) = parse::cifar(bytes, set) {
            assert_eq!(images.pixels.len(), 3072 * images.labels.len());
        }
    }
    for len in [bytes.len() as u64, u64::MAX] {
        let _ = parse::packed_header(bytes, len);
    }
    let _ = (parse::packed_labels(bytes, 10), parse::packed_labels(bytes, 0));
    if let Ok(lines) = parse::list(bytes) {
        assert!(lines.iter().all(|line| !line.path.is_empty() && line.label != Some(String::new())));
    }
    if let Ok(labels) = parse::stl10_labels(bytes) {
        assert!(labels.len() == bytes.len() && labels.iter().all(|label| (0..10).contains(label)));
    }
    let _ = (parse::stl10_folds(bytes, 50), parse::stl10_class_names(bytes));
}

/// A header whose checksum fits, so that the fields behind it are reached.
fn header(fixed: &[u8], text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 96];
    bytes[..8].copy_from_slice(b"ADMIXPK1");
    bytes[8] = 1;
    bytes[12..16].copy_from_slice(&(text.len() as u32).to_le_bytes());
    bytes[16..32].copy_from_slice(&fixed[..16]);
    let sum = *blake3::Hasher::new().update(&bytes[..64]).update(text).finalize().as_bytes();
    bytes[64..].copy_from_slice(&sum);
    bytes.extend_from_slice(text);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn random_bytes_are_refused_or_parsed(bytes in vec(any::<u8>(), 0..8000)) {
        feed(&bytes);
    }

    #[test]
    fn random_sizes_behind_a_true_magic_are_refused_or_parsed(
        kind in 0..3_usize,
        sizes in vec(prop_oneof![Just(0_u32), Just(u32::MAX), 1..20_u32, any::<u32>()], 3),
        body in vec(any::<u8>(), 0..400),
    ) {
        let magic = [&[0, 0, 8, 3][..], &[0, 0, 8, 1], b"ADMIXPK1"][kind];
        let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_be_bytes()).collect();
        feed(&[magic, &sizes, &body].concat());
    }

    #[test]
    fn packed_headers_with_any_numbers_are_refused_or_parsed(
        fixed in vec(any::<u8>(), 16),
        numbers in vec(prop_oneof![Just(0_u64), Just(u64::MAX), Just(u64::from(u32::MAX)), 1..70_000_u64], 5),
        offset in prop::option::of(0..1024_u64),
    ) {
        let [c, h, w, train, test] = numbers[..] else { unreachable!() };
        let few = vec![0.5; c.min(20) as usize];
        let text = serde_json::json!({
            "name": "x", "class_names": ["a", "b"], "channels": c, "height": h, "width": w,
            "mean": few, "std": few, "train": train, "test": test, "source": "",
        });
        let mut fixed = fixed;
        if let Some(offset) = offset {
            fixed[..8].copy_from_slice(&offset.to_le_bytes());
        }
        feed(&header(&fixed, text.to_string().as_bytes()));
    }

    #[test]
    fn changed_archives_are_refused_or_imported(
        kind in 0..4_usize,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = match kind {
            0 => tar(&files()),
            1 => gz(&tar(&files())),
            2 => xz(&tar(&files())),
            _ => zip(&files()),
        };
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let root = tempfile::tempdir().unwrap();
        let source = root.path().join("source");
        fs::write(&source, bytes).unwrap();
        let _ = import(&source, "mine", root.path(), ImportOptions::default());
    }
}

#[test]
fn huge_claims_allocate_nothing() {
    let sizes = |sizes: [u32; 3]| [&[0, 0, 8, 3][..], &sizes.map(u32::to_be_bytes).concat()].concat();
    for claim in [[u32::MAX; 3], [u32::MAX, 4096, 4096], [1, 0, 5], [0, 0, 0]] {
        assert!(parse::idx_images(&sizes(claim)).is_err(), "{claim:?}");
    }
    let mut packed = vec![0; 200];
    packed[..8].copy_from_slice(b"ADMIXPK1");
    packed[8] = 1;
    packed[12..16].fill(255);
    assert!(parse::packed_header(&packed, u64::MAX).unwrap_err().problem.contains("ends inside its header"));
}
