//! Training runs that are finished once and kept: they can be stopped and started again.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::clock::Clock;
use crate::repo::Repo;

/// The dataset's name, and its archive among the shared material.
pub const DATASET: (&str, &str) = ("cifar10", "data/cifar10-jpeg.tar.xz");
/// The recipes, `<name>.ron` in this folder.
pub const RECIPES: &str = "configs/cifar10/r18";
/// Marks a run in `run.json` as finished: key and value.
const FINISHED: (&str, &str) = ("status", "done");
/// Imports the dataset unless it is there.
pub fn import(repo: &Repo, admix: &Path, data: &Path) -> Result<()> {
    if repo.program(admix).args(["data", "info", DATASET.0]).try_output().is_some() {
        return Ok(());
    }
    ensure!(
        data.exists(),
        "{} is not there: name the archive or folder of CIFAR-10 with --data",
        data.display()
    );
    repo.program(admix).args(["data", "import"]).arg(data).args(["--name", DATASET.0]).run()
}

/// A run of the comparison.
#[derive(Debug)]
pub struct Run<'a> {
    /// Its name, and that of its folder.
    pub name: &'a str,
    /// The recipe's file.
    pub recipe: String,
    /// What it overrides in the recipe, as `path=value`.
    pub overrides: Vec<String>,
}

/// Trains one method unless it is finished.
///
/// # Errors
/// The run fails or is out of time, or its folder has a run of other settings.
pub fn train(
    repo: &Repo,
    admix: &Path,
    run: &Run<'_>,
    out: &Path,
    passed_on: &[String],
    clock: Clock,
) -> Result<()> {
    let Run { name, recipe, overrides } = run;
    let folder = out.join(name);
    same_settings(out, name, &[&overrides[..], passed_on].concat())?;
    if is_finished(&folder) {
        println!("{name}: finished already");
        return Ok(());
    }
    let command = clock.limited(vec![admix.display().to_string()]);
    let mut cmd =
        repo.program(&command[0]).args(&command[1..]).arg("run").arg(recipe).arg("--out").arg(&folder);
    for setting in overrides {
        cmd = cmd.args(["--set", setting]);
    }
    cmd = cmd.args(passed_on);
    if is_begun(&folder) {
        cmd = cmd.arg("--resume");
    }
    println!("{}", cmd.line());
    cmd.run_interruptible()
}

/// Refuses to mix runs of two budgets in one folder.
fn same_settings(out: &Path, method: &str, overrides: &[String]) -> Result<()> {
    let file = out.join(format!("{method}.settings"));
    let wanted = overrides.join("\n") + "\n";
    match fs::read_to_string(&file) {
        Ok(found) => ensure!(
            found == wanted,
            "{} was begun with other settings ({}): choose another --out",
            out.join(method).display(),
            found.split_whitespace().collect::<Vec<_>>().join(" ")
        ),
        Err(_) => {
            fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
            fs::write(&file, wanted).with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    Ok(())
}

/// True if the run in `folder` says that it is done.
pub fn is_finished(folder: &Path) -> bool {
    let read = || serde_json::from_str::<Value>(&fs::read_to_string(folder.join("run.json")).ok()?).ok();
    read().is_some_and(|run| run[FINISHED.0] == FINISHED.1)
}

/// True if a run was begun in `folder`, with or without a checkpoint: then only `--resume` goes on there.
pub fn is_begun(folder: &Path) -> bool {
    let has = |name: &str| fs::read_dir(folder.join(name)).is_ok_and(|mut entries| entries.next().is_some());
    folder.join("lock").is_file() || has("checkpoints")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_folder_of_another_budget_is_refused() {
        let out = Scratch::new(&std::env::temp_dir(), "compare-test").unwrap();
        same_settings(out.path(), "amix", &["epochs=1".into()]).unwrap();
        same_settings(out.path(), "amix", &["epochs=1".into()]).unwrap();
        let error = same_settings(out.path(), "amix", &["epochs=2".into()]).unwrap_err();
        assert!(error.to_string().contains("epochs=1"), "{error}");
    }

    #[test]
    fn a_run_is_finished_when_it_says_so() {
        let out = Scratch::new(&std::env::temp_dir(), "finished-test").unwrap();
        assert!(!is_finished(out.path()) && !is_begun(out.path()));
        fs::write(out.path().join("run.json"), "{\"status\":\"running\"}").unwrap();
        assert!(!is_finished(out.path()));
        fs::write(out.path().join("run.json"), "{\"status\":\"done\"}").unwrap();
        assert!(is_finished(out.path()));
    }
}
