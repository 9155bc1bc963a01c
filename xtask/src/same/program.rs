//! A built program, the recipes that are bundled with it, and what it makes of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::process::Cmd;
use crate::repo::{Profile, Repo};
use crate::toy_size;

/// Steps of each run. With so many epochs they go beyond the end of one.
const STEPS: &str = "3";
const EPOCHS: &str = "epochs=2";
/// Where the rules for a run at toy size are in a repository.
const RULES: &str = "tests/toy_size.json";

/// A program of one revision.
#[derive(Debug)]
pub struct Program {
    binary: PathBuf,
    /// The text of each bundled recipe, by its name.
    recipes: BTreeMap<String, String>,
    /// What makes a recipe small.
    rules: String,
}

/// What became of a run.
#[derive(Debug)]
pub enum Trained {
    /// Its last checkpoint.
    Checkpoint(PathBuf),
    /// The last line of its errors.
    Failed(String),
    /// The program has no such recipe.
    Unknown,
}

impl Program {
    /// The program built from the repository in `root`.
    ///
    /// # Errors
    /// The recipes cannot be read.
    pub fn new(root: &Path, binary: PathBuf) -> Result<Self> {
        let mut recipes = BTreeMap::new();
        crate::recipes::collect(&root.join("configs"), "", &mut recipes)?;
        Ok(Self { binary, recipes, rules: fs::read_to_string(root.join(RULES)).context(RULES)? })
    }

    /// The program of a revision. What was built once is kept below `target/same`.
    ///
    /// # Errors
    /// There is no such revision, or it cannot be built.
    pub fn of_revision(repo: &Repo, revision: &str) -> Result<Self> {
        let git = || Cmd::new("git").dir(repo.root());
        let commit = git()
            .args(["rev-parse", "--verify", "--quiet", &format!("{revision}^{{commit}}")])
            .try_output()
            .with_context(|| format!("git knows no revision `{revision}`"))?;
        let folder = repo.root().join("target/same");
        let source = folder.join(&commit);
        let binary = folder.join(format!("{commit}.admix"));
        if !binary.is_file() {
            // Always checked out anew: cargo takes files that are older than its last build for those it has built.
            if source.exists() {
                git().args(["worktree", "remove", "--force"]).arg(&source).run()?;
            }
            // `--force`: a folder that was removed by hand may still be on git's list.
            git().args(["worktree", "add", "--force", "--detach"]).arg(&source).arg(&commit).run()?;
            build(repo, &source, &folder.join("build"), &binary)?;
        }
        if !source.join(RULES).is_file() {
            // A revision from before there were rules: it has the settings of today.
            fs::copy(repo.root().join(RULES), source.join(RULES)).context(RULES)?;
        }
        Self::new(&source, binary)
    }

    /// The names of its recipes.
    pub fn recipes(&self) -> impl Iterator<Item = &str> {
        self.recipes.keys().map(String::as_str)
    }

    /// Trains a recipe for some steps, in a new folder.
    ///
    /// # Errors
    /// The program cannot be started, or leaves no checkpoint where it says that all is well.
    pub fn train(&self, repo: &Repo, recipe: &str, folder: &Path) -> Result<Trained> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let Some(text) = self.recipes.get(recipe) else { return Ok(Trained::Unknown) };
        let settings = toy_size::settings(&self.rules, text).map_err(|error| anyhow!("{RULES}: {error}"))?;
        let mut run = repo
            .program(&self.binary)
            .dir(folder)
            .env("CUDA_VISIBLE_DEVICES", "")
            .env("ADMIX_PLUGINS", "")
            .args(["run", recipe, "--out", "run", "--max-steps", STEPS, "--device", "cpu", "--threads", "1"]);
        for setting in settings.iter().map(String::as_str).chain([EPOCHS]) {
            run = run.args(["--set", setting]);
        }
        let output = run.silent_output()?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            return Ok(Trained::Failed(errors.trim().lines().last().unwrap_or("no message").into()));
        }
        let checkpoints = folder.join("run/checkpoints");
        let files = fs::read_dir(&checkpoints).into_iter().flatten().flatten().map(|entry| entry.path());
        let last = files.filter(|file| file.extension().is_some_and(|end| end == "safetensors")).max();
        Ok(Trained::Checkpoint(last.with_context(|| format!("{} is empty", checkpoints.display()))?))
    }
}

/// Builds the program of a checkout, and keeps it as `binary`.
fn build(repo: &Repo, source: &Path, target: &Path, binary: &Path) -> Result<()> {
    // In our root, so that cargo takes our settings alone: in the checkout it would add those of both.
    let cargo = repo.cargo().args(["build", "--locked", "--bin", "admix", "--manifest-path"]);
    let cargo = cargo.arg(source.join("Cargo.toml")).env("CARGO_TARGET_DIR", target);
    cargo.run()?;
    let built = target.join(Profile::Dev.folder()).join("admix");
    // By another name first: what has the right name is whole.
    let part = binary.with_extension("part");
    fs::copy(&built, &part).with_context(|| format!("cannot copy {}", built.display()))?;
    fs::rename(&part, binary).with_context(|| format!("cannot make {}", binary.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_are_named_by_their_path_and_become_small() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let program = Program::new(root, PathBuf::new()).unwrap();
        assert!(
            program.recipes.contains_key("quickstart") && program.recipes.contains_key("cifar10/r18/amix")
        );
        let settings = toy_size::settings(&program.rules, &program.recipes["imagenet/r18/amix_c"]).unwrap();
        assert!(settings.iter().any(|set| set == "data.toy.classes=1000"), "{settings:?}");
        assert!(settings.iter().any(|set| set == "model.width=0.015625"), "{settings:?}");
        assert!(toy_size::settings(r#"[{"if": "x", "set": []}]"#, "").unwrap_err().contains("`if`"));
    }
}
