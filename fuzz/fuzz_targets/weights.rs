//! Weight files of other programs: safetensors headers, and pickles that must not be executed.
#![no_main]

#[path = "../../core/weights/src/entry.rs"]
mod entry;
#[path = "../../core/weights/src/error.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod error;
#[path = "../../core/weights/src/pytorch.rs"]
mod pytorch;
#[path = "../../core/weights/src/safetensors.rs"]
mod safetensors;

use error::{Error, Result};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("admix-fuzz-weights-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("a file");
    let readers = [pytorch::open(&path), safetensors::open(&path).map(|(_, entries)| entries)];
    for entries in readers.into_iter().flatten() {
        for (name, entry) in entries {
            let values: i64 = entry.shape.iter().product();
            // What a header claims is there, or the reader says that it is not.
            if let Ok(found) = (entry.read)() {
                assert!(found.len() as i64 >= values, "{name}: {:?}", entry.kind);
            }
        }
    }
    std::fs::remove_file(&path).expect("removed");
});
