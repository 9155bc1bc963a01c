//! An experiment's runs, each with its settings resolved and its place on the disk.
//!
//! A run is known by its key: a hash of the resolved recipe without its seed, of the scripts, and of the run that it starts
//! from. Its folder has the key in its name, so that a run which two experiments share is trained once, and a changed recipe
//! is another run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use admix_api::serde::de::DeserializeSeed;
use admix_api::{Registry, Seed, did_you_mean, same_name};
use admix_engine::{Error, Override, Probe, Recipe, RecipeText, RunFolder, method_of};
use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use crate::experiment::{Experiment, Variant};

/// Settings that change no result.
const BESIDE_THE_RESULT: [&str; 4] = ["seed", "loggers", "checkpoint", "log_every"];

/// One run to come: a variant with a seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Its place in [`Experiment::runs`].
    pub variant: usize,
    /// Its seed, from 0.
    pub seed: u64,
    /// "sl/0-baseline, seed 2".
    pub name: String,
    /// Where its results go.
    pub folder: PathBuf,
    /// Its place in the plan of the run that it starts from.
    pub after: Option<usize>,
    /// The arguments of `admix run`, without those that say where and how.
    pub arguments: Vec<String>,
}

/// A variant with its recipe resolved.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// How `admix run` finds the recipe, and the script in place of the recipe's.
    pub place: String,
    /// The script, likewise.
    pub script: Option<String>,
    /// The recipe, with the settings of the variant and those from outside.
    pub recipe: Recipe,
    /// Epochs of the variant itself, without settings from outside.
    pub epochs: u64,
    /// What names its folder.
    pub key: String,
}

/// All runs of an experiment.
#[derive(Debug)]
pub struct Plan {
    /// The experiment.
    pub experiment: Experiment,
    /// Settings from outside, which every run has.
    pub set: Vec<Override>,
    /// Each variant's recipe, as in [`Experiment::runs`].
    pub resolved: Vec<Resolved>,
    /// The runs: of every variant the first seed, then the second, and so on.
    pub runs: Vec<Planned>,
}

/// What is asked for beside the experiment.
pub struct Ask<'a> {
    /// The folder of all runs.
    pub root: &'a Path,
    /// Settings from outside.
    pub set: &'a [Override],
    /// Runs of each variant, if another number than the experiment's.
    pub seeds: Option<u64>,
    /// Only variants whose name fits, with `*` for anything.
    pub only: Option<&'a str>,
    /// The folder of the experiment's file, if it is one: recipes and scripts may lie beside it.
    pub folder: Option<&'a Path>,
    /// How a recipe is found by its name.
    pub find: &'a dyn Fn(&str) -> Result<RecipeText>,
    /// What recipes may name.
    pub registry: &'a Registry,
}

impl std::fmt::Debug for Ask<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask").field("root", &self.root).field("only", &self.only).finish_non_exhaustive()
    }
}

impl Plan {
    /// Resolves every recipe of an experiment.
    ///
    /// # Errors
    /// No such recipe, or one whose settings do not fit, at the line of the script that names it; a pattern that fits no run.
    pub fn of(experiment: Experiment, ask: &Ask<'_>) -> Result<Self> {
        if ask.set.iter().any(|set| set.path == "seed") {
            return Err(Error::Input(
                "--set seed: a sweep numbers its seeds from 0; choose how many with --seeds".into(),
            )
            .into());
        }
        let mut resolved: Vec<Resolved> = Vec::new();
        for variant in &experiment.runs {
            let init = start_of(variant, &experiment);
            let one = resolve(variant, init.map(|at| resolved[at].key.as_str()), ask);
            resolved.push(one.map_err(|error| at_line(&experiment.file, variant, &error))?);
            let of = |run: &Variant| seeds(run, &experiment, ask);
            let (own, before) = (of(variant), init.map(|at| of(&experiment.runs[at])));
            if let Some(before) = before.filter(|before| *before < own) {
                let error = anyhow!("has {own} seeds, but the run that it starts from has {before}");
                return Err(at_line(&experiment.file, variant, &error));
            }
        }
        let chosen = chosen(&experiment, ask.only)?;
        let most = experiment.runs.iter().map(|run| seeds(run, &experiment, ask)).max().unwrap_or(0);
        let mut runs: Vec<Planned> = Vec::new();
        let mut at: BTreeMap<(usize, u64), usize> = BTreeMap::new();
        for seed in 0..most {
            for (variant, run) in experiment.runs.iter().enumerate() {
                if !chosen[variant] || seed >= seeds(run, &experiment, ask) {
                    continue;
                }
                let after = start_of(run, &experiment).and_then(|init| at.get(&(init, seed)).copied());
                let Resolved { place, script, .. } = &resolved[variant];
                let mut arguments = vec![place.clone()];
                let all = run.set.iter().chain(ask.set);
                arguments.extend(all.flat_map(|set| ["--set".into(), format!("{}={}", set.path, set.value)]));
                arguments.extend(script.iter().flat_map(|script| ["--script".into(), script.clone()]));
                if let Some(after) = after {
                    arguments.extend(["--init".into(), runs[after].folder.display().to_string()]);
                }
                arguments.extend(["--seed".into(), seed.to_string()]);
                let folder = ask.root.join(&resolved[variant].key).join(format!("seed-{seed}"));
                let name = format!("{}, seed {seed}", run.name);
                at.insert((variant, seed), runs.len());
                runs.push(Planned { variant, seed, name, folder, after, arguments });
            }
        }
        Ok(Self { experiment, set: ask.set.to_vec(), resolved, runs })
    }

