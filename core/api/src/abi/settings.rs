//! Reading a plugin's settings by its JSON schema: from a recipe, with the recipe's lines in errors, into JSON.
//!
//! A library's settings have no Rust type here. The schema takes its place: it says what to expect at every field,
//! which formats such as RON need to know before they read. Free of libtorch, so that it can be fuzzed alone.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde_json::{Map, Value};

/// A schema is followed this deep; references may run in circles.
const DEPTH: usize = 12;
/// And this far in all: references may also branch, which doubles what is below them at every step.
const PARTS: usize = 4_000;

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Anything.
    Any,
    /// true or false.
    Switch,
    /// A whole number; the flag says whether it may be negative.
    Whole(bool),
    /// A number.
    Number,
    /// A text.
    Text,
    /// A list of one kind of value.
    List(Box<Shape>),
    /// A fixed number of values.
    Tuple(Vec<Shape>),
    /// Names to one kind of value.
    Table(Box<Shape>),
    /// Fields.
    Fields(Vec<(String, Shape)>),
    /// One of several names, some of which hold a value.
    Choice(Vec<(String, Option<Shape>)>),
    /// A value or none.
    Optional(Box<Shape>),
}

impl Shape {
    /// The shape that a JSON schema describes. What it does not understand may be anything: the plugin checks its
    /// settings again.
    pub fn of(schema: &Value) -> Self {
        Self::at(schema, schema, DEPTH, &Cell::new(PARTS))
    }

    /// The shape of a plugin's settings: fields, none where the schema names none.
    pub fn of_settings(schema: &Value) -> Self {
        match Self::of(schema) {
            fields @ Self::Fields(_) => fields,
            _ => Self::Fields(Vec::new()),
        }
    }

    fn at(schema: &Value, root: &Value, depth: usize, left: &Cell<usize>) -> Self {
        if depth == 0 || left.get() == 0 {
            return Self::Any;
        }
        left.set(left.get() - 1);
        let below = |schema: &Value| Self::at(schema, root, depth - 1, left);
        if let Some(reference) = schema["$ref"].as_str() {
            let name =
                reference.strip_prefix("#/$defs/").or_else(|| reference.strip_prefix("#/definitions/"));
            let found =
                name.and_then(|name| root.get("$defs").or_else(|| root.get("definitions"))?.get(name));
            return found.map_or(Self::Any, below);
        }
        if let Some(many) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
            let is_null = |schema: &&Value| schema["type"] == "null";
            let rest: Vec<&Value> = many.iter().filter(|one| !is_null(one)).collect();
            if rest.len() < many.len() {
                return match rest.as_slice() {
                    [one] => Self::Optional(Box::new(below(one))),
                    _ => Self::Any,
                };
            }
            return Self::choice(&rest, below);
        }
        if let Some(names) = schema["enum"].as_array() {
            let names: Option<Vec<_>> = names.iter().map(|n| Some((n.as_str()?.to_string(), None))).collect();
            return names.map_or(Self::Any, Self::Choice);
        }
        if schema["const"].is_string() || is_variant(schema) {
            return Self::choice(&[schema], below);
        }
        match &schema["type"] {
            Value::String(kind) => Self::typed(kind, schema, below),
            Value::Array(kinds) => {
                let rest: Vec<&str> =
                    kinds.iter().filter_map(Value::as_str).filter(|k| *k != "null").collect();
                match rest.as_slice() {
                    [kind] => Self::Optional(Box::new(Self::typed(kind, schema, below))),
                    _ => Self::Any,
                }
            }
            _ => Self::Any,
        }
    }

    fn typed(kind: &str, schema: &Value, below: impl Fn(&Value) -> Self) -> Self {
        match kind {
            "boolean" => Self::Switch,
            "integer" => Self::Whole(schema["minimum"].as_f64().is_none_or(|least| least < 0.0)),
            "number" => Self::Number,
            "string" => Self::Text,
            "array" => match schema["prefixItems"].as_array() {
                Some(items) => Self::Tuple(items.iter().map(below).collect()),
                None => Self::List(Box::new(below(&schema["items"]))),
            },
            "object" => match schema["properties"].as_object() {
                Some(fields) => {
                    Self::Fields(fields.iter().map(|(name, schema)| (name.clone(), below(schema))).collect())
                }
                None if schema["additionalProperties"].is_object() => {
                    Self::Table(Box::new(below(&schema["additionalProperties"])))
                }
                // Without settings of its own.
                None => Self::Fields(Vec::new()),
            },
            _ => Self::Any,
        }
    }

    fn choice(schemas: &[&Value], below: impl Fn(&Value) -> Self) -> Self {
        let mut variants = Vec::new();
        for schema in schemas {
            if let Some(name) = schema["const"].as_str() {
                variants.push((name.to_string(), None));
            } else if let Some(names) = schema["enum"].as_array() {
                variants.extend(names.iter().filter_map(|n| Some((n.as_str()?.to_string(), None))));
            } else if is_variant(schema) {
                let inside = schema["properties"].as_object().and_then(|all| all.iter().next());
                variants.extend(inside.map(|(name, schema)| (name.clone(), Some(below(schema)))));
            } else {
                return Self::Any;
            }
        }
        Self::Choice(variants)
    }
}

