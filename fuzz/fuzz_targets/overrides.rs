//! `--set path=value` on bundled recipes: the first byte chooses the recipe, each line is one flag.
#![no_main]

#[path = "engine/error.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod error;
#[path = "../../core/engine/src/recipe"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod recipe {
    pub mod locate;
    pub mod overrides;
}
#[path = "../../core/engine/src/text.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod text;

use error::{Error, Result};
use libfuzzer_sys::fuzz_target;
use recipe::locate;
use recipe::overrides::Override;

const RECIPES: [&str; 4] = [
    "(method: \"mixup\")",
    include_str!("../../configs/cifar10/r18/mixup.ron"),
    include_str!("../../configs/cifar10/r18/moco_mixup.ron"),
    include_str!("../../configs/cifar10/r18/amix.ron"),
];

fuzz_target!(|bytes: &[u8]| {
    let Some((first, flags)) = bytes.split_first() else { return };
    let Ok(flags) = std::str::from_utf8(flags) else { return };
    let mut text = RECIPES[usize::from(*first) % RECIPES.len()].to_string();
    for flag in flags.lines().take(4) {
        let Ok(change) = flag.parse::<Override>() else { continue };
        assert!(!change.path.is_empty() && !change.value.is_empty());
        match locate::set(&text, &change.path, &change.value) {
            Ok(edited) => {
                // What was set is what is read.
                let found = locate::find(&edited, &change.path).map(|span| &edited[span]);
                assert_eq!(found, Some(change.value.as_str()), "{change:?}\n{text}\n{edited}");
                let span = locate::added(&text, &edited, &change.path).expect("it was added");
                let _ = &edited[span];
                text = edited;
            }
            Err(message) => assert!(!message.is_empty()),
        }
    }
});
