//! The text of recipes: values found in it by their path, and what is said of one that cannot be read.
#![no_main]

#[path = "engine/error.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod error;
#[path = "../../core/engine/src/recipe"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod recipe {
    pub mod complaint;
    pub mod locate;
}
#[path = "../../core/engine/src/text.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod text;

use std::collections::BTreeMap;

use error::{Error, Result};
use libfuzzer_sys::fuzz_target;
use recipe::complaint::Complaint;
use recipe::locate;
use ron::extensions::Extensions;
use serde::Deserialize;

/// Fields of each form that a recipe has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "read only")]
struct Recipe {
    epochs: u64,
    #[serde(default)]
    batch: Option<u32>,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    model: Option<Entry>,
    method: String,
    #[serde(default)]
    mixers: BTreeMap<String, Entry>,
    #[serde(default)]
    optimizer: Option<Entry>,
    #[serde(default)]
    min_lr: f64,
    #[serde(default)]
    evaluate: Option<Evaluate>,
    #[serde(default)]
    heads: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "read only")]
struct Data {
    name: String,
    #[serde(default)]
    flip: bool,
    #[serde(default)]
    crop: Option<i64>,
    #[serde(default)]
    mean: Option<Vec<f32>>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "read only")]
enum Entry {
    MixUp {
        #[serde(default)]
        alpha: f64,
        #[serde(default)]
        per: Option<Per>,
    },
    ResNet {
        depth: u32,
        #[serde(default)]
        stem: Option<Per>,
    },
    Sgd {
        lr: f64,
        #[serde(default)]
        momentum: f64,
        #[serde(default)]
        weight_decay: f64,
    },
    Knn(),
}

#[derive(Deserialize)]
enum Per {
    Batch,
    Sample,
    Small,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "read only")]
struct Evaluate {
    #[serde(default)]
    probes: Vec<Entry>,
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let text = text::without_mark(text);
    for at in (0..=text.len()).step_by(1 + text.len() / 16).filter(|at| text.is_char_boundary(*at)) {
        let (line, column) = locate::line_column(text, at);
        assert!(line >= 1 && column >= 1);
        if let Some((path, span)) = locate::path_at(text, at) {
            assert!(span.start <= at && at <= span.end, "{path} {span:?} {at}");
            let _ = &text[span];
            let _ = locate::find(text, &path);
        }
    }
    let (whole, added) = locate::with_bodies(text, "evaluate.probes");
    assert_eq!(whole.len(), text.len() + 2 * added.len());
    let mut without = whole.clone();
    for end in added.iter().rev() {
        assert_eq!(&without[end - 2..*end], "()");
        without.replace_range(end - 2..*end, "");
    }
    assert_eq!(without, text);

    let options = ron::Options::default()
        .with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES | Extensions::IMPLICIT_SOME)
        .with_recursion_limit(64);
    if let Err(error) = options.from_str::<Recipe>(&whole) {
        let Complaint { offset, message } = Complaint::of(&error, &whole);
        assert!(offset <= whole.len() && whole.is_char_boundary(offset), "{offset} {message}");
        assert!(!message.is_empty());
        let _ = locate::line_column(&whole, offset);
    }
});
