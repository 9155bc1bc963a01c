//! Lists of images with labels.
#![no_main]

use admix_data::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(lines) = parse::list(bytes) {
        let labelled = lines.iter().filter(|line| line.label.is_some()).count();
        assert!(labelled == 0 || labelled == lines.len());
        assert!(lines.iter().all(|line| !line.path.is_empty()));
    }
});
