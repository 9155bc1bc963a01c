//! How commands find an experiment and its runs.

use std::path::{Path, PathBuf};

use admix_api::did_you_mean;
use admix_engine::{Override, RunFolder};
use admix_lab::{Ask, Experiment, Plan};
use admix_torch::{Wanted, open_cuda};
use anyhow::Result;
use clap::Args;

use crate::failure::bad_input;
use crate::{libraries, recipes};

/// Name and text of every file in `configs/experiments/`, sorted by name.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/experiments.rs"));

/// An experiment and what is changed in it: flags of every command that reads one.
#[derive(Args, Debug, Clone)]
pub struct ExperimentArgs {
    /// The folder of all runs; an experiment finds its own there.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: PathBuf,
    /// Change a value in every recipe, such as epochs=40. May be repeated. The runs are others then.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub set: Vec<Override>,
    /// Only runs whose name fits; * stands for any text.
    #[arg(long, value_name = "PATTERN")]
    pub only: Option<String>,
    /// Runs of each variant, instead of the experiment's number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: Option<u64>,
}

impl ExperimentArgs {
    /// The runs of an experiment: a file, or the name of a bundled one.
    pub fn plan(&self, name: &str) -> Result<Plan> {
        // Recipes are read and nothing is computed.
        open_cuda(Wanted::Cpu)?;
        let registry = libraries::registry()?;
        let experiment = read(name)?;
        let beside = Path::new(name).is_file().then(|| Path::new(name).parent()).flatten();
        let ask = Ask {
            root: &self.out,
            set: &self.set,
            seeds: self.seeds,
            only: self.only.as_deref(),
            folder: beside,
            find: &recipes::find,
            registry: &registry,
        };
        Plan::of(experiment, &ask)
    }
}

impl ExperimentArgs {
    /// The flags, as they are given again.
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.out.as_os_str() != "runs" {
            words.extend(["--out".into(), self.out.display().to_string()]);
        }
        words.extend(self.set.iter().flat_map(|set| ["--set".into(), format!("{}={}", set.path, set.value)]));
        words.extend(self.only.iter().flat_map(|only| ["--only".into(), only.clone()]));
        words.extend(self.seeds.iter().flat_map(|seeds| ["--seeds".into(), seeds.to_string()]));
        words
    }

    /// Refuses flags that mean nothing for run folders.
    ///
    /// # Errors
    /// Some are given.
    pub fn refuse_for_runs(&self) -> Result<()> {
        match self.words().first() {
            Some(flag) => Err(bad_input(format!("{flag} belongs to an experiment, not to run folders"))),
            None => Ok(()),
        }
    }
}

/// Names of the bundled experiments.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

fn misplaced(name: &str, what: &str, remedy: &str) -> anyhow::Error {
    bad_input(format!("{name} is {what}, where an experiment (a script, .rhai) is expected; {remedy}"))
}

/// Reads an experiment: a file, or the name of a bundled one.
pub fn read(name: &str) -> Result<Experiment> {
    let path = Path::new(name);
    if path.extension().is_some_and(|end| end == "ron") {
        return Err(misplaced(name, "a recipe", "train it with `admix run`"));
    }
    if path.is_file() {
        let text = std::fs::read_to_string(path)
            .map_err(|source| bad_input(format!("cannot read the experiment {name}: {source}")))?;
        return Ok(Experiment::read(&text, name)?);
    }
    let plain =
        name.trim_start_matches("./").trim_start_matches("configs/").trim_start_matches("experiments/");
    let plain = plain.trim_end_matches(".rhai");
    let found = FILES.iter().find(|(known, _)| *known == plain);
    let (known, text) = found.ok_or_else(|| {
        if RunFolder::existing(path).is_run() {
            return misplaced(name, "a run folder", "`admix table`, `report`, `diff` and `runs` take those");
        }
        if path.is_dir() {
            return misplaced(name, "a folder", "`admix runs` lists the run folders below it");
        }
        let hint = did_you_mean(plain, names());
        let all: Vec<&str> = names().collect();
        bad_input(format!(
            "no experiment `{name}`: neither a file nor one of the bundled {}{hint}",
            all.join(", ")
        ))
    })?;
    Ok(Experiment::read(text, &format!("configs/experiments/{known}.rhai"))?)
}
