//! The lists of Tiny ImageNet's archive and the layout of an import's files. The bytes are lines: the first three parts,
//! separated by lines of `--`, are the lists, the fourth names the files.
#![no_main]

#[path = "../../core/data/src/error.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod error;
#[path = "../../core/data/src/info.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod info;
#[path = "../../core/data/src/import"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod import {
    mod archive;
    mod arrange;
    pub mod channels;
    pub mod decode;
    pub mod decoded;
    mod jpeg;
    pub mod layout;
    mod limits;
    mod place;
    pub mod suffix;
    mod unlabelled;

    pub fn arranged(
        files: Vec<decoded::Decoded>,
        layouts: &[&'static dyn layout::Layout],
        test_per_class: usize,
    ) -> crate::Result<layout::Arranged> {
        arrange::arrange("set.zip".as_ref(), files, layouts, false, test_per_class)
    }
}
#[path = "../../core/data/src/list.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod list;
#[path = "../../core/data/src/packed.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod packed;
#[path = "../../core/data/src/source.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod source;
#[path = "../../core/data/src/datasets"]
mod datasets {
    #[allow(dead_code, reason = "the target uses a part of it")]
    mod tiny_imagenet_lists;

    pub const ARCHIVE: &dyn crate::import::layout::Layout = &tiny_imagenet_lists::Archive;
}

use error::{Error, Result};
use import::decode::Planar;
use import::decoded::Decoded;
use info::{Info, Split, TrainSplit};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split("--\n");
    let mut list = |path: &str| Decoded {
        parts: path.split('/').map(str::to_owned).collect(),
        image: Err("a list".into()),
        flaws: Vec::new(),
        class: None,
        text: parts.next().map(|text| text.as_bytes().to_vec()),
    };
    let mut files = vec![list("wnids.txt"), list("words.txt"), list("val/val_annotations.txt")];
    let names: Vec<&str> = parts.next().unwrap_or_default().lines().take(64).collect();
    let is_picture = |name: &str| !name.ends_with('!');
    files.extend(names.iter().map(|name| Decoded {
        parts: name.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        image: if is_picture(name) { Ok(Planar { size: (1, 1), pixels: vec![7; 3] }) } else { Err("none".into()) },
        flaws: Vec::new(),
        class: None,
        text: None,
    }));
    files.retain(|file| !file.parts.is_empty() && (file.text.is_some() || !file.parts[0].ends_with(".txt")));
    let layouts: &[&dyn import::layout::Layout] = if bytes.len() % 2 == 0 { &[datasets::ARCHIVE] } else { &[] };
    match import::arranged(files, layouts, bytes.len() % 3) {
        Ok(set) => {
            let classes = set.class_names.len();
            let good = |label: u16| match classes {
                0 => label == packed::NO_LABEL,
                _ => usize::from(label) < classes,
            };
            assert!(set.train.iter().chain(&set.test).all(|(label, _)| good(*label)));
            assert!(!set.train.is_empty(), "{:?}", set.skipped);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
