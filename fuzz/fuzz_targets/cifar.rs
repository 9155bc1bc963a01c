//! Binary files of CIFAR-10 and CIFAR-100.
#![no_main]

use admix_data::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for (set, classes) in [(&parse::CIFAR10, 10), (&parse::CIFAR100, 100)] {
        if let Ok(images) = parse::cifar(bytes, set) {
            assert_eq!(images.pixels.len(), 3072 * images.labels.len());
            assert!(images.labels.iter().all(|&label| label < classes));
        }
    }
});
