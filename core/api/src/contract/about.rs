//! Promises about what an entry says of itself.

use serde_json::Value as Json;

use super::ledger::{Ledger, Promise};
use super::watch::{ensure, guarded};
use crate::entry::Entry;

const TOLD: &str = "has a name, a summary and a source";
const DOCUMENTED: &str = "settings are documented, with their defaults";
const HOSTED: &str = "leaves alpha, per, fold and partner to the host";

pub(super) const PROMISES: &[Promise] = &[
    (TOLD, "nothing was asked"),
    (DOCUMENTED, "it has no defaults: it is nothing without settings"),
    (HOSTED, "only a mixer's settings stand beside the host's"),
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
    let served = entry.reader.served();
    if !served.is_empty() {
        let hidden = served.iter().map(|setting| setting.name).find(|name| fields.contains_key(*name));
        ledger.judge(
            HOSTED,
            &at,
            hidden.map_or(Ok(()), |name| {
                Err(format!("its setting `{name}` is read by the host: give it another name").into())
            }),
        );
    }
}
