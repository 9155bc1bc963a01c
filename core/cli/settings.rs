//! The settings of an entry in words, from their schema.

use serde_json::Value;

use crate::output;

/// Documentation lines are broken here.
pub const WIDTH: usize = 100;

/// One setting, for people.
#[derive(Debug, PartialEq)]
pub struct Setting {
    pub name: String,
    pub default: String,
    pub kind: String,
    pub doc: String,
    /// Variants that have a documentation.
    pub variants: Vec<(String, String)>,
}

impl Setting {
    pub fn new(name: &str, default: impl ToString, kind: &str, doc: &str) -> Self {
        Self {
            name: name.into(),
            default: default.to_string(),
            kind: kind.into(),
            doc: doc.into(),
            variants: vec![],
        }
    }

    pub fn told(&self) -> String {
        let mut text = format!("  {}: {}   [{}]\n", self.name, self.default, self.kind);
        text.push_str(&output::wrap(&self.doc, 6, WIDTH));
        for (variant, doc) in &self.variants {
            text.push_str(&output::wrap(&format!("{variant}: {doc}"), 8, WIDTH));
        }
        text
    }
}

/// All settings that a schema describes.
pub fn settings(schema: &Value, defaults: &Value) -> Vec<Setting> {
    let Some(properties) = schema["properties"].as_object() else { return Vec::new() };
    let about = |(name, property): (&String, &Value)| Setting {
        name: name.clone(),
        default: as_written(
            // What is nothing without settings has examples in place of defaults.
            if defaults.is_null() { &property["examples"][0] } else { &defaults[name] },
            resolved(property, schema),
        ),
        kind: kind(property, schema),
        doc: property["description"].as_str().unwrap_or_default().into(),
        variants: variants(property, schema),
    };
    properties.iter().map(about).collect()
}

/// Follows `$ref` and a lone `allOf` or `anyOf`.
fn resolved<'a>(property: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(path) = property["$ref"].as_str() {
        return schema
            .pointer(path.trim_start_matches('#'))
            .map_or(property, |target| resolved(target, schema));
    }
    for list in ["allOf", "anyOf"] {
        if let Some([only]) = property[list].as_array().map(Vec::as_slice) {
            return resolved(only, schema);
        }
    }
    property
}

/// The type in words.
fn kind(property: &Value, schema: &Value) -> String {
    let property = resolved(property, schema);
    let all = |list: &Value, of: &dyn Fn(&Value) -> String| {
        list.as_array().map(|list| list.iter().map(of).collect::<Vec<_>>().join(" | "))
    };
    if let Some(names) =
        all(&property["enum"], &|name| name.as_str().map_or(name.to_string(), str::to_string))
    {
        return names;
    }
    let of_list = |list: &Value| all(list, &|variant| variant_name(variant, schema));
    if let Some(names) = of_list(&property["oneOf"]).or_else(|| of_list(&property["anyOf"])) {
        return names;
    }
    match &property["type"] {
        Value::String(word) => type_in_words(word, property, schema),
        Value::Array(words) => {
            let some = words.iter().filter_map(Value::as_str).find(|word| *word != "null").unwrap_or("value");
            format!("{} or None", type_in_words(some, property, schema))
        }
        _ => "value".into(),
    }
}

fn type_in_words(word: &str, property: &Value, schema: &Value) -> String {
    match word {
        "integer" => "whole number".into(),
        "boolean" => "true or false".into(),
        "string" => "text".into(),
        "null" => "None".into(),
        "array" if property["prefixItems"].is_array() => {
            let items = property["prefixItems"].as_array().into_iter().flatten();
            format!("({})", items.map(|item| kind(item, schema)).collect::<Vec<_>>().join(", "))
        }
        "array" if property["items"].is_object() => format!("list: {}", kind(&property["items"], schema)),
        "array" => "list".into(),
        "object" if property["additionalProperties"].is_object() => {
            format!("map: names to {}", kind(&property["additionalProperties"], schema))
        }
        other => other.into(),
    }
}

/// A variant as a recipe writes it: `Learnable`, `Constant(number)`.
fn variant_name(variant: &Value, schema: &Value) -> String {
    if let Some(name) = variant["const"].as_str() {
        return name.into();
    }
    match variant["properties"].as_object().and_then(|fields| fields.iter().next()) {
        Some((name, inner)) => format!("{name}({})", kind(inner, schema)),
        None => kind(variant, schema),
    }
}

fn variants(property: &Value, schema: &Value) -> Vec<(String, String)> {
    let Some(list) = resolved(property, schema)["oneOf"].as_array() else { return Vec::new() };
    let documented =
        |variant: &Value| Some((variant_name(variant, schema), variant["description"].as_str()?.to_string()));
    list.iter().filter_map(documented).collect()
}

/// A value as a recipe writes it.
fn as_written(value: &Value, property: &Value) -> String {
    match value {
        Value::String(text) if property["type"] == "string" && property["enum"].is_null() => {
            format!("{text:?}")
        }
        Value::String(name) => name.clone(),
        Value::Null => "None".into(),
        // A tuple.
        Value::Array(items) if property["prefixItems"].is_array() => {
            let items: Vec<String> = items.iter().map(|item| as_written(item, &Value::Null)).collect();
            format!("({})", items.join(", "))
        }
        Value::Object(map) if property["additionalProperties"].is_object() => {
            let inside = &property["additionalProperties"];
            let entries = map.iter().map(|(name, value)| format!("{name:?}: {}", as_written(value, inside)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) => match fields.iter().next() {
            // An enum's variant with a value.
            Some((name, inner)) if fields.len() == 1 => {
                format!("{name}({})", as_written(inner, &Value::Null))
            }
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_are_told_as_a_recipe_writes_them() {
        let schema = json!({
            "properties": {
                "gamma": { "$ref": "#/$defs/Gamma", "description": "Strength." },
                "size": { "type": ["integer", "null"], "description": "Side." },
            },
            "$defs": { "Gamma": { "oneOf": [
                { "const": "Learnable", "type": "string", "description": "Trained." },
                { "type": "object", "properties": { "Constant": { "type": "number" } }, "description": "Fixed." },
            ] } },
        });
        let found = settings(&schema, &json!({ "gamma": { "Constant": 0.5 }, "size": null }));
        assert_eq!(found[0].kind, "Learnable | Constant(number)");
        assert_eq!(found[0].default, "Constant(0.5)");
        assert_eq!(found[0].variants[1], ("Constant(number)".into(), "Fixed.".into()));
        assert_eq!((found[1].kind.as_str(), found[1].default.as_str()), ("whole number or None", "None"));
    }
}
