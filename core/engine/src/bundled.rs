//! Scripts that come with the program.

/// File name and text of each bundled method.
const SCRIPTS: [(&str, &str); 2] = [
    ("amix.rhai", include_str!("../../../scripts/amix.rhai")),
    ("mixup.rhai", include_str!("../../../scripts/mixup.rhai")),
];

/// The bundled script of this name ("amix", "amix.rhai" or "scripts/amix.rhai"): text and file name.
pub fn script(name: &str) -> Option<(&'static str, &'static str)> {
    let stem = name.strip_prefix("scripts/").unwrap_or(name);
    let stem = stem.strip_suffix(".rhai").unwrap_or(stem);
    SCRIPTS
        .iter()
        .find(|(file, _)| file.strip_suffix(".rhai") == Some(stem))
        .map(|(file, text)| (*text, *file))
}

/// The names of the bundled scripts.
pub fn script_names() -> impl Iterator<Item = &'static str> {
    SCRIPTS.iter().map(|(file, _)| file.strip_suffix(".rhai").unwrap_or(file))
}
