//! `admix recipes`, and how every command finds the recipe it is given.

use std::path::{Path, PathBuf};

use admix_api::{Registry, did_you_mean};
use admix_engine::{Override, Recipe, RecipeText, tidy, variants};
use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::failure::bad_input;
use crate::output::{self, Format};

/// Name and text of every file in `configs/`, sorted by name.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/recipes.rs"));

/// A bundled recipe: a file, or one of the recipes of a file.
struct Bundled {
    /// `cifar10/r18/amix`.
    name: String,
    /// What it is.
    about: String,
    file: (&'static str, &'static str),
    variant: Option<String>,
}

impl Bundled {
    fn text(&self) -> Result<RecipeText> {
        let (name, text) = self.file;
        Ok(RecipeText::of(text, &bundled_file(name), self.variant.as_deref())?)
    }

    /// Its text for people.
    fn whole(&self) -> Result<String> {
        let text = self.text()?.text;
        if self.variant.is_none() {
            return Ok(text);
        }
        let tidy = tidy(&text);
        let rest = tidy.split_once('\n').map_or("", |(_, rest)| rest);
        Ok(format!("// {}\n{rest}", self.about))
    }
}

/// Every bundled recipe, sorted by name.
fn bundled() -> Vec<Bundled> {
    let of_file = |file: &(&'static str, &'static str)| {
        let (name, text) = *file;
        let several = variants(text).into_iter().map(|variant| Bundled {
            name: format!("{name}/{}", variant.name),
            about: variant.about,
            file: *file,
            variant: Some(variant.name),
        });
        let mut all: Vec<Bundled> = several.collect();
        if all.is_empty() {
            all.push(Bundled { name: name.into(), about: about(text).into(), file: *file, variant: None });
        }
        all
    };
    let mut all: Vec<Bundled> = FILES.iter().flat_map(of_file).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

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
    /// A recipe's file, one of the recipes of a file, as FILE/NAME, or the name of a bundled one (`admix recipes` lists them).
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

impl RecipeArgs {
    /// Reads the recipe, with the changes and then `more`.
    pub fn read(&self, more: &[Override], registry: &Registry) -> Result<Recipe> {
        let overrides: Vec<Override> = self.changes.set.iter().chain(more).cloned().collect();
        Ok(find(&self.recipe)?.read(&overrides, registry)?)
    }
}

/// `path=value` as `--set` takes it.
pub fn change(path: &str, value: impl ToString) -> Override {
    Override { path: path.into(), value: value.to_string() }
}

/// The recipe of this file, or the bundled one of this name.
pub fn find(recipe: &str) -> Result<RecipeText> {
    let path = Path::new(recipe);
    if let Some(text) = RecipeText::open(path)? {
        return Ok(text);
    }
    if let Some(found) = bundled().iter().find(|bundled| bundled.name == recipe) {
        return found.text();
    }
    if let Some((name, text)) = FILES.iter().find(|(name, _)| *name == recipe) {
        // Tells which recipes it has.
        return Ok(RecipeText::of(text, name, None)?);
    }
    Err(bad_input(format!("no recipe `{recipe}`: {}", remedy(recipe, path.is_dir()))))
}

/// The path of a bundled recipe in the repository: it names the run folder and stands in messages.
fn bundled_file(name: &str) -> String {
    PathBuf::from("configs").join(name).with_added_extension("ron").display().to_string()
}

fn remedy(recipe: &str, is_folder: bool) -> String {
    let name = plain(recipe);
    if is_folder {
        return "that is a folder, expected a file".into();
    }
    let all = bundled();
    if all.iter().any(|bundled| bundled.name == name) {
        return format!("there is no such file; the bundled recipe of this name is `{name}`");
    }
    let hint = did_you_mean(&name, all.iter().map(|bundled| bundled.name.as_str()));
    format!("neither a file nor a bundled recipe; `admix recipes` lists those{hint}")
}

/// Lists the bundled recipes, or prints one.
pub fn recipes(args: &RecipesArgs) -> Result<()> {
    match (&args.name, args.format) {
        (Some(name), Format::Text) => output::print(&whole(name)?),
        (Some(name), Format::Json) => output::print_json(&json!({ "name": name, "text": whole(name)? })),
        (None, Format::Text) => {
            let rows: Vec<_> =
                bundled().into_iter().map(|bundled| vec![bundled.name, bundled.about]).collect();
            output::print(&output::table(&rows))
        }
        (None, Format::Json) => {
            let row = |bundled: Bundled| json!({ "name": bundled.name, "about": bundled.about });
            output::print_json(&bundled().into_iter().map(row).collect::<Vec<_>>())
        }
    }
}

/// The name of a bundled recipe whose path this may be.
fn plain(recipe: &str) -> String {
    let name = recipe.trim_start_matches("./").trim_start_matches("configs/").trim_end_matches(".ron");
    name.replace(".ron/", "/")
}

fn whole(name: &str) -> Result<String> {
    let plain = plain(name);
    let all = bundled();
    let found = all.iter().find(|bundled| bundled.name == plain);
    found.ok_or_else(|| bad_input(format!("no bundled recipe `{name}`: {}", remedy(name, false))))?.whole()
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
        let all = bundled();
        assert!(all.iter().any(|bundled| bundled.name == "quickstart"));
        for bundled in &all {
            let name = &bundled.name;
            assert!(!bundled.about.is_empty(), "{name} must begin with a comment that says what it is");
            let whole = bundled.whole().expect("its text");
            let lines = whole.lines().count();
            assert!(lines <= 40, "{name} has {lines} lines");
            let parsed = bundled.text().expect("its text").read(&[], &registry);
            let parsed = parsed.unwrap_or_else(|error| panic!("{name}: {error}"));
            // What is shown is what is run.
            let shown = Recipe::parse(&whole, &parsed.file, &[], &registry).expect("a recipe");
            assert_eq!(json!(shown), json!(parsed), "{name}");
        }
        assert!(all.windows(2).all(|pair| pair[0].name != pair[1].name), "each name stands for one recipe");
    }

    #[test]
    fn a_bundled_recipe_is_found_by_its_name_and_the_nearest_is_suggested() {
        assert_eq!(find("quickstart").expect("bundled").file, "configs/quickstart.ron");
        let message = |name| find(name).expect_err("unknown").to_string();
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
