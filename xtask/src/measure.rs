//! What every measurement shares: a program to time, how often and how long, what it says, and the middle of many values.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::process::Cmd;
use crate::repo::Repo;

/// Our side: `admix` with these arguments, then the recipe.
const STEP: &[&str] = &["bench", "step", "--format", "json"];

/// One program to time.
#[derive(Debug, Clone)]
pub struct Side {
    /// Its name in tables.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What it runs on.
    pub libtorch: Libtorch,
}

/// Which libtorch a program loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Libtorch {
    /// The one that set-up linked.
    Linked,
    /// That of its own PyTorch. Ours must be out of sight: `LD_LIBRARY_PATH` would come before it.
    Own,
}

/// How long is measured.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How often every side runs.
    #[arg(long, default_value_t = 7, value_parser = positive)]
    pub rounds: usize,
    /// Steps that are timed in a run.
    #[arg(long, default_value_t = 30, value_parser = positive)]
    pub steps: usize,
    /// Steps before them.
    #[arg(long, default_value_t = 5)]
    pub warmup: usize,
    /// Threads of every side.
    #[arg(long, default_value_t = 2)]
    pub threads: usize,
    /// A missed limit is a failure.
    #[arg(long)]
    pub strict: bool,
}

impl Options {
    /// The same with so many steps.
    pub fn with_steps(&self, warmup: usize, steps: usize) -> Self {
        Self { warmup, steps, ..self.clone() }
    }

    /// The flags that every side understands.
    pub fn flags(&self) -> Vec<String> {
        [("--steps", self.steps), ("--warmup", self.warmup), ("--threads", self.threads)]
            .iter()
            .flat_map(|(flag, value)| [flag.to_string(), value.to_string()])
            .collect()
    }
}

/// Reads a number of at least 1 from the command line.
///
/// # Errors
/// Another text.
pub fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("expected a number of at least 1".into()),
    }
}

/// Our command that times steps of `recipe`.
pub fn step(admix: &Path, recipe: &str, options: &Options) -> Vec<String> {
    words(admix, STEP).into_iter().chain([recipe.to_string()]).chain(options.flags()).collect()
}

/// A program and its arguments.
pub fn words(program: &Path, args: &[&str]) -> Vec<String> {
    std::iter::once(program.display().to_string()).chain(args.iter().map(ToString::to_string)).collect()
}

/// What a side said of its steps, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Times {
    /// The step in the middle.
    pub median: f64,
    /// What a run pays for a step; the median where a side does not say it.
    pub mean: f64,
}

/// Runs a side once, with more arguments at its end; its times.
pub fn times(repo: &Repo, side: &Side, more: &[String]) -> Result<Times> {
    let facts = facts(repo, side, more)?;
    milliseconds(&facts).with_context(|| side.command.join(" "))
}

/// Runs a side once, with more arguments at its end; the JSON object that it prints.
pub fn facts(repo: &Repo, side: &Side, more: &[String]) -> Result<Value> {
    let program = &side.command[0];
    let cmd = match side.libtorch {
        Libtorch::Linked => repo.program(program),
        Libtorch::Own => Cmd::new(program).dir(repo.root()),
    };
    let cmd = cmd.args(&side.command[1..]).args(more);
    let line = cmd.line();
    let output = cmd.output()?;
    last_object(&String::from_utf8_lossy(&output)).with_context(|| format!("`{line}` printed no JSON line"))
}

/// The last line that is a JSON object.
fn last_object(output: &str) -> Option<Value> {
    let read = |line: &str| serde_json::from_str::<Value>(line).ok();
    output.lines().rev().find_map(|line| read(line).filter(Value::is_object))
}

/// The times that a side told.
fn milliseconds(object: &Value) -> Result<Times> {
    let median = object["ms_per_step"].as_f64().context("its JSON line has no `ms_per_step`")?;
    let mean = object["mean_ms_per_step"].as_f64().unwrap_or(median);
    for value in [median, mean] {
        ensure!(value.is_finite() && value > 0.0, "the time of a step is {value}");
    }
    Ok(Times { median, mean })
}

/// The middle value, or the mean of the two middle ones. The list must not be empty.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// Smallest and largest value.
pub fn range(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[test]
    fn the_last_json_line_counts() {
        let last = |text: &str| milliseconds(&last_object(text).expect("a JSON line"));
        let two = last("warming up\n{\"ms_per_step\": 2}\n{\"ms_per_step\": 1.5}\n3\n").unwrap();
        assert_eq!(two, Times { median: 1.5, mean: 1.5 });
        let both = last("{\"ms_per_step\": 2, \"mean_ms_per_step\": 3.0}").unwrap();
        assert_eq!(both, Times { median: 2.0, mean: 3.0 });
        assert!(last("{\"ms\": 2}").is_err());
        assert!(last("{\"ms_per_step\": 0}").is_err());
        assert!(last_object("").is_none());
    }
}
