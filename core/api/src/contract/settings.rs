//! Promises about what a plugin says of itself and how its settings are read.

use std::cell::RefCell;

use serde::de::DeserializeSeed;
use serde_json::{Value as Json, json};

use super::ledger::{Ledger, Promise};
use super::watch::{Check, Seen, ensure, guarded};
use crate::read::{Body, Taken};
use crate::{Entry, LossConfig, MixerConfig, Pairing, PluginKind, ReadLoss, ReadMixer};

const TOLD: &str = "has a name, a summary and a source";
const DOCUMENTED: &str = "settings are documented, with their defaults";
const HOSTED: &str = "leaves alpha, per, fold and partner to the host";
const READ: &str = "settings are read and in range";
const REFUSED: &str = "unknown settings are refused by name";
const BACK: &str = "settings read back as themselves";
/// Also where a plugin panics outside of any promise.
pub(super) const BUILT: &str = "is built from its settings";

pub(super) const PROMISES: &[Promise] = &[
    (TOLD, "nothing was asked"),
    (DOCUMENTED, "it has no defaults: it is nothing without settings"),
    (HOSTED, "only a mixer's settings stand beside the host's"),
    (READ, "no settings were tried"),
    (REFUSED, "no settings were tried"),
    (BACK, "its settings were not read"),
    (BUILT, "its settings were not read"),
];

/// The promises that hold without any settings.
pub(super) fn about(entry: &Entry, ledger: &mut Ledger) {
    let at = format!("`{}`", entry.name);
    ledger.holds(TOLD, &at, || {
        for (what, text) in [
            ("name", &entry.name),
            ("type name", &entry.type_name),
            ("summary", &entry.summary),
            ("source", &entry.source),
        ] {
            ensure(!text.trim().is_empty(), || format!("its {what} is empty"))?;
            ensure(!text.contains('\n'), || format!("its {what} has more than one line"))?;
        }
        Ok(())
    });
    let defaults = guarded(|| Ok((entry.defaults)()));
    if matches!(defaults, Ok(Json::Null)) {
        return;
    }
    let defaults = defaults.and_then(|defaults| match defaults {
        Json::Object(fields) => Ok(fields),
        other => Err(format!("its defaults are {other}, no object").into()),
    });
    let fields = match defaults {
        Ok(fields) => fields,
        Err(seen) => {
            ledger.judge(DOCUMENTED, &at, Err(seen));
            return;
        }
    };
    ledger.holds(DOCUMENTED, &at, || {
        let schema = (entry.schema)();
        for (field, value) in &fields {
            let documented = &schema["properties"][field];
            let description = documented["description"].as_str().unwrap_or_default();
            ensure(!description.trim().is_empty(), || format!("`{field}` has no description"))?;
            let written = &documented["default"];
            ensure(written == value, || {
                format!("the default of `{field}` is {value}, and documented as {written}")
            })?;
        }
        Ok(())
    });
    if entry.kind() == PluginKind::Mixer {
        let hidden = Pairing::FIELDS.into_iter().find(|name| fields.contains_key(*name));
        ledger.judge(
            HOSTED,
            &at,
            hidden.map_or(Ok(()), |name| {
                Err(format!("its setting `{name}` is read by the host: give it another name").into())
            }),
        );
    }
}

/// Settings as they are read, with what makes them comparable.
trait Config {
    fn valid(&self) -> crate::Result<()>;
    fn full(&self) -> Json;
}

impl Config for (Box<dyn MixerConfig>, Pairing) {
    fn valid(&self) -> crate::Result<()> {
        self.1.validate()?;
        self.0.validate()
    }
    fn full(&self) -> Json {
        self.0.resolved()
    }
}

impl Config for Box<dyn LossConfig> {
    fn valid(&self) -> crate::Result<()> {
        self.validate()
    }
    fn full(&self) -> Json {
        self.resolved()
    }
}

/// Reads a mixer's settings, and with them those that the host serves.
pub(super) fn mixer(
    entry: &Entry,
    (read, pairing): (&ReadMixer, &Pairing),
    settings: &Json,
    ledger: &mut Ledger,
) -> Option<(Box<dyn MixerConfig>, Pairing)> {
    let read = |settings: &Json| {
        let taken = RefCell::new(Taken::of(pairing));
        let config = Body { read, taken: &taken }.deserialize(settings.clone()).map_err(|e| e.to_string())?;
        Ok((config, taken.into_inner().pairing))
    };
    examined(entry, &read, settings, ledger)
}

/// Reads a loss's settings.
pub(super) fn loss(
    entry: &Entry,
    read: &ReadLoss,
    settings: &Json,
    ledger: &mut Ledger,
) -> Option<Box<dyn LossConfig>> {
    let read = |settings: &Json| {
        let mut body = <dyn erased_serde::Deserializer<'_>>::erase(settings.clone());
        read(&mut body).map_err(|e| e.to_string().into())
    };
    examined(entry, &read, settings, ledger)
}

fn examined<T: Config>(
    entry: &Entry,
    read: &dyn Fn(&Json) -> Result<T, Seen>,
    settings: &Json,
    ledger: &mut Ledger,
) -> Option<T> {
    let mut config = None;
    ledger.holds(READ, settings, || {
        let found = read(settings)?;
        found.valid()?;
        config = Some(found);
        Ok(())
    });
    ledger.holds(REFUSED, settings, || refused(read, settings));
    let config = config?;
    ledger.holds(BACK, settings, || {
        let full = config.full();
        if settings.as_object().is_some_and(serde_json::Map::is_empty) {
            let defaults = (entry.defaults)();
            ensure(full == defaults || defaults.is_null(), || {
                format!("{{}} is read as {full}, and the defaults are {defaults}")
            })?;
        }
        let again = read(&full).map_err(|seen| format!("{full} is not read back: {}", seen.text))?.full();
        ensure(full == again, || format!("{full} is read back as {again}"))
    });
    Some(config)
}

fn refused<T>(read: &dyn Fn(&Json) -> Result<T, Seen>, settings: &Json) -> Check {
    const UNKNOWN: &str = "no_such_setting";
    let mut more = settings.clone();
    let Some(fields) = more.as_object_mut() else { return Err("the settings are no JSON object".into()) };
    fields.insert(UNKNOWN.into(), json!(1));
    match read(&more) {
        Ok(_) => Err(format!("`{UNKNOWN}` was taken without a word").into()),
        Err(seen) => ensure(seen.text.contains(UNKNOWN), || {
            format!("the error does not name `{UNKNOWN}`: {}", seen.text)
        }),
    }
}
