//! IDX files of images and of labels.
#![no_main]

use admix_data::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(images) = parse::idx_images(bytes) {
        assert_eq!(images.pixels.len() % (images.height * images.width), 0);
    }
    if let Ok(labels) = parse::idx_labels(bytes, 10) {
        assert!(labels.iter().all(|&label| label < 10));
    }
});
