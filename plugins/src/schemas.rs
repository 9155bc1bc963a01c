//! The schema of every plugin says enough to read its settings: what a host reads by the schema alone, from a library
//! that it knows nothing else of, is what the plugin's own reader reads.

use admix_api::abi::settings::Shape;
use admix_api::{Entry, Registry, erased_serde};
use proptest::prelude::*;
use serde::de::DeserializeSeed;
use serde_json::{Value, json};

use crate::contract::all_settings;

/// The settings in full, as the plugin's own reader understands what a format's reader gives it.
fn resolved(entry: &Entry, body: &mut dyn erased_serde::Deserializer<'_>) -> Result<Value, String> {
    entry.reader.resolved(body).map_err(|error| error.to_string())
}

/// The same settings as a recipe writes them. Choices without a value are words in RON, others hold one number; of texts the bundled plugins
/// have none but the keys of maps.
fn as_ron(settings: &Value, shape: &Shape) -> String {
    match settings {
        Value::Object(map) if matches!(shape, Shape::Table(_)) => {
            let entries: Vec<String> = map.iter().map(|(name, value)| format!("{name:?}: {value}")).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Object(chosen) if matches!(shape, Shape::Choice(_)) => {
            let told: Vec<String> = chosen.iter().map(|(name, value)| format!("{name}({value})")).collect();
            told.join("")
        }
        Value::Object(fields) => {
            let inside = |name: &str| match shape {
                Shape::Fields(known) => known.iter().find(|(have, _)| have == name).map(|(_, inside)| inside),
                _ => None,
            };
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| {
                    format!("{name}: {}", as_ron(value, inside(name).unwrap_or(&Shape::Any)))
                })
                .collect();
            format!("({})", fields.join(", "))
        }
        Value::String(word) => word.clone(),
        Value::Null => "None".into(),
        plain => plain.to_string(),
    }
}

/// A reader as recipes have it: an option's value is written without `Some`.
fn reader(text: &str) -> ron::Deserializer<'_> {
    let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
    ron::Deserializer::from_str_with_options(text, &options).unwrap()
}

/// Fails unless both ways give the same settings, or the same refusal.
fn agree(entry: &Entry, settings: &Value) -> Result<(), TestCaseError> {
    let shape = Shape::of(&(entry.schema)());
    let text = as_ron(settings, &shape);
    let mut own = reader(&text);
    let own = resolved(entry, &mut <dyn erased_serde::Deserializer<'_>>::erase(&mut own));
    let by_schema = (&shape)
        .deserialize(&mut reader(&text))
        .map_err(|error| error.to_string())
        .and_then(|value| resolved(entry, &mut <dyn erased_serde::Deserializer<'_>>::erase(value)));
    match (own, by_schema) {
        (Ok(own), Ok(by_schema)) => prop_assert_eq!(own, by_schema, "{} {}", entry.name, text),
        (Err(_), Err(_)) => {}
        (own, by_schema) => {
            prop_assert!(false, "{} {text}: {own:?}, by the schema {by_schema:?}", entry.name);
        }
    }
    Ok(())
}

fn bundled() -> Vec<Entry> {
    Registry::linked().unwrap().entries().cloned().collect()
}

#[test]
fn every_tested_setting_is_read_alike_by_the_schema() {
    let entries = bundled();
    assert!(entries.len() >= 8, "{entries:?}");
    for entry in &entries {
        let defaults = (entry.defaults)();
        for settings in all_settings(entry).iter().chain([&defaults]).filter(|settings| !settings.is_null()) {
            let text = as_ron(settings, &Shape::of(&(entry.schema)()));
            let mut own = reader(&text);
            let read = resolved(entry, &mut <dyn erased_serde::Deserializer<'_>>::erase(&mut own));
            assert!(read.is_ok(), "{} {text}: {read:?}", entry.name);
            agree(entry, settings).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn a_wrong_word_is_told_with_the_right_ones() {
    for entry in bundled() {
        let shape = Shape::of(&(entry.schema)());
        let read = |text: &str| (&shape).deserialize(&mut reader(text));
        let message = read("(no_such_setting: 1)").unwrap_err().to_string();
        assert!(message.contains("`no_such_setting`"), "{}: {message}", entry.name);
        let Shape::Fields(fields) = &shape else { panic!("{}: {shape:?}", entry.name) };
        for (name, inside) in fields {
            assert!(message.contains(&format!("`{name}`")), "{}: {message}", entry.name);
            assert_ne!(*inside, Shape::Any, "{}: the schema says nothing of `{name}`", entry.name);
            let Shape::Choice(words) = inside else { continue };
            let message = read(&format!("({name}: NoSuchWord)")).unwrap_err().to_string();
            for (word, _) in words {
                assert!(message.contains(&format!("`{word}`")), "{}: {message}", entry.name);
            }
        }
    }
}

/// A value that may or may not fit what stands there.
fn value(shape: &Shape) -> BoxedStrategy<Value> {
    let fitting = match shape {
        Shape::Switch => any::<bool>().prop_map(|on| json!(on)).boxed(),
        Shape::Whole(_) => (-3i64..8).prop_map(|whole| json!(whole)).boxed(),
        Shape::Number => {
            prop_oneof![(-2.0..3.0f64).prop_map(|number| json!(number)), (0u64..3).prop_map(|n| json!(n))]
                .boxed()
        }
        Shape::Choice(words) => {
            let words: Vec<String> = words.iter().map(|(word, _)| word.clone()).collect();
            proptest::sample::select(words).prop_map(|word| json!(word)).boxed()
        }
        Shape::Table(_) => proptest::collection::btree_map("[a-z]{1,4}", -1.0..3.0f64, 0..4)
            .prop_map(|map| json!(map))
            .boxed(),
        _ => Just(json!(0.5)).boxed(),
    };
    let other = prop_oneof![Just(json!(true)), Just(json!(-1)), Just(json!(1.5)), Just(json!("Elsewhere"))];
    prop_oneof![9 => fitting, 1 => other].boxed()
}

/// A plugin, and some of its settings.
fn plugin_and_settings() -> impl Strategy<Value = (usize, Value)> {
    (0..bundled().len()).prop_flat_map(|index| {
        let Shape::Fields(fields) = Shape::of(&(bundled()[index].schema)()) else { panic!("no fields") };
        let all: Vec<_> = fields
            .into_iter()
            .map(|(name, shape)| {
                proptest::option::of(value(&shape)).prop_map(move |v| Some((name.clone(), v?)))
            })
            .collect();
        all.prop_map(move |given| (index, Value::Object(given.into_iter().flatten().collect())))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_settings_are_read_alike_by_the_schema((index, settings) in plugin_and_settings()) {
        agree(&bundled()[index], &settings)?;
    }
}
