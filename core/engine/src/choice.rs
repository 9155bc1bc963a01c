//! Mixers that are choices among the recipe's others: what they may name, what they need, which one a mix is made by.
//!
//! The engine does this itself, since no plugin knows the other mixers of a recipe, and since the mix must be recorded as
//! one of the mixer that was picked: a trace that says "a choice" would be replayed as whatever was picked first.

use std::collections::BTreeMap;

use admix_api::{Needs, did_you_mean};

use crate::recipe::Recipe;
use crate::text::list;
use crate::world::MixerUnit;
use crate::{Error, Result};

/// Weights of the mixers that a choice picks from, by the choice's name.
pub type Weights = BTreeMap<String, BTreeMap<String, f64>>;

/// Links every choice to the mixers that it picks from, and lets it need what they need together.
pub(crate) fn link(recipe: &Recipe, units: &mut [MixerUnit]) -> Result<()> {
    for (name, choice) in &recipe.mixers {
        let Some(options) = choice.config.choices() else { continue };
        let field = format!("mixers.{name}.of");
        let (mut picks, mut needs) = (Vec::new(), Needs::images());
        for (option, weight) in options {
            let index = units.iter().position(|unit| unit.name == *option);
            let index =
                index.ok_or_else(|| recipe.field_error(&field, format!("names no mixer `{option}`")))?;
            let so_far = needs.features;
            needs = needs.and(&units[index].needs).ok_or_else(|| {
                let stages = [so_far, units[index].needs.features].map(|stage| stage.unwrap_or_default());
                let message = format!(
                    "picks among mixers that read features of different stages, {} and {} (`{option}`), and a mix is \
                     given one map: set their `stage` alike, or make two choices",
                    stages[0], stages[1]
                );
                recipe.field_error(&field, message)
            })?;
            picks.push((index, *weight));
        }
        for unit in units.iter_mut().filter(|unit| unit.name == *name) {
            (unit.picks, unit.needs) = (std::mem::take(&mut picks), needs.clone());
        }
    }
    Ok(())
}

/// Weights that a script's `schedule` gives for the choice `name`, as `given`. The message of an error goes on after the
/// place in the script.
pub(crate) fn scheduled(
    units: &[MixerUnit],
    name: &str,
    given: BTreeMap<String, Option<f64>>,
) -> Result<BTreeMap<String, f64>, String> {
    let choices = || units.iter().filter(|unit| !unit.picks.is_empty()).map(|unit| unit.name.as_str());
    let Some(unit) = units.iter().find(|unit| unit.name == name && !unit.picks.is_empty()) else {
        let what = match units.iter().find(|unit| unit.name == name) {
            Some(unit) => format!("`{name}` is {}, no choice", unit.plugin),
            None => format!("there is no mixer `{name}`"),
        };
        let hint = did_you_mean(name, choices());
        return Err(format!(
            "`choice` in `schedule`: {what}; the recipe's choices are {}{hint}",
            list(choices())
        ));
    };
    let options = || unit.picks.iter().map(|(index, _)| units[*index].name.as_str());
    let mut weights = BTreeMap::new();
    for (option, weight) in given {
        if !options().any(|known| known == option) {
            let hint = did_you_mean(&option, options());
            return Err(format!(
                "`choice.{name}` in `schedule` names `{option}`, but `{name}` picks among {}{hint}",
                list(options())
            ));
        }
        let weight = weight.filter(|weight| weight.is_finite() && *weight >= 0.0).ok_or_else(|| {
            let got = weight.map(|weight| format!(", got {weight}")).unwrap_or_default();
            format!("`choice.{name}.{option}` in `schedule` must be a finite number from 0{got}")
        })?;
        weights.insert(option, weight);
    }
    if weights.values().all(|weight| *weight == 0.0) {
        return Err(format!(
            "`choice.{name}` in `schedule` leaves nothing to pick: give one of {} a weight above 0",
            list(options())
        ));
    }
    Ok(weights)
}

/// That a choice was asked to do what only a mixer can.
pub(crate) fn no_mixer(units: &[MixerUnit], unit: &MixerUnit) -> Error {
    let names = unit.picks.iter().map(|(index, _)| &units[*index].name);
    Error::Input(format!("`{}` picks one of {} for each mix: name one of these", unit.name, list(names)))
}
