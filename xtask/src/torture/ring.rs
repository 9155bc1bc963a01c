//! Where the program is attacked: its runs in a scratch folder, and what may come of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, anyhow};

use super::dice::Dice;
use super::tally::Tally;
use crate::process::Cmd;
use crate::repo::Repo;
use crate::same::tensors::{self, Renames};
use crate::toy_size;

/// No case takes longer than this on a slow machine; what does hangs.
const LIMIT_S: &str = "300";
/// What `timeout` exits with.
const TIMED_OUT: i32 = 124;
/// Signals that a case sends by itself.
const SENT: [i32; 1] = [9];
/// What no message to a user holds: the words of a panic and of libtorch's own errors.
const RAW: [&str; 6] = [
    "panicked at",
    "stack backtrace",
    "Exception raised from",
    "terminate called",
    "RUST_BACKTRACE",
    "c10::",
];
/// Lines of errors that a user still reads.
const MOST_LINES: usize = 25;

/// What the program took badly.
#[derive(Debug)]
pub struct Finding(pub String);

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a run of the program ended.
#[derive(Debug)]
pub struct Ended {
    line: String,
    pub output: Output,
}

/// The program and a folder for one case.
#[derive(Debug)]
pub struct Ring<'a> {
    repo: &'a Repo,
    binary: &'a Path,
    folder: &'a Path,
    /// What was done, for the summary.
    pub tally: &'a Tally,
    /// What makes each bundled recipe small.
    rules: String,
    recipes: BTreeMap<String, String>,
}

impl<'a> Ring<'a> {
    pub fn new(repo: &'a Repo, binary: &'a Path, folder: &'a Path, tally: &'a Tally) -> Result<Self> {
        let rules =
            fs::read_to_string(repo.root().join("tests/toy_size.json")).context("tests/toy_size.json")?;
        let mut recipes = BTreeMap::new();
        crate::recipes::collect(&repo.root().join("configs"), "", &mut recipes)?;
        Ok(Self { repo, binary, folder, tally, rules, recipes })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A drawn recipe: its name, and the settings of a small run of some ten steps.
    pub fn recipe(&self, dice: &mut Dice) -> Result<(String, Vec<String>)> {
        let names: Vec<&String> = self.recipes.keys().collect();
        let name = dice.one(&names).to_string();
        let sets = self.small(&name)?;
        Ok((name, sets))
    }

    /// The methods of the bundled recipes.
    pub fn methods(&self) -> BTreeSet<String> {
        self.recipes.values().map(|text| method_of(text)).collect()
    }

    /// The method of a bundled recipe.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn method(&self, recipe: &str) -> Result<String> {
        self.recipes.get(recipe).map(|text| method_of(text)).with_context(|| format!("no recipe `{recipe}`"))
    }

    /// A recipe of a drawn method, so that methods with few recipes come as often as those with many.
    pub fn recipe_of_a_method(&self, dice: &mut Dice) -> Result<(String, Vec<String>)> {
        let methods: Vec<String> = self.methods().into_iter().collect();
        let method = &methods[dice.below(methods.len() as u64) as usize];
        let of_it = self.recipes.iter().filter(|(_, text)| method_of(text) == *method);
        let names: Vec<&String> = of_it.map(|(name, _)| name).collect();
        let name = dice.one(&names).to_string();
        let sets = self.small(&name)?;
        Ok((name, sets))
    }

    /// Whether there is a bundled recipe of this name.
    pub fn has(&self, recipe: &str) -> bool {
        self.recipes.contains_key(recipe)
    }

    /// The settings of a small run of a bundled recipe.
    pub fn small(&self, recipe: &str) -> Result<Vec<String>> {
        let text = self.recipes.get(recipe).with_context(|| format!("no recipe `{recipe}`"))?;
        let mut sets =
            toy_size::settings(&self.rules, text).map_err(|error| anyhow!("tests/toy_size.json: {error}"))?;
        if !sets.iter().any(|set| set.starts_with("data.toy.train=")) {
            sets.push("data.toy.train=20".into());
        }
        // A set of many classes has many steps: not all of them may write a checkpoint within the limit of a case.
        let every = if sets.iter().any(|set| set == "data.toy.train=1000") { 50 } else { 2 };
        sets.extend(["epochs=2".into(), format!("checkpoint.every_steps={every}"), "log_every=2".into()]);
        Ok(sets)
    }

