use serde::de::DeserializeSeed;
use serde_json::{Value, json};

use crate::abi::settings::Shape;

fn fields(properties: Value) -> Shape {
    Shape::of(&json!({"type": "object", "properties": properties}))
}

fn from_ron(shape: &Shape, text: &str) -> Result<Value, String> {
    let mut reader = ron::Deserializer::from_str(text).map_err(|error| error.to_string())?;
    shape.deserialize(&mut reader).map_err(|error| reader.span_error(error).to_string())
}

fn from_json(shape: &Shape, text: &str) -> Result<Value, String> {
    shape.deserialize(&mut serde_json::Deserializer::from_str(text)).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(shape: &Shape, text: &str, parts: &[&str]) {
    let message = from_ron(shape, text).expect_err("refused");
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

/// A choice of a name, or of names that hold something.
fn choice() -> Value {
    let variant = |name: &str, inside: Value| json!({"type": "object", "properties": {name: inside}, "required": [name], "additionalProperties": false});
    json!({"oneOf": [
        {"type": "string", "const": "Drawn"},
        {"type": "string", "enum": ["Fixed", "Learned"]},
        variant("Constant", json!({"type": "number"})),
        variant("Between", json!({"type": "array", "prefixItems": [{"type": "number"}, {"type": "number"}]})),
        variant("Box", json!({"type": "object", "properties": {"side": {"type": "integer"}}})),
    ]})
}

#[test]
fn ron_and_json_give_the_same_values() {
    let shape = fields(json!({
        "on": {"type": "boolean"},
        "whole": {"type": "integer"},
        "count": {"type": "integer", "minimum": 0},
        "share": {"type": "number"},
        "name": {"type": "string"},
        "list": {"type": "array", "items": {"type": "integer"}},
        "pair": {"type": "array", "prefixItems": [{"type": "number"}, {"type": "string"}]},
        "table": {"type": "object", "additionalProperties": {"type": "number"}},
        "inside": {"type": "object", "properties": {"x": {"type": "integer"}}},
        "any": {},
    }));
    let ron = r#"(on: true, whole: -3, count: 7, share: 1e-3, name: "a\"b", list: [1, 2], pair: (0.5, "x"),
        table: {"a": 1.5, "b c": 2.0}, inside: (x: 4), any: [1, "two", true])"#;
    let text = r#"{"on": true, "whole": -3, "count": 7, "share": 1e-3, "name": "a\"b", "list": [1, 2],
        "pair": [0.5, "x"], "table": {"a": 1.5, "b c": 2.0}, "inside": {"x": 4}, "any": [1, "two", true]}"#;
    let wanted: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(from_ron(&shape, ron).expect("RON"), wanted);
    assert_eq!(from_json(&shape, text).expect("JSON"), wanted);
}

