//! `admix plot`: the figure of an experiment as a file.

use std::path::PathBuf;

use admix_engine::RunFolder;
use admix_lab::{Chart, Figure};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::experiments::ExperimentArgs;
use crate::export::room;
use crate::failure::bad_input;
use crate::output;
use crate::runs;

/// Flags of `admix plot`.
#[derive(Args)]
pub struct PlotArgs {
    /// An experiment's script, or the name of a bundled one.
    experiment: String,
    #[command(flatten)]
    runs: ExperimentArgs,
    /// The file: NAME.svg or NAME.png.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// What is drawn, instead of the experiment's own figure.
    #[arg(long, value_enum)]
    kind: Option<Kind>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Accuracy over epochs, with the spread over seeds.
    Curves,
    /// A bar for each cell.
    Bars,
    /// Accuracy over the columns, which are numbers.
    Lines,
    /// A map of colours, rows by columns.
    Heat,
    /// Accuracy against training time.
    Time,
}

/// Draws the figure of an experiment.
pub fn plot(args: &PlotArgs) -> Result<()> {
    let ending = args.output.extension().and_then(|ending| ending.to_str()).map(str::to_lowercase);
    let is_svg = match ending.as_deref() {
        Some("svg") => true,
        Some("png") => false,
        _ => {
            return Err(bad_input(format!(
                "--output {}: expected NAME.svg or NAME.png",
                args.output.display()
            )));
        }
    };
    room(&args.output, true)?;
    let plan = args.runs.plan(&args.experiment)?;
    let figure = args.kind.map_or(plan.experiment.figure, |kind| match kind {
        Kind::Curves => Figure::Curves,
        Kind::Bars => Figure::Bars,
        Kind::Lines => Figure::Lines,
        Kind::Heat => Figure::Heat,
        Kind::Time => Figure::Time,
    });
    plan.runs.iter().for_each(|run| runs::tell_damage(&RunFolder::existing(&run.folder)));
    let chart = Chart::of(&plan, figure).map_err(|error| bad_input(error.to_string()))?;
    let file = if is_svg { chart.svg(true)?.into_bytes() } else { chart.png()? };
    output::save(&args.output, &file, true)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    output::print(&args.output.display().to_string())
}
