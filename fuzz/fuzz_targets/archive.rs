//! Archives of an import. The first byte says what is made of the rest: nothing, a compressed archive, or headers whose
//! checksums fit, so that what lies behind is reached.
#![no_main]

#[path = "../../core/data/src/import/archive.rs"]
mod archive;
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

use std::cell::OnceCell;
use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc;

use error::{Error, Result};
use info::Info;
use libfuzzer_sys::fuzz_target;

/// A whole xz or gz file of these bytes.
fn compressed(bytes: &[u8], is_xz: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let whole = if is_xz {
        let mut writer = liblzma::write::XzEncoder::new(&mut out, 0);
        writer.write_all(bytes).and_then(|()| writer.finish().map(|_| ()))
    } else {
        let mut writer = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
        writer.write_all(bytes).and_then(|()| writer.finish().map(|_| ()))
    };
    whole.expect("into memory");
    out
}

/// Lets the checksum of each header fit, where each entry is behind the one before.
fn with_sums(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let mut at = 0;
    while let Some(block) = out.get_mut(at..at + 512) {
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(i, &byte)| if (148..156).contains(&i) { 32 } else { u32::from(byte) })
            .sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = tar::Header::from_byte_slice(block).entry_size().unwrap_or(0);
        let Some(next) = size.checked_next_multiple_of(512).and_then(|size| usize::try_from(size).ok())
        else {
            break;
        };
        let Some(next) = at.checked_add(512).and_then(|at| at.checked_add(next)) else { break };
        at = next;
    }
    out
}

thread_local! {
    static FILE: OnceCell<PathBuf> = const { OnceCell::new() };
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let bytes = match first % 6 {
        0 => bytes.to_vec(),
        1 => with_sums(bytes),
        2 => compressed(bytes, false),
        3 => compressed(bytes, true),
        4 => compressed(&with_sums(bytes), false),
        _ => [b"PK\x03\x04", bytes].concat(),
    };
    let path = FILE.with(|file| {
        let name = format!("admix-fuzz-{}", std::process::id());
        file.get_or_init(|| std::env::temp_dir().join(name)).clone()
    });
    std::fs::write(&path, &bytes).expect("a temporary file");
    // Nobody receives: what is sent waits in the channel.
    let (sender, receiver) = mpsc::sync_channel(1 << 16);
    let outcome = archive::read(&path, None, &sender);
    drop(sender);
    for chunk in receiver {
        assert!(chunk.done <= chunk.total.max(chunk.done));
        for file in chunk.files {
            // Nothing that would leave a folder.
            assert!(file.parts.iter().all(|part| !part.is_empty() && part != "." && part != ".."));
            assert!(file.parts.iter().all(|part| !part.contains(['/', '\0'])));
            if let Ok(bytes) = file.bytes {
                assert!(bytes.len() as u64 <= archive::MOST_FILE);
            }
        }
    }
    let _ = std::fs::remove_file(&path);
    if let Err(error) = outcome {
        assert!(!error.to_string().contains('\n'), "{error}");
    }
});
