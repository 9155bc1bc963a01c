//! What a checkpoint says beside its tensors: as a safetensors file, and as the text within one.
#![no_main]

#[path = "../../core/engine/src/method"]
mod method {
    #[allow(dead_code, reason = "the target uses a part of it")]
    mod clock;
    pub use clock::Clock;
}
/// That of `core/data/src/augment/resample.rs`.
mod augment {
    #[derive(serde::Serialize, serde::Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Interpolation {
        Bilinear,
        Bicubic,
    }
}
#[path = "../../core/engine/src/run"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod run {
    pub mod accuracy;
    #[path = "../../../data/src/stream/found_broken.rs"]
    mod found_broken;
    #[path = "../../../data/src/stream/fit.rs"]
    mod fit;
    pub mod header;
    pub mod images;
    pub mod metrics;
    pub mod started_from;

    pub use fit::Fit;
    pub use found_broken::Broken;
}
#[path = "../../core/engine/src/script"]
mod script {
    mod text;
    pub use text::ScriptText;
}

use libfuzzer_sys::fuzz_target;
use run::header::Header;
use safetensors::SafeTensors;

/// A header that is written as it was read has the same checksum: nothing of it is lost.
fn header(text: &str) {
    let Ok(header) = Header::parse(text) else { return };
    let written = serde_json::to_string(&header).expect("a header is JSON");
    let again = Header::parse(&written).expect("what was written can be read");
    assert_eq!(serde_json::to_string(&again).expect("a header is JSON"), written);
    let _ = (header.unsound(), header.history.heads());
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        header(text);
    }
    let Ok((_, said)) = SafeTensors::read_metadata(bytes) else { return };
    for text in said.metadata().iter().flat_map(|texts| texts.values()) {
        header(text);
    }
    if let Ok(file) = SafeTensors::deserialize(bytes) {
        for (_, view) in file.iter() {
            let values: usize = view.shape().iter().product();
            assert!(values <= bytes.len() * 8);
        }
    }
});
