//! `admix table`: what the runs of an experiment came to, beside the published figures.

use std::path::PathBuf;

use admix_engine::RunFolder;
use admix_lab::{Form, Rule, Table};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::experiments::{self, ExperimentArgs};
use crate::export::room;
use crate::failure::bad_input;
use crate::output;
use crate::runs;

/// Flags of `admix table`.
#[derive(Args)]
pub struct TableArgs {
    /// An experiment's script, or the name of a bundled one; or run folders.
    #[arg(required_unless_present = "list", value_name = "EXPERIMENT|RUN")]
    what: Vec<String>,
    /// List the bundled experiments, and how many cells of the paper's tables they can fill.
    #[arg(long, conflicts_with = "what")]
    list: bool,
    #[command(flatten)]
    runs: ExperimentArgs,
    /// Of run folders: how the figure of a run is read.
    #[arg(long, value_enum)]
    rule: Option<RuleArg>,
    /// How the table is written.
    #[arg(long, value_enum, default_value_t)]
    format: FormArg,
    /// Write it into this file instead.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum FormArg {
    /// For a terminal.
    #[default]
    Text,
    /// For a page.
    Markdown,
    /// For a paper.
    Latex,
    /// For other programs: a line for each cell.
    Csv,
    /// The same with all that is known, as JSON.
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum RuleArg {
    /// The median of the last ten evaluations.
    #[default]
    MedianLast10,
    /// The last evaluation.
    Last,
    /// The best evaluation.
    Best,
}

impl RuleArg {
    fn rule(self) -> Rule {
        match self {
            Self::MedianLast10 => Rule::MedianLast10,
            Self::Last => Rule::Last,
            Self::Best => Rule::Best,
        }
    }
}

/// Prints a table.
pub fn table(args: &TableArgs) -> Result<()> {
    if args.list {
        return list(args.format);
    }
    if let Some(path) = &args.output {
        room(path, true)?;
    }
    let is_run = |name: &String| RunFolder::existing(name).is_run();
    let table = match &args.what[..] {
        folders if folders.iter().all(is_run) => {
            args.runs.refuse_for_runs()?;
            runs::table(folders, args.rule.unwrap_or_default().rule())?
        }
        [_] if args.rule.is_some() => {
            return Err(bad_input(
                "--rule belongs to run folders: an experiment says itself how its figures are read",
            ));
        }
        [experiment] => {
            let plan = args.runs.plan(experiment)?;
            plan.runs.iter().for_each(|run| runs::tell_damage(&RunFolder::existing(&run.folder)));
            Table::of(&plan)
        }
        several => {
            let not = several.iter().find(|name| !is_run(name)).map_or("", String::as_str);
            return Err(bad_input(format!(
                "give one experiment, or run folders alone; {not} is no run folder"
            )));
        }
    };
    let form = match args.format {
        FormArg::Text => Form::Text,
        FormArg::Markdown => Form::Markdown,
        FormArg::Latex => Form::Latex,
        FormArg::Csv => Form::Csv,
        FormArg::Json => Form::Json,
    };
    let text = table.write(form);
    match &args.output {
        Some(path) => output::save(path, text.as_bytes(), true)
            .with_context(|| format!("cannot write {}", path.display())),
        None => output::print(&text),
    }
}

fn list(format: FormArg) -> Result<()> {
    let mut rows = vec![["experiment", "runs", "cells", "what"].map(String::from).to_vec()];
    let mut values = Vec::new();
    let (mut filled, mut all) = (0, 0);
    for name in experiments::names() {
        let experiment = experiments::read(name)?;
        let (some, of) = experiment.counted();
        // The paper's tables alone are counted: other experiments, and figures, have no cells to fill in.
        if name.starts_with("table") {
            filled += some;
            all += of;
        }
        let runs: u64 = experiment.runs.iter().map(|run| run.seeds.unwrap_or(experiment.seeds)).sum();
        rows.push(vec![
            name.to_owned(),
            output::thousands(runs),
            if some == of { of.to_string() } else { format!("{some} of {of}") },
            experiment.title.clone(),
        ]);
        let waits: Vec<_> = experiment
            .waiting
            .iter()
            .map(|(cell, what)| json!({ "row": cell.row, "column": cell.column, "for": what }))
            .collect();
        values.push(json!({
            "name": name, "runs": runs, "cells": of, "runnable": some, "title": experiment.title, "waits": waits,
        }));
    }
    if format == FormArg::Json {
        return output::print_json(&json!({ "experiments": values, "cells": all, "runnable": filled }));
    }
    output::print(&format!("{}{filled} of {all} cells runnable\n", output::table(&rows)))
}
