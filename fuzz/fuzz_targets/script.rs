//! The text of scripts: compiled in the sandbox, their functions looked up, `params` called. The verbs, which need
//! libtorch, are not there.
#![no_main]

#[path = "engine/error.rs"]
mod error;
#[path = "../../core/engine/src/param.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod param;
#[path = "../../core/engine/src/text.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod text;
#[path = "../../core/engine/src/script"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod script {
    pub mod language;
    pub mod sandbox;

    /// As the engine's, without tensors.
    pub mod values {
        use rhai::Dynamic;

        pub fn kind_of(value: &Dynamic) -> &str {
            value.type_name()
        }

        pub fn number(value: &Dynamic) -> Option<f64> {
            value.as_float().ok().or_else(|| value.as_int().ok().map(|v| v as f64))
        }
    }
}
/// The names of some verbs, for suggestions.
mod method {
    pub mod vocabulary {
        pub struct Verb {
            pub name: &'static str,
        }
        pub const VERBS: &[Verb] = &[Verb { name: "exp" }, Verb { name: "softmax" }, Verb { name: "where" }];
    }
}

use error::{Error, Result};
use libfuzzer_sys::fuzz_target;
use script::language::{Dialect, Script};

/// An error at a place of the text, in words.
fn told<T>(outcome: Result<T>, text: &str) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(Error::Script { line, message, .. }) => {
            assert!(line <= text.lines().count() + 1, "{line}: {message}");
            assert!(!message.is_empty());
            None
        }
        Err(other) => panic!("an error without a place: {other}"),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let dialect = Dialect { names: vec!["mix", "loss", "learn"], kind_of: |_| None, register: |_| {} };
    let Some(script) = told(Script::compile(text, "fuzz.rhai", dialect), text) else { return };
    for name in ["step", "mix", "plan", "loss", "weights", "schedule", "params"] {
        let _ = (script.has(name), script.place_of(name));
        told(script.takes(name, 1), text);
    }
    for (name, value) in told(script.params(), text).into_iter().flatten() {
        let _ = (name, value.kind(), value.to_string());
    }
});
