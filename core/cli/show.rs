//! `admix show`: a whole recipe, resolved.

use std::path::PathBuf;

use admix_engine::{Clock, Param, Session, Shape, describe, method_of};
use admix_torch::{Device, Wanted, open_cuda};
use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::libraries;
use crate::output::{self, Format};
use crate::recipes::{RecipeArgs, find};

/// Flags of `admix show`.
#[derive(Args)]
pub struct ShowArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// A method's script, instead of the recipe's.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Prints every value of a recipe and of its method, with where it comes from.
pub fn show(args: &ShowArgs) -> Result<()> {
    open_cuda(Wanted::Cpu)?;
    let registry = libraries::registry()?;
    let recipe = args.recipe.read(&[], &registry)?;
    let values = describe(&recipe, &find(&args.recipe.recipe)?.text)?;
    let method = method_of(&recipe, args.script.as_ref())?;
    let script = method.file().to_string();
    // The script alone knows its parameters and weights. It is asked at the start of a run on some data.
    let clock = Clock { step: 0, steps: 1, epoch: 0, epochs: recipe.epochs };
    let session = Session::build(&recipe, method, &registry, Shape::new(3, 2), clock, Device::Cpu)?;
    let params = session.params();
    let weights = session.weights()?;

    if args.format == Format::Json {
        let values: Vec<_> = values
            .iter()
            .map(
                |(path, value, origin)| json!({ "path": path, "value": value, "origin": origin.to_string() }),
            )
            .collect();
        return output::print_json(&json!({
            "recipe": recipe.place(),
            "values": values,
            "script": script,
            "params": params,
            "weights": weights,
        }));
    }
    let mut rows: Vec<Vec<String>> = values
        .into_iter()
        .map(|(path, value, origin)| vec![path, as_written(value), origin.to_string()])
        .collect();
    let origin = |given: bool, table: &str, name: &str| match given {
        true if recipe.overrides.iter().any(|o| o.path == format!("{table}.{name}")) => "--set".to_string(),
        true => "recipe".into(),
        false => script.clone(),
    };
    // What the recipe gives stands here again beside what it leaves to the script.
    rows.retain(|row| !["params", "weights"].iter().any(|table| row[0].starts_with(&format!("{table}."))));
    rows.extend(params.iter().map(|(name, value)| {
        vec![format!("params.{name}"), param(value), origin(recipe.params.contains_key(name), "params", name)]
    }));
    rows.extend(weights.iter().map(|(name, value)| {
        vec![
            format!("weights.{name}"),
            format!("{value:?}"),
            origin(recipe.weights.contains_key(name), "weights", name),
        ]
    }));
    output::print(&output::table(&rows))
}

/// A value of `describe`, which speaks JSON, as a recipe writes it.
fn as_written(value: String) -> String {
    if value == "null" { "None".into() } else { value }
}

fn param(value: &Param) -> String {
    match value {
        Param::Switch(switch) => switch.to_string(),
        Param::Number(number) => format!("{number:?}"),
        Param::Text(text) => format!("{text:?}"),
    }
}
