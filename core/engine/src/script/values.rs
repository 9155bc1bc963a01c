//! Values of a script, in words and as numbers.

use rhai::Dynamic;

use crate::script::live::Live;

/// The type of a value, as people call it.
pub fn kind_of(value: &Dynamic) -> &str {
    let kinds = [
        (value.is::<Live>(), "a tensor"),
        (value.is_unit(), "nothing"),
        (value.is_int() || value.is_float(), "a number"),
        (value.is_bool(), "true or false"),
        (value.is_string(), "a text"),
        (value.is_map(), "a map"),
        (value.is_array(), "an array"),
    ];
    kinds.into_iter().find(|(is, _)| *is).map_or_else(|| value.type_name(), |(_, name)| name)
}

/// A number, whole or not.
pub fn number(value: &Dynamic) -> Option<f64> {
    value.as_float().ok().or_else(|| value.as_int().ok().map(|v| v as f64))
}
