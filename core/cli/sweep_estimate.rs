//! `admix sweep --dry-run`: the runs with their steps, and how long those that are missing would take.

use std::collections::BTreeMap;
use std::process::Command;

use admix_data::{Dataset, Datasets};
use admix_engine::Recipe;
use admix_lab::{Plan, Progress};
use admix_torch::Device;
use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::failure::bad_input;
use crate::libraries;
use crate::output::{self, Format, thousands};

/// Lists the runs of a plan.
pub fn estimate(plan: &Plan, device: &str, format: Format) -> Result<()> {
    let registry = libraries::registry()?;
    let mut cost: BTreeMap<&str, Result<f64, String>> = BTreeMap::new();
    let mut rows = vec![["run", "state", "steps", "estimate", "folder"].map(String::from).to_vec()];
    let mut values: Vec<Value> = Vec::new();
    let (mut total, mut unknown) = (0.0, 0);
    for run in &plan.runs {
        let resolved = &plan.resolved[run.variant];
        let evaluation = plan.experiment.runs[run.variant].evaluation.as_ref();
        let steps = steps(&resolved.recipe, &registry);
        let progress = run.progress(evaluation);
        let state = state(&progress);
        let seconds = match progress {
            Progress::Done(_) | Progress::Trained => Some(0.0),
            _ => {
                let step = cost.entry(&resolved.key).or_insert_with(|| step_ms(&run.arguments, device));
                if let Err(why) = step {
                    output::note(&format!("warning: {}: no estimate: {why}", run.name));
                }
                steps.zip(step.as_ref().ok()).map(|(steps, ms)| steps as f64 * ms / 1000.0)
            }
        };
        total += seconds.unwrap_or(0.0);
        unknown += usize::from(seconds.is_none());
        rows.push(vec![
            run.name.clone(),
            state.into(),
            steps.map_or("?".into(), thousands),
            seconds.map_or("?".into(), output::duration),
            run.folder.display().to_string(),
        ]);
        values.push(json!({
            "run": run.name, "state": state, "steps": steps, "seconds": seconds, "folder": run.folder,
        }));
    }
    if format == Format::Json {
        return output::print_json(&json!({ "runs": values, "seconds": total, "without_estimate": unknown }));
    }
    let mut text = output::table(&rows);
    text.push_str(&format!(
        "in all about {} of training steps on {device}, one after the other; evaluations and reading come on top\n",
        output::duration(total)
    ));
    if unknown > 0 {
        text.push_str(&format!("{unknown} runs have no estimate\n"));
    }
    output::print(&text)
}

/// The state of a run in a word.
pub fn state(progress: &Progress) -> &'static str {
    match progress {
        Progress::Missing => "missing",
        Progress::Running => "running",
        Progress::Interrupted => "interrupted",
        Progress::Failed(_) => "failed",
        Progress::Trained => "trained",
        Progress::Done(_) => "done",
    }
}

/// Optimiser steps of a recipe, if the size of its dataset is known.
fn steps(recipe: &Recipe, registry: &admix_api::Registry) -> Option<u64> {
    let known = Dataset::stand_in(&recipe.data, registry, Device::Cpu).ok().flatten();
    let images = match known {
        Some(set) => set.info().train,
        None => Datasets::new(&recipe.data.root, registry).info(&recipe.data.name).ok()?.train,
    };
    Some((images / (recipe.batch * recipe.accumulate).max(1)) as u64 * recipe.epochs)
}

/// Milliseconds of a step, by a process of its own.
fn step_ms(arguments: &[String], device: &str) -> Result<f64, String> {
    let measure = || -> Result<f64> {
        let program = std::env::current_exe().context("cannot find this program")?;
        // The seed and the weights that a run starts from do not change what a step costs.
        let mut words = arguments.iter();
        let mut own = Vec::new();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--seed" | "--init" => drop(words.next()),
                _ => own.push(word),
            }
        }
        let told = Command::new(program)
            .args(["bench", "step"])
            .args(own)
            .args([
                "--synthetic",
                "--steps",
                "3",
                "--warmup",
                "1",
                "--watched",
                "1",
                "--format",
                "json",
                "--device",
                device,
            ])
            .args(libraries::flags())
            .output()?;
        if !told.status.success() {
            let text = String::from_utf8_lossy(&told.stderr);
            return Err(bad_input(text.trim().trim_start_matches("error: ").to_owned()));
        }
        let report: Value = serde_json::from_slice(&told.stdout)?;
        report["mean_ms_per_step"].as_f64().context("`admix bench step` told no time")
    };
    measure().map_err(|error| format!("{error:#}"))
}