    /// The program with these words and settings, after a shell has set `limits`.
    pub fn command(&self, limits: &str, words: &[&str], sets: &[String]) -> Cmd {
        let mut command = self
            .repo
            .program("timeout")
            .dir(self.folder)
            .env("CUDA_VISIBLE_DEVICES", "")
            .env("ADMIX_PLUGINS", "")
            .env("OMP_NUM_THREADS", "1")
            .args(["-s", "ABRT", LIMIT_S, "bash", "-c"])
            .arg(format!("{limits}\nexec \"$0\" \"$@\""))
            .arg(self.binary)
            .args(words);
        for set in sets {
            command = command.args(["--set", set]);
        }
        command
    }

    /// Runs it to its end.
    pub fn end(&self, limits: &str, words: &[&str], sets: &[String]) -> Result<Ended> {
        let command = self.command(limits, words, sets);
        let line = command.line();
        Ok(Ended::of(line, command.silent_output()?))
    }
}

/// The method that a recipe names.
fn method_of(text: &str) -> String {
    let named = text.split_once("method:").and_then(|(_, rest)| rest.split('"').nth(1));
    named.unwrap_or_default().to_string()
}

impl Ended {
    /// Of the program with this command line.
    pub fn of(line: String, output: Output) -> Self {
        Self { line, output }
    }

    /// The exit code; `None` after a signal.
    pub fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// What is wrong with this end, whatever was done: a crash, a hang, raw words, no word, another exit code than these.
    pub fn judge(&self, codes: &[i32]) -> Option<Finding> {
        let errors = self.errors();
        let said = |what: String| {
            let shown: String = errors.chars().take(3000).collect();
            Some(Finding(format!("{what}\n{}\n{shown}", self.line)))
        };
        let status = self.output.status;
        match status.code() {
            Some(TIMED_OUT) => return said(format!("no end within {LIMIT_S} s")),
            // A shell's word for a signal, and Rust's for a panic.
            Some(code @ (101 | 132..=139)) => return said(format!("a crash: exit code {code}")),
            Some(code) if !codes.contains(&code) => {
                return said(format!("exit code {code}, expected {codes:?}"));
            }
            None if status.signal().is_some_and(|signal| !SENT.contains(&signal)) => {
                return said(format!("a crash: {status}"));
            }
            _ => {}
        }
        if let Some(raw) = RAW.iter().find(|raw| errors.contains(**raw)) {
            return said(format!("errors hold `{raw}`"));
        }
        if matches!(status.code(), Some(1 | 2)) && !errors.contains("error") {
            return said("a failure without a word".into());
        }
        if errors.lines().count() > MOST_LINES {
            return said(format!("{} lines of errors", errors.lines().count()));
        }
        None
    }
}

/// The newest checkpoint of a run folder.
pub fn newest(run: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(run.join("checkpoints")).ok()?.flatten().map(|entry| entry.path());
    let is_step = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("step-") && name.ends_with(".safetensors")
    };
    files.filter(is_step).max()
}

/// How two runs differ that must have ended alike: in their newest checkpoints, bit for bit.
///
/// # Errors
/// A checkpoint is missing or cannot be read.
pub fn differ(a: &Path, b: &Path) -> Result<Option<Finding>> {
    let newest = |run: &Path| newest(run).with_context(|| format!("{} has no checkpoint", run.display()));
    let (a, b) = (newest(a)?, newest(b)?);
    if a.file_name() != b.file_name() {
        return Ok(Some(Finding(format!("ended at {} and {}", a.display(), b.display()))));
    }
    let difference = tensors::compare(&a, &b, &Renames::default())?;
    Ok(difference.first.map(|what| Finding(format!("other bits than without: {what}"))))
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;

    /// What is found in an end with this wait status and these errors, where 0 and 2 are expected.
    fn found(status: i32, errors: &str) -> Option<String> {
        let output =
            Output { status: ExitStatus::from_raw(status), stdout: Vec::new(), stderr: errors.into() };
        Ended::of("admix run x".into(), output).judge(&[0, 2]).map(|finding| finding.0)
    }

    #[test]
    fn crashes_hangs_silence_and_raw_words_are_findings_and_one_message_is_none() {
        let exit = |code: i32| code << 8;
        assert_eq!(found(exit(0), ""), None);
        assert_eq!(found(exit(2), "error: r.ron:3:4: `batch` is 0"), None);
        for (status, errors, said) in [
            (exit(1), "error: a run failed", "exit code 1"),
            (exit(2), "", "without a word"),
            (exit(2), "error: Exception raised from x.cpp", "Exception raised from"),
            (exit(101), "error: internal", "a crash"),
            (exit(TIMED_OUT), "", "no end within"),
            (11, "", "a crash"),
            (exit(2), &"error: more\n".repeat(MOST_LINES + 1), "lines of errors"),
        ] {
            let finding = found(status, errors).unwrap_or_else(|| panic!("{said}"));
            assert!(finding.contains(said) && finding.contains("admix run x"), "{finding}");
        }
    }
}