#[test]
fn choices_are_names_some_of_which_hold_values() {
    let shape = fields(json!({"spread": choice()}));
    for (ron, wanted) in [
        ("Drawn", json!("Drawn")),
        ("Learned", json!("Learned")),
        ("Constant(0.5)", json!({"Constant": 0.5})),
        ("Between(0.25, 1.0)", json!({"Between": [0.25, 1.0]})),
    ] {
        let wanted = json!({"spread": wanted});
        assert_eq!(from_ron(&shape, &format!("(spread: {ron})")).expect(ron), wanted);
        assert_eq!(from_json(&shape, &wanted.to_string()).expect(ron), wanted);
    }
    let names = ["`Drawn`", "`Fixed`", "`Learned`", "`Constant`", "`Between`"];
    refused(&shape, "(spread: Draw)", &[&["unknown variant `Draw`"], &names[..]].concat());
    refused(&shape, "(spread: Constant)", &[]);
    refused(&shape, "(spread: Constant(\"x\"))", &[]);
    refused(&shape, "(spread: Between(0.25))", &[]);
    refused(&shape, "(spread: Drawn(1))", &[]);
    assert!(from_json(&shape, r#"{"spread": {"Drawn": 1}}"#).is_err());
    assert!(from_json(&shape, r#"{"spread": {"Between": [1, 2, 3]}}"#).is_err());
    assert!(from_json(&shape, r#"{"spread": {"Constant": 1, "Fixed": null}}"#).is_err());
}

#[test]
fn a_reference_leads_to_what_it_names_at_any_depth() {
    let shape = Shape::of(&json!({
        "type": "object",
        "properties": {"list": {"type": "array", "items": {"$ref": "#/$defs/Spread"}}},
        "$defs": {"Spread": choice()},
    }));
    let value = from_ron(&shape, "(list: [Drawn, Constant(2.0)])").expect("read");
    assert_eq!(value, json!({"list": ["Drawn", {"Constant": 2.0}]}));
    // Older schemas say `definitions`.
    let older = json!({"$ref": "#/definitions/A", "definitions": {"A": {"type": "integer"}}});
    assert_eq!(Shape::of(&older), Shape::Whole(true));
    // One that leads nowhere may be anything.
    assert_eq!(Shape::of(&json!({"$ref": "#/$defs/B", "$defs": {}})), Shape::Any);
    assert_eq!(Shape::of(&json!({"$ref": "https://example.com/x.json"})), Shape::Any);
}

#[test]
fn options_are_a_value_or_none() {
    for schema in
        [json!({"type": ["number", "null"]}), json!({"anyOf": [{"type": "number"}, {"type": "null"}]})]
    {
        let shape = fields(json!({"x": schema}));
        assert_eq!(from_ron(&shape, "(x: None)").expect("none"), json!({"x": null}));
        assert_eq!(from_ron(&shape, "(x: Some(0.5))").expect("some"), json!({"x": 0.5}));
        assert_eq!(from_json(&shape, r#"{"x": null}"#).expect("none"), json!({"x": null}));
        assert_eq!(from_json(&shape, r#"{"x": 0.5}"#).expect("some"), json!({"x": 0.5}));
        refused(&shape, "(x: Some(\"a\"))", &["float"]);
    }
}

#[test]
fn an_unknown_field_is_told_with_the_known_ones_and_its_line() {
    let shape = fields(json!({"cells": {"type": "integer"}, "share": {"type": "number"}}));
    refused(&shape, "(\n    cell: 3,\n)", &["2:", "unknown field `cell`", "`cells`, `share`"]);
    let none = fields(json!({}));
    refused(&none, "(a: 1)", &["unknown field `a`, expected one of none"]);
}

#[test]
fn a_field_that_is_there_twice_is_refused() {
    let shape = fields(json!({"cells": {"type": "integer"}}));
    refused(&shape, "(cells: 3, cells: 4)", &["the field `cells` is there twice; remove one"]);
    let message = from_json(&shape, r#"{"cells": 3, "cells": 3}"#).expect_err("twice");
    assert!(message.contains("the field `cells` is there twice"), "{message}");
    let table = fields(json!({"t": {"type": "object", "additionalProperties": {"type": "number"}}}));
    refused(&table, r#"(t: {"a": 1.0, "a": 2.0})"#, &["the field `a` is there twice"]);
}

#[test]
fn numbers_that_json_cannot_say_are_refused() {
    let shape = fields(json!({"share": {"type": "number"}}));
    for text in ["inf", "-inf", "NaN"] {
        refused(&shape, &format!("(share: {text})"), &["is not a finite number"]);
    }
    // Far out of range: never null in its place.
    let far = from_ron(&shape, "(share: 1e999)");
    assert!(far.is_err(), "{far:?}");
}

#[test]
fn a_value_of_the_wrong_kind_is_told_with_the_right_one() {
    for (schema, text, wanted) in [
        (json!({"type": "boolean"}), "3", "oolean"),
        (json!({"type": "integer"}), "\"x\"", "integer"),
        (json!({"type": "integer", "minimum": 0}), "-1", "out of bounds"),
        (json!({"type": "number"}), "true", "float"),
        (json!({"type": "string"}), "4", "string"),
    ] {
        let shape = fields(json!({"x": schema}));
        refused(&shape, &format!("(x: {text})"), &["1:", wanted]);
    }
    let lists = fields(json!({"x": {"type": "array", "items": {"type": "integer"}}}));
    assert!(from_json(&lists, r#"{"x": 3}"#).expect_err("a list").contains("expected a list"));
    let pair = json!({"type": "array", "prefixItems": [{"type": "number"}, {"type": "number"}]});
    let pair = fields(json!({"x": pair}));
    assert!(from_json(&pair, r#"{"x": [1]}"#).expect_err("two").contains("expected 2 values"));
    assert!(from_json(&pair, r#"{"x": [1, 2, 3]}"#).is_err());
    refused(&pair, "(x: (1.0))", &[]);
}

#[test]
fn a_reference_to_itself_ends() {
    let circle = json!({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}});
    assert_eq!(Shape::of(&circle), Shape::Any);
    let list = json!({
        "type": "object", "properties": {"a": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}},
    });
    let value = from_ron(&Shape::of(&list), "(a: [[], [[]]])").expect("read");
    assert_eq!(value, json!({"a": [[], [[]]]}));
}

#[test]
fn a_reference_that_branches_into_itself_stays_small() {
    // Ten fields of the same kind, at every depth: 10^6 parts, if nothing ended it.
    let many: serde_json::Map<String, Value> =
        (0..10).map(|index| (format!("f{index}"), json!({"$ref": "#/$defs/A"}))).collect();
    let schema = json!({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": many}}});
    fn parts(shape: &Shape) -> usize {
        match shape {
            Shape::Fields(fields) => 1 + fields.iter().map(|(_, shape)| parts(shape)).sum::<usize>(),
            _ => 1,
        }
    }
    let count = parts(&Shape::of(&schema));
    assert!((1_000..100_000).contains(&count), "{count}");
}

#[test]
fn what_the_schema_does_not_say_may_be_anything() {
    for schema in [json!({}), json!(true), json!(null), json!({"type": "wheel"}), json!({"enum": [1, 2]})] {
        assert_eq!(Shape::of(&schema), Shape::Any, "{schema}");
    }
    let value = from_ron(&Shape::Any, r#"{"a": [1, 2.5], "b": "c"}"#).expect("read");
    assert_eq!(value, json!({"a": [1, 2.5], "b": "c"}));
    // Names with and without quotes.
    let value = from_ron(&fields(json!({"any": {}})), r#"(any: (x: 1, y: {"z z": 2}))"#).expect("read");
    assert_eq!(value, json!({"any": {"x": 1, "y": {"z z": 2}}}));
}

#[test]
fn a_plugin_whose_schema_names_nothing_has_no_settings() {
    for schema in [json!({}), json!({"type": "object"}), json!({"type": "object", "properties": {}})] {
        let shape = Shape::of_settings(&schema);
        assert_eq!(from_ron(&shape, "()").expect("none"), json!({}), "{schema}");
        refused(&shape, "(cells: 3)", &["unknown field `cells`, expected one of none"]);
    }
}
