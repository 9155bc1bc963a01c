//! The losses of a run.

use admix_api::{Argument, Loss, LossConfig, Origin, Registry};

use crate::recipe::Recipe;
use crate::world::plugin::watched;
use crate::{Error, Result};

/// A loss by name.
#[derive(Debug)]
pub struct LossUnit {
    /// Its name in scripts.
    pub name: String,
    /// The loss.
    pub loss: Box<dyn Loss>,
    /// As [`MixerUnit::watched`](crate::MixerUnit::watched).
    pub watched: Option<String>,
    /// Whether it comes from a library, of which no more is known than what it computes.
    pub from_library: bool,
    /// Its arguments in order.
    pub arguments: Vec<Argument>,
}

impl LossUnit {
    /// The losses of a recipe, then every other registered one at its defaults.
    ///
    /// # Errors
    /// Settings out of range.
    pub(crate) fn all(recipe: &Recipe, registry: &Registry) -> Result<Vec<Self>> {
        let build = |name: &str, plugin: &str, config: &dyn LossConfig| -> Result<Self> {
            let loss = config.build()?;
            let (entry, _) = registry.find::<dyn Loss>(plugin)?;
            let watched = watched(entry, name, &config.resolved(), &recipe.scripts);
            let from_library = matches!(entry.origin, Origin::Library { .. });
            let arguments = loss.arguments();
            Ok(Self { name: name.to_string(), arguments, loss, watched, from_library })
        };
        let mut losses = Vec::new();
        for (name, choice) in &recipe.losses {
            losses.push(build(name, &choice.plugin, choice.config.as_ref())?);
        }
        for name in registry.names::<dyn Loss>() {
            let (entry, reader) = registry.find::<dyn Loss>(name)?;
            // One without defaults is nothing without settings: a script.
            if losses.iter().any(|l: &Self| l.name == name) || (entry.defaults)().is_null() {
                continue;
            }
            let mut empty = <dyn admix_api::erased_serde::Deserializer<'_>>::erase(serde_json::json!({}));
            let config =
                (reader.read)(&mut empty).map_err(|e| Error::Input(format!("loss `{name}`: {e}")))?;
            losses.push(build(name, name, config.as_ref())?);
        }
        Ok(losses)
    }
}
