//! How commands find an experiment and its runs.

use std::path::{Path, PathBuf};

use admix_api::did_you_mean;
use admix_engine::{Override, RecipeText};
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
        let folder = Path::new(&experiment.file).parent().map_or_else(PathBuf::new, Path::to_path_buf);
        let find = |recipe: &str| {
            // As a method's script beside a recipe: what lies beside the experiment comes first.
            let beside =
                Path::new(name).is_file().then(|| RecipeText::open(&folder.join(recipe))).transpose()?;
            beside.flatten().map_or_else(|| recipes::find(recipe), Ok)
        };
        let ask = Ask {
            root: &self.out,
            set: &self.set,
            seeds: self.seeds,
            only: self.only.as_deref(),
            find: &find,
            registry: &registry,
        };
        Plan::of(experiment, &ask)
    }
}

/// Names of the bundled experiments.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// Reads an experiment: a file, or the name of a bundled one.
pub fn read(name: &str) -> Result<Experiment> {
    let path = Path::new(name);
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
        let hint = did_you_mean(plain, names());
        let all: Vec<&str> = names().collect();
        bad_input(format!(
            "no experiment `{name}`: neither a file nor one of the bundled {}{hint}",
            all.join(", ")
        ))
    })?;
    Ok(Experiment::read(text, &format!("configs/experiments/{known}.rhai"))?)
}
