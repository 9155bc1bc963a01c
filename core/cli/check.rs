//! `admix check`: whether a recipe or a script would run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use admix_engine::{Method, Prepared, ScriptKind, ScriptedLoss, ScriptedMixer};
use anyhow::Result;
use clap::Args;

use crate::data::downloading;
use crate::device::DeviceArgs;
use crate::failure::bad_input;
use crate::libraries;
use crate::output;
use crate::recipes::{Changes, RecipeArgs};

/// Flags of `admix check`.
#[derive(Args)]
pub struct CheckArgs {
    /// A recipe (a file, or the name of a bundled one), or a script: FILE.rhai.
    what: String,
    #[command(flatten)]
    changes: Changes,
    /// A method's script, instead of the recipe's.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Checks a recipe with its data and its method, or a script alone.
pub fn check(args: &CheckArgs) -> Result<()> {
    let device = args.device.open()?;
    if Path::new(&args.what).extension().is_some_and(|extension| extension == "rhai") {
        return check_script(args);
    }
    let registry = libraries::registry()?;
    let recipe =
        RecipeArgs { recipe: args.what.clone(), changes: args.changes.clone() }.read(&[], &registry)?;
    let (mut prepared, missing) = admix_engine::check(recipe, args.script.as_ref(), &registry, device)?;
    let started = prepared.start(&downloading());
    output::end_bar();
    if let Some(origin) = started? {
        output::note(&origin.to_string());
    }
    let Prepared { recipe, session, dataset, warnings, .. } = prepared;
    warnings.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    if let Some(missing) = missing {
        return Err(bad_input(format!(
            "{missing}. All else of {} is good: three dry steps of {} went through on made-up images of this shape",
            recipe.place(),
            session.method().file()
        )));
    }
    output::print(&format!(
        "{} is good: {} steps on {}; three dry steps of {} went through",
        recipe.place(),
        output::thousands(session.clock().steps),
        dataset.info().name,
        session.method().file()
    ))
}

fn check_script(args: &CheckArgs) -> Result<()> {
    if !args.changes.set.is_empty() || args.script.is_some() {
        return Err(bad_input(format!("{} is a script: --set and --script belong to a recipe", args.what)));
    }
    let text = std::fs::read_to_string(&args.what)
        .map_err(|source| bad_input(format!("cannot read the script {}: {source}", args.what)))?;
    let none = BTreeMap::new();
    let params: Vec<String> = match ScriptKind::of(&text) {
        ScriptKind::Method => Method::compile(&text, &args.what)?.params()?.into_keys().collect(),
        ScriptKind::Mixer => {
            ScriptedMixer::compile(&text, &args.what, &none)?.params().keys().cloned().collect()
        }
        ScriptKind::Loss => {
            ScriptedLoss::compile(&text, &args.what, &none)?.params().keys().cloned().collect()
        }
    };
    let within = match ScriptKind::of(&text) {
        ScriptKind::Method => format!("--script {}", args.what),
        ScriptKind::Mixer => format!("--set 'mixers.NAME=Script(\"{}\")'", args.what),
        ScriptKind::Loss => format!("--set 'losses.NAME=Script(\"{}\")'", args.what),
    };
    let params = if params.is_empty() { "none".into() } else { params.join(", ") };
    output::print(&format!(
        "{} compiles; its parameters: {params}. Check it in a recipe for its verbs: admix check RECIPE {within}",
        args.what
    ))
}
