//! Reading a recipe: RON with entries looked up by name, errors with line and column.

use std::path::{Path, PathBuf};

use admix_api::{Registry, With};
use ron::extensions::Extensions;

use super::complaint::Complaint;
use super::locate;
use super::overrides::Override;
use super::recipe::Recipe;
use crate::script::{Reading, ScriptText};
use crate::text::without_mark;
use crate::{Error, Result};

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// Syntax, unknown fields or names, wrong types, values out of range: with file, line and column.
    pub fn parse(text: &str, file: &str, overrides: &[Override], registry: &Registry) -> Result<Self> {
        parse(text, file, overrides, registry, &[])
    }

    /// The same with these scripts of mixers and losses in place of the files that the recipe names: those of a
    /// checkpoint, say.
    ///
    /// # Errors
    /// As [`Recipe::parse`].
    pub fn parse_with(
        text: &str,
        file: &str,
        overrides: &[Override],
        registry: &Registry,
        scripts: &[ScriptText],
    ) -> Result<Self> {
        parse(text, file, overrides, registry, scripts)
    }
}

/// How recipes are written.
pub(super) fn options() -> ron::Options {
    ron::Options::default()
        .with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES | Extensions::IMPLICIT_SOME)
        .with_recursion_limit(64)
}

fn parse(
    text: &str,
    file: &str,
    overrides: &[Override],
    registry: &Registry,
    scripts: &[ScriptText],
) -> Result<Recipe> {
    let text = without_mark(text);
    let mut edited = text.to_string();
    let mut set: Vec<(&Override, String)> = Vec::new();
    for change in overrides {
        let before = edited;
        edited = locate::set(&before, &change.path, &change.value)
            // In a recipe that is broken itself, nothing can be set; that is then not the flag's fault.
            .map_err(|message| match parse(text, file, &[], registry, scripts) {
                Err(broken @ Error::Recipe { .. }) => broken,
                _ => Error::Input(format!("--set {}={}: {message}", change.path, change.value)),
            })?;
        set.push((change, before));
    }
    let folder = Path::new(file).parent().map_or_else(PathBuf::new, Path::to_path_buf);
    let reading = Reading::beside(folder, scripts);
    let with_scripts = reading.registry(registry);
    let (readable, added) = locate::with_bodies(&edited, "evaluate.probes");
    let read = |text: &str| options().from_str_seed(text, With::<Recipe>::new(&with_scripts));
    let mut read = read(&readable).map_err(|error| {
        let mut complaint = Complaint::of_outline(&readable)
            .unwrap_or_else(|| Complaint::with_names(&error, &readable, |text| read(text).err()));
        complaint.offset -= 2 * added.iter().filter(|end| **end <= complaint.offset).count();
        // An override that cannot be read is blamed by its flag, not by a place in the file.
        let blamed = set.iter().rev().find(|(change, before)| {
            locate::added(before, &edited, &change.path)
                .is_some_and(|span| span.start <= complaint.offset && complaint.offset <= span.end)
        });
        match blamed {
            Some((change, _)) => {
                Error::Input(format!("--set {}={}: {}", change.path, change.value, complaint.message))
            }
            None => {
                let (line, column) = locate::line_column(&edited, complaint.offset);
                Error::Recipe { file: file.into(), line, column, message: complaint.message }
            }
        }
    })?;
    read.data.complete(registry);
    let mixers = read.mixers.iter().map(|(name, choice)| ("mixers", name, choice.config.resolved()));
    let losses = read.losses.iter().map(|(name, choice)| ("losses", name, choice.config.resolved()));
    let scripts = mixers
        .chain(losses)
        .filter_map(|(table, name, settings)| reading.script(table, name, &settings))
        .collect();
    let recipe = Recipe { file: file.into(), text: edited, overrides: overrides.to_vec(), scripts, ..read };
    recipe.validate()?;
    Ok(recipe)
}