    /// The runs of a variant.
    pub fn of_variant(&self, variant: usize) -> impl Iterator<Item = &Planned> {
        self.runs.iter().filter(move |run| run.variant == variant)
    }
}

/// The variant that this one starts from.
fn start_of(run: &Variant, experiment: &Experiment) -> Option<usize> {
    let init = run.init.as_ref()?;
    experiment.runs.iter().position(|other| other.name == *init)
}

fn seeds(run: &Variant, experiment: &Experiment, ask: &Ask<'_>) -> u64 {
    ask.seeds.or(run.seeds).unwrap_or(experiment.seeds)
}

/// Which variants fit a pattern, with those that they start from.
fn chosen(experiment: &Experiment, only: Option<&str>) -> Result<Vec<bool>> {
    let mut chosen: Vec<bool> =
        experiment.runs.iter().map(|run| only.is_none_or(|pattern| fits(pattern, &run.name))).collect();
    if let Some(pattern) = only.filter(|_| !chosen.contains(&true)) {
        let names: Vec<&str> = experiment.runs.iter().map(|run| run.name.as_str()).collect();
        let hint = did_you_mean(pattern, names.iter().copied());
        let message = format!(
            "--only {pattern}: no run of {} has such a name{hint}; there are {}",
            experiment.file,
            names.join(", ")
        );
        return Err(Error::Input(message).into());
    }
    for at in (0..chosen.len()).rev() {
        if let (true, Some(init)) = (chosen[at], start_of(&experiment.runs[at], experiment)) {
            chosen[init] = true;
        }
    }
    Ok(chosen)
}

/// Whether a name fits a pattern in which `*` stands for any text.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, rest)) => {
            let Some(name) = name.strip_prefix(before) else { return false };
            let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.into_iter().any(|at| fits(rest, &name[at..]))
        }
    }
}

