//! `admix recipes`, and how every command finds the recipe it is given.

use std::path::{Path, PathBuf};

use admix_api::{Registry, did_you_mean};
use admix_engine::{Override, Recipe};
use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::failure::bad_input;
use crate::output::{self, Format};

/// Name and text of every recipe in `configs/`, sorted by name.
const BUNDLED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/recipes.rs"));

/// Flags of `admix recipes`.
#[derive(Args)]
pub struct RecipesArgs {
    /// Print this one, such as cifar10/r18/amix.
    name: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// A recipe and what is changed in it: flags of every command that reads one.
#[derive(Args, Debug, Clone)]
pub struct RecipeArgs {
    /// A recipe's file, or the name of a bundled one (`admix recipes` lists them).
    pub recipe: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take it for text of the help")]
    pub changes: Changes,
}

/// What is changed in a recipe.
#[derive(Args, Debug, Clone, Default)]
pub struct Changes {
    /// Change a value of the recipe, such as optimizer.lr=0.05. May be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub set: Vec<Override>,
}

/// The text of a recipe and its name in messages.
pub struct Text {
    /// RON.
    pub text: String,
    /// A path.
    pub file: String,
}

impl RecipeArgs {
    /// Reads the recipe, with the changes and then `more`.
    pub fn read(&self, more: &[Override], registry: &Registry) -> Result<Recipe> {
        let Text { text, file } = find(&self.recipe)?;
        let overrides: Vec<Override> = self.changes.set.iter().chain(more).cloned().collect();
        Ok(Recipe::parse(&text, &file, &overrides, registry)?)
    }
}

/// `path=value` as `--set` takes it.
pub fn change(path: &str, value: impl ToString) -> Override {
    Override { path: path.into(), value: value.to_string() }
}

/// The recipe in this file, or the bundled one of this name.
pub fn find(recipe: &str) -> Result<Text> {
    let path = Path::new(recipe);
    if path.is_file() {
        let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::InvalidData => {
                bad_input(format!("the recipe {recipe} is not text; expected RON"))
            }
            _ => bad_input(format!("cannot read the recipe {recipe}: {source}")),
        })?;
        return Ok(Text { text, file: recipe.into() });
    }
    if let Some((name, text)) = BUNDLED.iter().find(|(name, _)| *name == recipe) {
        return Ok(Text { text: (*text).into(), file: bundled_file(name) });
    }
    Err(bad_input(format!("no recipe `{recipe}`: {}", remedy(recipe, path.is_dir()))))
}

/// The path of a bundled recipe in the repository: it names the run folder and stands in messages.
fn bundled_file(name: &str) -> String {
    PathBuf::from("configs").join(name).with_added_extension("ron").display().to_string()
}

fn remedy(recipe: &str, is_folder: bool) -> String {
    let name = recipe.trim_start_matches("./").trim_start_matches("configs/").trim_end_matches(".ron");
    if is_folder {
        return "that is a folder, expected a file".into();
    }
    if BUNDLED.iter().any(|(have, _)| *have == name) {
        return format!("there is no such file; the bundled recipe of this name is `{name}`");
    }
    let names = BUNDLED.iter().map(|(name, _)| *name);
    format!("neither a file nor a bundled recipe; `admix recipes` lists those{}", did_you_mean(name, names))
}

/// Lists the bundled recipes, or prints one.
pub fn recipes(args: &RecipesArgs) -> Result<()> {
    match (&args.name, args.format) {
        (Some(name), Format::Text) => output::print(bundled(name)?),
        (Some(name), Format::Json) => output::print_json(&json!({ "name": name, "text": bundled(name)? })),
        (None, Format::Text) => {
            let rows: Vec<_> =
                BUNDLED.iter().map(|(name, text)| vec![(*name).into(), about(text).into()]).collect();
            output::print(&output::table(&rows))
        }
        (None, Format::Json) => {
            let rows: Vec<_> =
                BUNDLED.iter().map(|(name, text)| json!({ "name": name, "about": about(text) })).collect();
            output::print_json(&rows)
        }
    }
}

fn bundled(name: &str) -> Result<&'static str> {
    let plain = name.trim_start_matches("configs/").trim_end_matches(".ron");
    let found = BUNDLED.iter().find(|(have, _)| *have == plain).map(|(_, text)| *text);
    found.ok_or_else(|| bad_input(format!("no bundled recipe `{name}`: {}", remedy(name, false))))
}

/// The first line of the comment that a recipe starts with.
fn about(text: &str) -> &str {
    text.lines().next().and_then(|line| line.strip_prefix("//")).map_or("", str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bundled_recipe_says_what_it_is_and_can_be_read() {
        let registry = admix_engine::registry().expect("plugins");
        assert!(BUNDLED.iter().any(|(name, _)| *name == "quickstart"));
        for (name, text) in BUNDLED {
            assert!(!about(text).is_empty(), "{name} must begin with a comment that says what it is");
            let lines = text.lines().count();
            assert!(lines <= 40, "{name} has {lines} lines");
            Recipe::parse(text, &bundled_file(name), &[], &registry)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn a_bundled_recipe_is_found_by_its_name_and_the_nearest_is_suggested() {
        assert_eq!(find("quickstart").expect("bundled").file, "configs/quickstart.ron");
        let message = |name| find(name).err().expect("unknown").to_string();
        assert!(message("quickstrat").contains("Did you mean `quickstart`?"), "{}", message("quickstrat"));
        assert!(message("elsewhere/none.ron").contains("neither a file nor a bundled recipe"));
        let elsewhere = remedy("configs/quickstart.ron", false);
        assert!(elsewhere.contains("the bundled recipe of this name is `quickstart`"), "{elsewhere}");
    }

    #[test]
    fn the_first_comment_line_is_the_summary() {
        assert_eq!(about("// AMix on CIFAR-10.\n// More.\n("), "AMix on CIFAR-10.");
        assert_eq!(about("(\n"), "");
    }
}
