//! Settings as an object of names and values, read as a recipe reads them, with messages that name the setting.

use erased_serde::Deserializer as AnyDeserializer;
use serde_json::{Map, Value as Json};

use crate::served::Served;
use crate::{Choice, Entry, Error, Kind, Reader, Registry, Result, did_you_mean};

/// The entry of this kind and name with these settings, checked.
pub(super) fn choose<K: Kind + ?Sized>(
    registry: &Registry,
    name: &str,
    settings: &Json,
) -> Result<Choice<K>> {
    let (entry, reader) = registry.find::<K>(name)?;
    let owner = format!("the {} `{}`", K::WORD, entry.name);
    let Json::Object(settings) = settings else {
        return Err(setting(
            &format!("the settings of {owner}"),
            format!("are {settings}, expected an object"),
        ));
    };
    refuse_unknown::<K>(entry, &owner, settings)?;
    let choice = read(entry, reader, settings).map_err(|error| {
        let alone = |name: &String| Map::from_iter([(name.clone(), settings[name].clone())]);
        let without = |name: &String| {
            let mut rest = settings.clone();
            rest.shift_remove(name);
            rest
        };
        let at_fault = settings.keys().find(|name| read(entry, reader, &without(name)).is_ok());
        let at_fault = at_fault.or_else(|| settings.keys().find(|n| read(entry, reader, &alone(n)).is_err()));
        match at_fault {
            Some(name) => {
                setting(&format!("`{name}` of {owner}"), reworded(&settings[name], &error.to_string()))
            }
            None => setting(&owner, format!("refuses its settings: {error}")),
        }
    })?;
    if let Some(idle) = choice.given.iter().find(|given| K::ignores(&choice.config).contains(given)) {
        let message = "plays no part with its other settings; leave it out".into();
        return Err(setting(&format!("`{idle}` of {owner}"), message));
    }
    choice.validate().map_err(|error| owned(error, &owner))?;
    Ok(choice)
}

fn read<K: Kind + ?Sized>(
    entry: &Entry,
    reader: &Reader<K>,
    settings: &Map<String, Json>,
) -> Result<Choice<K>, erased_serde::Error> {
    reader.choose(&entry.name, &mut <dyn AnyDeserializer<'_>>::erase(Json::Object(settings.clone())))
}

fn refuse_unknown<K: Kind + ?Sized>(entry: &Entry, owner: &str, settings: &Map<String, Json>) -> Result<()> {
    let schema = (entry.schema)();
    let own = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let known: Vec<&str> = own.chain(K::Served::FIELDS.iter().copied()).collect();
    let Some(unknown) = settings.keys().find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
    let has = if known.is_empty() { "none".to_string() } else { known.join(", ") };
    let hint = did_you_mean(unknown, known);
    Err(setting(&format!("`{unknown}`"), format!("is no setting of {owner}; its settings: {has}{hint}")))
}

fn setting(setting: &str, message: String) -> Error {
    Error::Setting { setting: setting.into(), message }
}

/// The same error, which names whose setting it is about.
pub(super) fn owned(error: Error, owner: &str) -> Error {
    let of = |what: String| format!("`{what}` of {owner}");
    match error {
        Error::Range { what, got, wanted } => Error::Range { what: of(what), got, wanted },
        Error::Setting { setting, message } => Error::Setting { setting: of(setting), message },
        other => other,
    }
}

/// What serde says of a value, going on after the setting's name.
fn reworded(value: &Json, said: &str) -> String {
    let Some((found, wanted)) = said.split_once(", expected ") else { return format!("is {value}: {said}") };
    let wanted = match wanted {
        "f64" | "f32" => "a number",
        "u64" | "usize" | "u32" => "a whole number from 0",
        "i64" | "isize" | "i32" => "a whole number",
        "a boolean" => "true or false",
        "a string" => "a text",
        "a map" => "an object of names and values",
        other => other,
    };
    let names = wanted.split('`').skip(1).step_by(2);
    let hint = match found.strip_prefix("unknown variant `").and_then(|rest| rest.strip_suffix('`')) {
        Some(unknown) => did_you_mean(unknown, names),
        None => String::new(),
    };
    format!("is {value}, expected {wanted}{hint}")
}
