//! `admix mix`: looks at mixed samples.

use std::path::{Path, PathBuf};

use admix_api::{Mixer, Registry, Streams};
use admix_data::Dataset;
use admix_engine::{Checkpoint, Override, Recipe, method_of, session_of};
use admix_torch::Device;
use anyhow::Result;
use clap::Args;

use crate::checkpoints;
use crate::device::DeviceArgs;
use crate::export::room;
use crate::failure::bad_input;
use crate::libraries;
use crate::output;
use crate::picture::{Grid, beside};
use crate::recipes::{Changes, RecipeArgs, change};
use crate::samples;

/// Flags of `admix mix`.
#[derive(Args)]
pub struct MixArgs {
    /// A mixer's name in the recipe or checkpoint, or a plugin's (`admix plugins`). Several make several blocks of rows.
    #[arg(long, num_args = 1.., required = true, value_name = "NAME")]
    mixer: Vec<String>,
    /// A trained run: its folder or a checkpoint. Trained mixers and their networks come from there. Of several, each is drawn
    /// beside the one before, under its name: AMix-I=runs/amix_i.
    #[arg(long, value_name = "[NAME=]PATH", num_args = 1.., conflicts_with = "recipe", value_parser = scenario)]
    checkpoint: Vec<Scenario>,
    /// A recipe whose networks and mixers are used, untrained.
    #[arg(long, value_name = "RECIPE")]
    recipe: Option<String>,
    #[command(flatten)]
    changes: Changes,
    /// The dataset. Default: the checkpoint's or the recipe's, else fashion-mini.
    #[arg(long, value_name = "NAME")]
    data: Option<String>,
    /// The own image's shares, one column each.
    #[arg(long, num_args = 1.., value_name = "SHARE", default_values_t = admix_engine::LAMBDAS, value_parser = share)]
    lambda: Vec<f64>,
    /// Pairs of images, one row each.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=100))]
    count: u16,
    /// Chooses the images, and what a mixer draws. The default shows those of the pictures of a run.
    #[arg(long, default_value_t = samples::SEED)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArgs,
    /// The picture, a PNG.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace a picture of this name.
    #[arg(long)]
    force: bool,
}

/// A trained run and what it is called in a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Scenario {
    name: String,
    path: PathBuf,
}

fn scenario(text: &str) -> Result<Scenario, String> {
    let (name, path) = text.split_once('=').filter(|_| !Path::new(text).exists()).unwrap_or((text, text));
    if name.is_empty() || path.is_empty() {
        return Err("expected a path, or a name and a path: AMix-I=runs/amix_i".into());
    }
    Ok(Scenario { name: name.into(), path: path.into() })
}

fn share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "expected a number from 0 to 1".into())
}

/// Draws mixed samples.
pub fn mix(args: &MixArgs) -> Result<()> {
    if !args.output.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")) {
        return Err(bad_input(format!(
            "--output {}: expected a name that ends in .png",
            args.output.display()
        )));
    }
    room(&args.output, args.force)?;
    let device = args.device.open()?;
    let registry = libraries::registry()?;
    let picture = match &args.checkpoint[..] {
        [] => grid(args, None, &registry, device)?.render(),
        [one] => grid(args, Some(&one.path), &registry, device)?.render(),
        several => {
            let drawn = |one: &Scenario| {
                Ok((one.name.clone(), grid(args, Some(&one.path), &registry, device)?.render()))
            };
            beside(&several.iter().map(drawn).collect::<Result<Vec<_>>>()?)
        }
    };
    samples::save(&picture, &args.output, args.force)?;
    output::print(&args.output.display().to_string())
}

/// Mixed samples of one trained run, or of untrained networks.
fn grid(args: &MixArgs, trained: Option<&Path>, registry: &Registry, device: Device) -> Result<Grid> {
    let checkpoint = trained.map(|path| checkpoints::open(path, false, device)).transpose()?;
    let recipe = recipe(args, checkpoint.as_ref(), registry)?;
    let dataset = Dataset::open(&recipe.data, registry, device, Streams::new(recipe.seed))?;
    let mut session = match &checkpoint {
        Some(checkpoint) => {
            checkpoints::session(checkpoint, (&recipe, &args.changes.set), registry, &dataset, device)?
        }
        None => session_of(&recipe, method_of(&recipe, None)?, registry, dataset.info(), device)?,
    };
    let mixers = samples::shown(&session, &args.mixer)?;
    if checkpoint.is_none() {
        let world = session.world();
        let untrained = world.mixers.iter().filter(|unit| unit.trained() && mixers.contains(&unit.name));
        for unit in untrained {
            output::note(&format!(
                "warning: `{}` is untrained, its masks are chance: give a trained one with --checkpoint RUN",
                unit.name
            ));
        }
    }
    let pairs = samples::choose_pairs(&dataset, args.count.into(), &mut samples::draws(args.seed, "pairs"))?;
    if pairs.len() < args.count.into() {
        output::note(&format!(
            "warning: {} has test images for {} pairs only",
            dataset.info().name,
            pairs.len()
        ));
    }
    samples::grid(&mut session, &dataset, &mixers, &pairs, &args.lambda, args.seed)
}

