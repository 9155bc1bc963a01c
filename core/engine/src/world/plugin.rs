//! Plugins that are not part of this program.

use admix_api::{Entry, Origin};

/// How messages name a plugin of a library or script; `None` for one of this program.
pub(super) fn watched(entry: &Entry, name: &str, settings: &serde_json::Value) -> Option<String> {
    let from = match (&entry.origin, settings["file"].as_str()) {
        (Origin::Library { path, .. } | Origin::Script { path }, _) => path.display().to_string(),
        (Origin::Linked { .. }, Some(file)) if entry.name == "script" => file.to_string(),
        (Origin::Linked { .. }, _) => return None,
    };
    Some(format!("{} `{name}` ({from})", entry.kind()))
}