/// `{"type": "object", "properties": {"Constant": ...}, "required": ["Constant"]}`: how a variant that holds a value
/// is described.
fn is_variant(schema: &Value) -> bool {
    let (Some(fields), Some(required)) = (schema["properties"].as_object(), schema["required"].as_array())
    else {
        return false;
    };
    let mut names = fields.keys();
    schema["type"] == "object"
        && fields.len() == 1
        && required.len() == 1
        && required[0].as_str() == names.next().map(String::as_str)
        && schema["additionalProperties"] == Value::Bool(false)
}

impl<'de> DeserializeSeed<'de> for &Shape {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        match self {
            Shape::Any => from.deserialize_any(Reading(self)),
            Shape::Switch => from.deserialize_bool(Reading(self)),
            Shape::Whole(true) => from.deserialize_i64(Reading(self)),
            Shape::Whole(false) => from.deserialize_u64(Reading(self)),
            Shape::Number => from.deserialize_f64(Reading(self)),
            Shape::Text => from.deserialize_string(Reading(self)),
            Shape::List(_) => from.deserialize_seq(Reading(self)),
            Shape::Tuple(items) => from.deserialize_tuple(items.len(), Reading(self)),
            Shape::Table(_) => from.deserialize_map(Reading(self)),
            // Readers look at the names only in their messages, and ours names them.
            Shape::Fields(_) => from.deserialize_struct("", &[], Reading(self)),
            Shape::Choice(_) => from.deserialize_enum("", &[], Reading(self)),
            Shape::Optional(_) => from.deserialize_option(Reading(self)),
        }
    }
}

struct Reading<'a>(&'a Shape);

fn named<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Shape::Any => f.write_str("a value"),
            Shape::Switch => f.write_str("true or false"),
            Shape::Whole(_) => f.write_str("a whole number"),
            Shape::Number => f.write_str("a number"),
            Shape::Text => f.write_str("a text in quotes"),
            Shape::List(_) => f.write_str("a list"),
            Shape::Tuple(items) => write!(f, "{} values", items.len()),
            Shape::Table(_) => f.write_str("a map"),
            Shape::Fields(_) => f.write_str("settings in parentheses"),
            Shape::Choice(variants) => write!(f, "one of {}", named(variants.iter().map(|(name, _)| name))),
            Shape::Optional(_) => f.write_str("a value or None"),
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // JSON has no infinity: better refused here than turned into null.
        serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom(format!("{value} is not a finite number")))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        match self.0 {
            Shape::Optional(inside) => inside.deserialize(from),
            _ => Shape::Any.deserialize(from),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        match self.0 {
            Shape::Tuple(items) => {
                for (index, item) in items.iter().enumerate() {
                    let value = list.next_element_seed(item)?;
                    all.push(value.ok_or_else(|| A::Error::invalid_length(index, &self))?);
                }
            }
            Shape::List(item) => {
                while let Some(value) = list.next_element_seed(item.as_ref())? {
                    all.push(value);
                }
            }
            _ => {
                while let Some(value) = list.next_element_seed(&Shape::Any)? {
                    all.push(value);
                }
            }
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        let key = match self.0 {
            Shape::Fields(_) => Name::Field,
            Shape::Table(_) => Name::Key,
            _ => Name::Either,
        };
        while let Some(name) = map.next_key_seed(key)? {
            if all.contains_key(&name) {
                return Err(A::Error::custom(format!("the field `{name}` is there twice; remove one")));
            }
            let value = match self.0 {
                Shape::Fields(fields) => {
                    let Some((_, shape)) = fields.iter().find(|(known, _)| *known == name) else {
                        let known = named(fields.iter().map(|(name, _)| name));
                        return Err(A::Error::custom(format!(
                            "unknown field `{name}`, expected one of {known}"
                        )));
                    };
                    map.next_value_seed(shape)?
                }
                Shape::Table(inside) => map.next_value_seed(inside.as_ref())?,
                _ => map.next_value_seed(&Shape::Any)?,
            };
            all.insert(name, value);
        }
        Ok(Value::Object(all))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        let Shape::Choice(variants) = self.0 else {
            return Err(A::Error::custom("expected a plain value"));
        };
        let (name, body) = data.variant_seed(Name::Field)?;
        let Some((_, inside)) = variants.iter().find(|(known, _)| *known == name) else {
            let known = named(variants.iter().map(|(name, _)| name));
            return Err(A::Error::custom(format!("unknown variant `{name}`, expected one of {known}")));
        };
        Ok(match inside {
            None => {
                body.unit_variant()?;
                Value::String(name)
            }
            Some(shape @ Shape::Tuple(items)) => {
                let value = body.tuple_variant(items.len(), Reading(shape))?;
                Value::Object(Map::from_iter([(name, value)]))
            }
            Some(shape) => {
                let value = body.newtype_variant_seed(shape)?;
                Value::Object(Map::from_iter([(name, value)]))
            }
        })
    }
}

/// How a name is written.
#[derive(Clone, Copy)]
enum Name {
    /// A field's or variant's: a word.
    Field,
    /// A map's: in quotes.
    Key,
    /// Where the schema does not say which, as the reader finds it.
    Either,
}

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<String, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = String;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<String, E> {
                Ok(name.to_string())
            }
        }
        match self {
            Self::Field => from.deserialize_identifier(Text),
            Self::Key => from.deserialize_str(Text),
            Self::Either => from.deserialize_any(Text),
        }
    }
}