/// The recipe that the picture is drawn with: it has every mixer that was asked for.
fn recipe(args: &MixArgs, checkpoint: Option<&Checkpoint>, registry: &Registry) -> Result<Recipe> {
    let mut overrides = args.changes.set.clone();
    overrides.extend(args.data.as_ref().map(|name| change("data.name", format!("{name:?}"))));
    let read = |more: &[Override]| match (checkpoint, &args.recipe) {
        (Some(checkpoint), _) => checkpoints::recipe(checkpoint, more, registry),
        (None, Some(recipe)) => {
            RecipeArgs { recipe: recipe.clone(), changes: Changes::default() }.read(more, registry)
        }
        (None, None) => Ok(Recipe::parse(BARE, "admix mix", more, registry)?),
    };
    let first = read(&overrides)?;
    for name in &args.mixer {
        if first.mixers.iter().any(|(have, _)| have == name) {
            continue;
        }
        let (entry, _) = registry.find::<dyn Mixer>(name).map_err(|error| {
            let have: Vec<&str> = first.mixers.iter().map(|(name, _)| name.as_str()).collect();
            let of = if checkpoint.is_some() { "the checkpoint" } else { "the recipe" };
            bad_input(if have.is_empty() {
                error.to_string()
            } else {
                format!("{error}; {of} has {}", have.join(", "))
            })
        })?;
        if (entry.defaults)().is_null() {
            return Err(bad_input(format!(
                "--mixer {name}: {0} is nothing without settings; give a --recipe that has one, or write it out: --set \
                 'mixers.{name}={0}(...)'",
                entry.type_name
            )));
        }
        overrides.push(change(&format!("mixers.{name}"), format!("{}()", entry.type_name)));
    }
    let recipe = read(&overrides)?;
    if let Some(checkpoint) = checkpoint {
        let known = |name: &str| {
            checkpoint.tensors.keys().any(|tensor| tensor.starts_with(&format!("mixer.{name}.")))
        };
        for name in args.mixer.iter().filter(|name| !first.mixers.iter().any(|(have, _)| have == *name)) {
            let choice = recipe.mixers.iter().find(|(have, _)| have == name);
            if choice.is_some_and(|(_, choice)| choice.config.needs().features.is_some()) && !known(name) {
                let have: Vec<&str> = first.mixers.iter().map(|(name, _)| name.as_str()).collect();
                return Err(bad_input(format!(
                    "--mixer {name}: the checkpoint {} has no trained mixer of this name; it has {}",
                    checkpoint.path.display(),
                    if have.is_empty() { "none".into() } else { have.join(", ") }
                )));
            }
        }
    }
    Ok(recipe)
}

/// Networks for mixers that want features, where neither a checkpoint nor a recipe is given.
const BARE: &str = r#"(epochs: 1, batch: 2, model: ResNet(width: 0.25), method: "mixup", mixers: {})"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trained_run_may_have_a_name() {
        let of = |name: &str, path: &str| Ok(Scenario { name: name.into(), path: path.into() });
        assert_eq!(scenario("SL=runs/a"), of("SL", "runs/a"));
        assert_eq!(scenario("runs/a"), of("runs/a", "runs/a"));
        assert!(scenario("=runs/a").is_err() && scenario("SL=").is_err());
    }

    #[test]
    fn shares_are_from_0_to_1() {
        assert_eq!(share("0.25"), Ok(0.25));
        for text in ["1.5", "-0.1", "nan", "half"] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mixer_that_no_recipe_names_is_added_to_the_bare_one() {
        let registry = admix_engine::registry().expect("plugins");
        let more = [change("mixers.cutmix", "CutMix()"), change("data.name", "\"toy\"")];
        let recipe = Recipe::parse(BARE, "admix mix", &more, &registry).expect("a recipe");
        assert_eq!(recipe.mixers.len(), 1);
        assert_eq!(recipe.data.name, "toy");
    }
}
