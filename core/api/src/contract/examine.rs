//! Promises about how an entry's settings are read.

use serde_json::{Value as Json, json};

use super::ledger::{Ledger, Promise};
use super::watch::{Check, ensure};

/// The promise that settings are read. Settings that a user made up may break it through no fault of the entry.
pub const READ: &str = "settings are read and in range";
const REFUSED: &str = "unknown settings are refused by name";
const BACK: &str = "settings read back as themselves";
/// The promise that an entry is built from its settings. Also broken where it panics outside of any promise.
pub const BUILT: &str = "is built from its settings";

pub(super) const PROMISES: &[Promise] = &[
    (READ, "no settings were tried"),
    (REFUSED, "no settings were tried"),
    (BACK, "its settings were not read"),
    (BUILT, "its settings were not read"),
];

/// What there is to do with settings that were read as a `T`.
pub(crate) struct Settings<'a, T> {
    /// Reads them.
    pub read: &'a dyn Fn(&Json) -> Result<T, String>,
    /// Checks their ranges.
    pub valid: &'a dyn Fn(&T) -> crate::Result<()>,
    /// Gives them back with defaults.
    pub full: &'a dyn Fn(&T) -> Json,
}

/// Reads an entry's settings, judging how it does so. `defaults` are the entry's.
pub(crate) fn examined<T>(
    defaults: &Json,
    Settings { read, valid, full }: &Settings<'_, T>,
    settings: &Json,
    ledger: &mut Ledger,
) -> Option<T> {
    let mut config = None;
    ledger.holds(READ, settings, || {
        let found = read(settings)?;
        valid(&found)?;
        config = Some(found);
        Ok(())
    });
    ledger.holds(REFUSED, settings, || refused(read, settings));
    let config = config?;
    ledger.holds(BACK, settings, || {
        let found = full(&config);
        if settings.as_object().is_some_and(serde_json::Map::is_empty) {
            ensure(found == *defaults || defaults.is_null(), || {
                format!("{{}} is read as {found}, and the defaults are {defaults}")
            })?;
        }
        let again = full(&read(&found).map_err(|seen| format!("{found} is not read back: {seen}"))?);
        ensure(found == again, || format!("{found} is read back as {again}"))
    });
    Some(config)
}

fn refused<T>(read: &dyn Fn(&Json) -> Result<T, String>, settings: &Json) -> Check {
    const UNKNOWN: &str = "no_such_setting";
    let mut more = settings.clone();
    let Some(fields) = more.as_object_mut() else { return Err("the settings are no JSON object".into()) };
    fields.insert(UNKNOWN.into(), json!(1));
    match read(&more) {
        Ok(_) => Err(format!("`{UNKNOWN}` was taken without a word").into()),
        Err(seen) => {
            ensure(seen.contains(UNKNOWN), || format!("the error does not name `{UNKNOWN}`: {seen}"))
        }
    }
}
