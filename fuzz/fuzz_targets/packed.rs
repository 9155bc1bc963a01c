//! Headers and labels of packed files. The header's checksum is also made to fit, so that what lies behind is reached.
#![no_main]

#[path = "../../core/data/src/error.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod error;
#[path = "../../core/data/src/import"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod import {
    pub mod channels;
}
#[path = "../../core/data/src/info.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod info;
#[path = "../../core/data/src/packed.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod packed;
#[path = "../../core/data/src/source.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod source;

use error::{Error, Result};
use info::{Info, TrainSplit};
use libfuzzer_sys::fuzz_target;
use packed::{parse_header, parse_labels};

fuzz_target!(|bytes: &[u8]| {
    let _ = parse_header(bytes, bytes.len() as u64);
    let _ = parse_labels(bytes, 10);
    if bytes.len() > 96 {
        let mut bytes = bytes.to_vec();
        let text_len = (bytes.len() - 96) as u32;
        bytes[..12].copy_from_slice(b"ADMIXPK1\x01\0\0\0");
        bytes[12..16].copy_from_slice(&text_len.to_le_bytes());
        let (fixed, text) = bytes.split_at(96);
        let sum = *blake3::Hasher::new().update(&fixed[..64]).update(text).finalize().as_bytes();
        bytes[64..96].copy_from_slice(&sum);
        let offset = u64::from_le_bytes(bytes[16..24].try_into().expect("8 bytes"));
        let len = u64::from_le_bytes(bytes[24..32].try_into().expect("8 bytes"));
        let _ = parse_header(&bytes, offset.wrapping_add(len));
    }
});
