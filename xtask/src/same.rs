//! `same`: trains every bundled recipe with two programs, and holds the tensors of their checkpoints to be equal bit
//! for bit.
//!
//! One program is built from another revision, the other one from the working tree. Both train at toy size on one thread
//! of the CPU of this machine: bits differ from CPU to CPU.

mod program;
pub mod tensors;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::parallel;
use crate::repo::{Profile, Repo};
use crate::scratch::Scratch;
use crate::setup;
use program::{Program, Trained};
use tensors::{Difference, Renames};

/// Programs that run at once.
const WORKERS: usize = 2;
/// The rules for names that changed.
const RENAMES: &str = "xtask/same_renames.txt";

/// Arguments of `same`.
#[derive(Debug, Args)]
pub struct SameArgs {
    /// A revision as git knows it.
    #[arg(value_name = "REV")]
    revision: String,
    /// Only recipes whose name has one of these parts, separated by commas.
    #[arg(long, value_name = "PART,PART", value_delimiter = ',')]
    recipes: Vec<String>,
    /// A built program of the working tree, so that none is built.
    #[arg(long, value_name = "PATH")]
    admix: Option<PathBuf>,
}

/// What came of one recipe.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// All tensors are equal, so many.
    Equal(usize),
    /// Something is not as it was: how many tensors there were, and what it is.
    Different(Option<usize>, String),
    /// There is nothing to compare with: why.
    Apart(String),
}

/// Compares the working tree with a revision.
///
/// # Errors
/// A build fails, or a recipe trains differently.
pub fn run(repo: &Repo, SameArgs { revision, recipes, admix }: &SameArgs) -> Result<()> {
    setup::ensure_done(repo)?;
    let renames = repo.root().join(RENAMES);
    let text =
        std::fs::read_to_string(&renames).with_context(|| format!("cannot read {}", renames.display()))?;
    let renames = Renames::parse(&text).with_context(|| RENAMES.to_string())?;
    let before = Program::of_revision(repo, revision)?;
    let now = Program::new(repo.root(), repo.given_or_built(admix.as_deref(), Profile::Dev)?)?;
    let names: BTreeSet<&str> = before.recipes().chain(now.recipes()).collect();
    let wanted = |name: &&str| recipes.is_empty() || recipes.iter().any(|part| name.contains(part));
    let names: Vec<&str> = names.into_iter().filter(wanted).collect();
    ensure!(!names.is_empty(), "no recipe's name has one of: {}", recipes.join(", "));
    let scratch = Scratch::new(&std::env::temp_dir(), "same")?;
    let outcomes = parallel::each(&names, WORKERS, |name| {
        let outcome = compare(repo, [&before, &now], name, &renames, scratch.path());
        eprintln!("{name}");
        outcome
    });
    let outcomes = outcomes.into_iter().collect::<Result<Vec<_>>>()?;
    let (text, same) = report(&names, &outcomes);
    println!("{text}");
    ensure!(same, "the working tree does not train as {revision} does");
    Ok(())
}

/// Trains a recipe with both programs.
fn compare(
    repo: &Repo,
    [before, now]: [&Program; 2],
    name: &str,
    renames: &Renames,
    scratch: &Path,
) -> Result<Outcome> {
    let folder = scratch.join(name.replace('/', "_"));
    let train = |program: &Program, side: &str| program.train(repo, name, &folder.join(side));
    let outcome = match (train(before, "before")?, train(now, "now")?) {
        (Trained::Unknown, _) => Outcome::Apart("new".into()),
        (_, Trained::Unknown) => Outcome::Different(None, "the recipe is gone".into()),
        (Trained::Failed(_), Trained::Failed(why)) => Outcome::Apart(format!("fails in both: {why}")),
        (Trained::Failed(why), Trained::Checkpoint(_)) => Outcome::Apart(format!("failed before: {why}")),
        (Trained::Checkpoint(_), Trained::Failed(why)) => Outcome::Different(None, format!("fails: {why}")),
        (Trained::Checkpoint(old), Trained::Checkpoint(new)) => {
            let Difference { tensors, first } =
                tensors::compare(&old, &new, renames).with_context(|| name.to_string())?;
            first.map_or(Outcome::Equal(tensors), |first| Outcome::Different(Some(tensors), first))
        }
    };
    // The next recipe needs the room.
    std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(outcome)
}

/// The table, and whether there is no difference and anything was compared.
fn report(names: &[&str], outcomes: &[Outcome]) -> (String, bool) {
    let mut text = format!("{:<34}{:>8}  {}\n", "recipe", "tensors", "result");
    let (mut equal, mut different, mut apart) = (0, 0, 0);
    for (name, outcome) in names.iter().zip(outcomes) {
        let (tensors, result) = match outcome {
            Outcome::Equal(tensors) => {
                equal += 1;
                (tensors.to_string(), "equal")
            }
            Outcome::Different(tensors, what) => {
                different += 1;
                (tensors.map_or("-".into(), |tensors| tensors.to_string()), what.as_str())
            }
            Outcome::Apart(why) => {
                apart += 1;
                ("-".into(), why.as_str())
            }
        };
        text.push_str(&format!("{name:<34}{tensors:>8}  {result}\n"));
    }
    text.push_str(&format!(
        "{} recipes compared: {equal} equal, {different} different; {apart} not compared",
        equal + different
    ));
    (text, different == 0 && equal > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_difference_is_a_failure_and_so_is_nothing_to_compare() {
        let names = ["a", "b"];
        let apart = || Outcome::Apart("new".into());
        let (text, same) = report(&names, &[Outcome::Equal(3), apart()]);
        assert!(same && text.ends_with("1 recipes compared: 1 equal, 0 different; 1 not compared"), "{text}");
        let different = Outcome::Different(Some(3), "`q.w` is gone".into());
        let (text, same) = report(&names, &[Outcome::Equal(3), different]);
        assert!(!same && text.contains("`q.w` is gone") && text.contains("1 different"), "{text}");
        assert!(!report(&names, &[apart(), apart()]).1);
    }
}
