//! `admix report`: one page about runs and experiments.

use std::path::{Path, PathBuf};

use admix_engine::RunFolder;
use admix_lab::{Report, Told};
use admix_torch::{Wanted, open_cuda};
use anyhow::{Context, Result};
use clap::Args;

use crate::experiments::ExperimentArgs;
use crate::export::room;
use crate::output;
use crate::runs::settings;

/// Flags of `admix report`.
#[derive(Args)]
pub struct ReportArgs {
    /// Run folders, experiments' scripts, or names of bundled ones.
    #[arg(required = true, value_name = "EXPERIMENT|RUN")]
    what: Vec<String>,
    #[command(flatten)]
    runs: ExperimentArgs,
    /// The page.
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
}

/// Writes the page.
pub fn report(args: &ReportArgs) -> Result<()> {
    open_cuda(Wanted::Cpu)?;
    room(&args.output, true)?;
    let (mut plans, mut folders) = (Vec::new(), Vec::new());
    for name in &args.what {
        let path = Path::new(name);
        let mut add = |name: &str, folder: &Path| -> Result<()> {
            // Two experiments, and two variants, may share a run.
            if !folders.iter().any(|told: &Told| told.folder == folder) {
                folders.push(Told::of(name, folder, &settings(folder)?)?);
            }
            Ok(())
        };
        if RunFolder::existing(path).is_run() {
            add(name, path)?;
            continue;
        }
        let plan = args.runs.plan(name)?;
        for run in plan.runs.iter().filter(|run| run.folder.join("recipe.ron").is_file()) {
            add(&run.name, &run.folder)?;
        }
        plans.push(plan);
    }
    if plans.is_empty() {
        args.runs.refuse_for_runs()?;
    }
    let count = folders.len();
    let page = Report::of(&plans, folders)?.html();
    output::save(&args.output, page.as_bytes(), true)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    output::print(&format!(
        "{}: {} run(s), {}",
        args.output.display(),
        count,
        output::bytes(page.len() as u64)
    ))
}
