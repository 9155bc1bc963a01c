//! What makes a bundled recipe train at toy size: generated images, the fewest channels, as many classes as its data have.
//!
//! The rules are in `tests/toy_size.json`, so that `cargo xtask same` reads those of another revision too. A rule holds
//! for a recipe whose text has one of the parts under `if` and none of those under `unless`.

use serde_json::Value;

/// The settings for the recipe of this text, as `path=value` for `--set`, in the order in which they apply.
///
/// # Errors
/// The rules are not a JSON list of objects with `set` and, where wanted, `if` and `unless`, each a list of texts.
pub fn settings(rules: &str, recipe: &str) -> Result<Vec<String>, String> {
    let rules: Vec<Value> = serde_json::from_str(rules).map_err(|error| error.to_string())?;
    let mut settings = Vec::new();
    for rule in &rules {
        let list = |key: &str| -> Result<Option<Vec<&str>>, String> {
            let wrong = || format!("`{key}` is not a list of texts in the rule {rule}");
            rule.get(key).map(|list| texts(list).ok_or_else(wrong)).transpose()
        };
        let has_one = |parts: Vec<&str>| parts.iter().any(|part| recipe.contains(part));
        if list("if")?.is_none_or(has_one) && !list("unless")?.is_some_and(has_one) {
            let set = list("set")?.ok_or_else(|| format!("the rule {rule} sets nothing"))?;
            settings.extend(set.iter().map(ToString::to_string));
        }
    }
    Ok(settings)
}

fn texts(list: &Value) -> Option<Vec<&str>> {
    list.as_array()?.iter().map(Value::as_str).collect()
}
