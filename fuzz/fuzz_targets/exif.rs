//! What a camera noted, in front of a sound JPEG: whatever it is, the picture can be read, upright or lying.
#![no_main]

#[path = "../../core/data/src/import"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod import {
    pub mod channels;
    pub mod decode;
    mod jpeg;
    mod limits;
}

use import::channels::Channels;
use import::decode::{self, Exif};
use libfuzzer_sys::fuzz_target;

/// A sound picture without notes.
const PICTURE: &[u8] = include_bytes!("../../core/data/tests/fixtures/jpeg/grey.jpg");

fuzz_target!(|bytes: &[u8]| {
    let notes = &bytes[..bytes.len().min(60_000)];
    let mut file = vec![0xff, 0xd8, 0xff, 0xe1];
    file.extend((notes.len() as u16 + 8).to_be_bytes());
    file.extend(b"Exif\0\0");
    file.extend(notes);
    file.extend(&PICTURE[2..]);
    let (height, width) = decode::size(PICTURE, Exif::Apply).expect("the picture is sound");
    assert_eq!(decode::size(&file, Exif::Ignore), Ok((height, width)));
    let upright = decode::size(&file, Exif::Apply).expect("notes are no part of the picture");
    assert!(upright == (height, width) || upright == (width, height));
    let read = decode::decode(&file, None, Channels::Rgb, Exif::Apply).map_err(|why| panic!("{why}"));
    assert!(read.is_ok_and(|read| read.image.size == upright));
});
