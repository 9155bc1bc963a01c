//! Mixers of a recipe that are choices among its others: what they may name.

use admix_api::did_you_mean;

use super::recipe::Recipe;
use crate::Result;
use crate::text::list;

/// Checks that every choice of a recipe names mixers of the recipe that are no choices themselves.
pub(crate) fn validate(recipe: &Recipe) -> Result<()> {
    for (name, choice) in &recipe.mixers {
        let Some(options) = choice.config.choices() else { continue };
        let refuse = |option: &str, message: String| {
            Err(recipe.field_error(&format!("mixers.{name}.of.{option}"), message))
        };
        for option in options.keys() {
            if option == name {
                return refuse(
                    option,
                    "is the choice itself; it picks among the recipe's other mixers".into(),
                );
            }
            match recipe.mixers.iter().find(|(have, _)| have == option) {
                Some((_, found)) if found.config.choices().is_some() => {
                    let message = "is a choice too; name the mixers that it picks from in one choice";
                    return refuse(option, message.into());
                }
                Some(_) => {}
                None => {
                    let names =
                        || recipe.mixers.iter().map(|(have, _)| have.as_str()).filter(|have| have != name);
                    let hint = did_you_mean(option, names());
                    return refuse(
                        option,
                        format!(
                            "is no mixer of the recipe; beside the choice it has {}{hint}",
                            list(names())
                        ),
                    );
                }
            }
        }
    }
    Ok(())
}
