//! Pictures of an import. A decoder of another crate that panics costs its file, so that is no finding; what our own code
//! does is.
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

/// More pixels take a decoder too long for one try of many.
const MOST: i64 = 1 << 18;

fuzz_target!(
    init: {
        let end = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.location().is_some_and(|at| at.file().contains("/registry/")) {
                end(info);
            }
        }));
    },
    |bytes: &[u8]| {
        for exif in [Exif::Apply, Exif::Ignore] {
            let Ok((height, width)) = decode::size_guarded(bytes, exif) else { continue };
            assert!(height > 0 && width > 0);
            if height * width > MOST {
                continue;
            }
            if let Ok(read) = decode::decode(bytes, None, Channels::Rgb, exif) {
                assert_eq!(read.image.size, (height, width));
                assert_eq!(read.image.pixels.len() as i64, 3 * height * width);
            }
            if let Ok(read) = decode::decode(bytes, Some((3, 5)), Channels::Rgb, exif) {
                assert_eq!((read.image.size, read.image.pixels.len()), ((3, 5), 45));
            }
        }
    }
);
