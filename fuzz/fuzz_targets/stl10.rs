//! Labels, folds and class names of STL-10.
#![no_main]

use admix_data::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(labels) = parse::stl10_labels(bytes) {
        assert_eq!(labels.len(), bytes.len());
        assert!(labels.iter().all(|label| (0..10).contains(label)));
    }
    if let Ok(folds) = parse::stl10_folds(bytes, 50) {
        assert_eq!(folds.len(), 10);
        assert!(folds.iter().flatten().all(|at| (0..50).contains(at)));
    }
    if let Ok(names) = parse::stl10_class_names(bytes) {
        assert!(names.len() == 10 && names.iter().all(|name| !name.is_empty()));
    }
});
