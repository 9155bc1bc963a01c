//! A recipe with every value resolved, and where each comes from.

use serde_json::Value as Json;

use super::locate;
use super::recipe::Recipe;
use crate::{Error, Result};

/// Where a value of a resolved recipe comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This line of the recipe.
    Line(usize),
    /// `--set`.
    Set,
    /// The default.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Set => f.write_str("--set"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Every value of a recipe with its path and origin, defaults included.
///
/// # Errors
/// A value that cannot be written.
pub fn describe(recipe: &Recipe, source: &str) -> Result<Vec<(String, String, Origin)>> {
    Ok(settings(recipe)?
        .into_iter()
        .map(|(path, value)| {
            // `optimizer.Sgd.lr` is written `optimizer: Sgd(lr: ...)`: the variant is no field.
            let written: Vec<&str> =
                path.split('.').filter(|part| !part.starts_with(|c: char| c.is_uppercase())).collect();
            let written = written.join(".");
            let set = recipe
                .overrides
                .iter()
                .any(|o| written == o.path || written.starts_with(&format!("{}.", o.path)));
            let origin = if set {
                Origin::Set
            } else {
                let as_plugin = written.strip_suffix(".plugin").unwrap_or(&written);
                let alone = || {
                    // `Script("mine.rhai")` sets the field `file` without naming it.
                    let owner = written.strip_suffix(".file")?;
                    let span = locate::find(source, owner)?;
                    source[span.clone()].contains('"').then_some(span)
                };
                match locate::find(source, as_plugin).or_else(|| listed(source, as_plugin)).or_else(alone) {
                    Some(span) => Origin::Line(locate::line_column(source, span.start).0),
                    None => Origin::Default,
                }
            };
            (path, value.to_string(), origin)
        })
        .collect())
}

/// Every value of a recipe with its path, defaults included.
///
/// # Errors
/// A value that cannot be written.
pub(crate) fn settings(recipe: &Recipe) -> Result<Vec<(String, Json)>> {
    let all = serde_json::to_value(recipe)
        .map_err(|error| Error::Input(format!("the recipe cannot be written: {error}")))?;
    let mut rows = Vec::new();
    flatten("", &all, &mut rows);
    Ok(rows)
}

/// Elements of `pairs` (`pairs.0.from`) are found as far as their list, those of other lists by their own fields.
fn listed(source: &str, path: &str) -> Option<std::ops::Range<usize>> {
    let parts: Vec<&str> = path.split('.').collect();
    let at = parts.iter().position(|part| part.parse::<usize>().is_ok())?;
    let list = parts[..at].join(".");
    match list.as_str() {
        "pairs" => locate::find(source, &list),
        _ => locate::element(source, &list, parts[at].parse().ok()?, parts.get(at + 1).copied()),
    }
}

fn flatten(path: &str, value: &Json, rows: &mut Vec<(String, Json)>) {
    let under = |name: &str| if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
    match value {
        Json::Object(map) => map.iter().for_each(|(name, v)| flatten(&under(name), v, rows)),
        Json::Array(list) if list.iter().any(Json::is_object) => {
            list.iter().enumerate().for_each(|(i, v)| flatten(&under(&i.to_string()), v, rows));
        }
        other => rows.push((path.to_string(), other.clone())),
    }
}
