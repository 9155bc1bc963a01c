//! Lists of images with labels.
#![no_main]

#[path = "../../core/data/src/error.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod error;
#[path = "../../core/data/src/import"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod import {
    pub mod channels;
    pub mod suffix;
}
#[path = "../../core/data/src/info.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod info;
#[path = "../../core/data/src/list.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod list;
#[path = "../../core/data/src/source.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod source;

use error::{Error, Result};
use info::Info;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(lines) = list::parse(bytes) {
        let labelled = lines.iter().filter(|line| line.label.is_some()).count();
        assert!(labelled == 0 || labelled == lines.len());
        assert!(lines.iter().all(|line| !line.path.is_empty()));
    }
});
