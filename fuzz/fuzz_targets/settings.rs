//! Settings read by a JSON schema: the bytes up to the first zero are the schema, the rest is the value, read once as
//! JSON and once as RON.
#![no_main]

// The reader itself, compiled without libtorch.
#[allow(dead_code, reason = "the target uses a part of it")]
#[path = "../../core/api/src/abi/settings.rs"]
mod settings;

use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeSeed;
use serde_json::Value;
use settings::Shape;

/// What was read is a value of the same shape: a recipe that is written out resolved can be read again.
fn same_again(shape: &Shape, value: &Value) {
    let again = shape.deserialize(value);
    assert!(again.as_ref().is_ok_and(|again| again == value), "{shape:?}\n{value}\n{again:?}");
}

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (schema, text) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let Ok(schema) = serde_json::from_slice::<Value>(schema) else { return };
    let shape = Shape::of(&schema);
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Ok(value) = shape.deserialize(&mut serde_json::Deserializer::from_str(text)) {
        same_again(&shape, &value);
    }
    if let Ok(mut reader) = ron::Deserializer::from_str(text)
        && let Ok(value) = shape.deserialize(&mut reader)
    {
        same_again(&shape, &value);
    }
});
