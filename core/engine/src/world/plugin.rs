//! Plugins that are not part of this program.

use admix_api::{Entry, Origin};

use crate::bundled;
use crate::script::ScriptText;

/// How messages name a plugin of a library or script; `None` for one of this program, whose scripts are among these.
pub(super) fn watched(
    entry: &Entry,
    name: &str,
    settings: &serde_json::Value,
    scripts: &[ScriptText],
) -> Option<String> {
    let is_bundled = |file: &str| {
        let mut read = scripts.iter().filter(|script| script.written == file);
        read.any(|script| bundled::part(&script.file).is_some_and(|(text, _)| text == script.text))
    };
    let from = match (&entry.origin, settings["file"].as_str()) {
        (Origin::Library { path, .. } | Origin::Script { path }, _) => path.display().to_string(),
        (Origin::Linked { .. }, Some(file)) if entry.name == "script" && !is_bundled(file) => {
            file.to_string()
        }
        (Origin::Linked { .. }, _) => return None,
    };
    Some(format!("{} `{name}` ({from})", entry.kind()))
}