fn resolve(variant: &Variant, init: Option<&str>, ask: &Ask<'_>) -> Result<Resolved> {
    let beside = |name: &str| ask.folder.map(|folder| folder.join(name));
    let found = beside(&variant.recipe).map(|path| RecipeText::open(&path)).transpose()?.flatten();
    let (text, place) = match (found, beside(&variant.recipe)) {
        (Some(text), Some(path)) => (text, path.display().to_string()),
        _ => ((ask.find)(&variant.recipe)?, variant.recipe.clone()),
    };
    let script = variant.script.as_ref().map(|script| {
        beside(script)
            .filter(|path| path.is_file())
            .map_or_else(|| script.clone(), |path| path.display().to_string())
    });
    let epochs = text.read(&variant.set, ask.registry)?.epochs;
    let all: Vec<Override> = variant.set.iter().chain(ask.set).cloned().collect();
    let recipe = text.read(&all, ask.registry)?;
    let method = method_of(&recipe, script.as_ref().map(PathBuf::from).as_ref())?;
    let known = method.params()?;
    if let Some(name) = recipe.params.keys().find(|name| !known.contains_key(*name)) {
        let hint = did_you_mean(name, known.keys().map(String::as_str));
        return Err(anyhow!("{} has no parameter `{name}`{hint}", method.file()));
    }
    check_measurement(variant, &recipe, ask.registry)?;
    check_reports(variant, &recipe)?;
    let mut settings = serde_json::to_value(&recipe)?;
    if let Some(fields) = settings.as_object_mut() {
        fields.retain(|name, _| !BESIDE_THE_RESULT.contains(&name.as_str()));
    }
    if let Some(data) = settings.get_mut("data").and_then(Value::as_object_mut) {
        // Where the files lie is a matter of the machine.
        data.remove("root");
    }
    let mut hash = blake3::Hasher::new();
    let scripts = recipe.scripts.iter().map(|script| script.text.as_str());
    for part in
        [settings.to_string().as_str(), method.text(), init.unwrap_or_default()].into_iter().chain(scripts)
    {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let name = RunFolder::name_of(&recipe);
    let key = format!("{name}-{}", &hash.finalize().to_hex().as_str()[..8]);
    Ok(Resolved { place, script, recipe, epochs, key })
}

/// Refuses a measurement that there is not, or flags that it does not have, before anything is trained for it.
fn check_measurement(variant: &Variant, recipe: &Recipe, registry: &Registry) -> Result<()> {
    let Some(evaluation) = &variant.evaluation else { return Ok(()) };
    if evaluation.protocol == "test" {
        return match recipe.evaluates() {
            true => Ok(()),
            false => {
                Err(anyhow!("`measure` names `test`, but the run has no head whose accuracy can be told"))
            }
        };
    }
    let known = || registry.of::<dyn Probe>();
    let Some(entry) = known().find(|entry| same_name(&entry.name, &evaluation.protocol)) else {
        let hint =
            did_you_mean(&evaluation.protocol, known().map(|entry| entry.name.as_str()).chain(["test"]));
        return Err(anyhow!(
            "`measure` names `{}`, and there is no such protocol{hint}",
            evaluation.protocol
        ));
    };
    let settings = (entry.schema)();
    let has = |flag: &str| flag == "net" || !settings["properties"][flag].is_null();
    if let Some(flag) = evaluation.flags.keys().find(|flag| !has(flag)) {
        return Err(anyhow!("`measure`: {} has no setting `{flag}`", evaluation.protocol));
    }
    if let Some(net) = evaluation.flags.get("net").filter(|net| !recipe.net_names().contains(net)) {
        let known: Vec<&str> = recipe.net_names().into_iter().map(String::as_str).collect();
        let hint = did_you_mean(net, known.iter().copied());
        return Err(anyhow!("`measure` names the network `{net}`; the run has {}{hint}", known.join(", ")));
    }
    let mut given = serde_json::Map::new();
    for (flag, value) in evaluation.flags.iter().filter(|(flag, _)| *flag != "net") {
        let value = match flag.as_str() {
            "preset" => match value.as_str() {
                "paper" => "Paper".into(),
                "code" => "Code".into(),
                _ => return Err(anyhow!("`measure`: `preset` is `{value}`, expected paper or code")),
            },
            _ => serde_json::from_str(value)
                .map_err(|_| anyhow!("`measure`: `{flag}` is {value}, expected a finite number"))?,
        };
        given.insert(flag.clone(), value);
    }
    let probe = Seed::<dyn Probe>::of(registry)
        .deserialize(json!({ &entry.name: given }))
        .map_err(|error| anyhow!("`measure`: {error}"))?;
    probe.validate().map_err(|error| anyhow!("`measure`: {error}"))
}

/// Refuses a cell whose figure no run of the variant measures. What a measurement after the run calls its figures is known
/// once it has run.
fn check_reports(variant: &Variant, recipe: &Recipe) -> Result<()> {
    if variant.evaluation.as_ref().is_some_and(|evaluation| evaluation.protocol != "test") {
        return Ok(());
    }
    let known = recipe.measured_names();
    let Some(report) =
        variant.cells.iter().filter_map(|cell| cell.report.as_ref()).find(|name| !known.contains(name))
    else {
        return Ok(());
    };
    let hint = did_you_mean(report, known.iter().map(String::as_str));
    Err(anyhow!(
        "`report` is `{report}`, which the run does not measure; it measures {}{hint}",
        known.join(", ")
    ))
}

/// An error of a recipe, with the line of the experiment that names it.
fn at_line(file: &str, variant: &Variant, error: &anyhow::Error) -> anyhow::Error {
    let (line, column) = variant.at;
    let message = format!("the run `{}`: {error}", variant.name);
    Error::Script { file: file.into(), line, column, message }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name) in
            [("*", ""), ("a*", "a"), ("*/k*", "tiny/k100"), ("a**b", "a/b"), ("sl/*", "sl/é")]
        {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "ab"), ("a*c", "ab"), ("", "a"), ("*b", "ba")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
