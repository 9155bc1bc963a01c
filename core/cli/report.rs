//! `admix report`: one page about runs and experiments.

use std::path::{Path, PathBuf};

use admix_lab::Report;
use admix_torch::{Wanted, open_cuda};
use anyhow::{Context, Result};
use clap::Args;

use crate::experiments::ExperimentArgs;
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
    let (mut plans, mut folders) = (Vec::new(), Vec::new());
    for name in &args.what {
        let path = Path::new(name);
        if path.is_dir() {
            folders.push((path.to_path_buf(), settings(path)?));
            continue;
        }
        let plan = args.runs.plan(name)?;
        for run in plan.runs.iter().filter(|run| run.folder.join("recipe.ron").is_file()) {
            folders.push((run.folder.clone(), settings(&run.folder)?));
        }
        plans.push(plan);
    }
    let page = Report::of(&plans, &folders)?.html();
    output::save(&args.output, page.as_bytes(), true)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    output::print(&format!(
        "{}: {} runs, {}",
        args.output.display(),
        folders.len(),
        output::bytes(page.len() as u64)
    ))
}
