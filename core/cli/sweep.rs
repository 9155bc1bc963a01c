//! `admix sweep`: trains what is missing of an experiment.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use admix_engine::RunFolder;
use admix_lab::{Evaluation, Options, Plan, Progress, work};
use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::experiments::ExperimentArgs;
use crate::failure::Stopped;
use crate::output::{self, Format};
use crate::shell::quoted;
use crate::sweep_estimate::estimate;
use crate::sweep_view::View;
use crate::{libraries, signals, slurm};

/// Flags of `admix sweep`.
#[derive(Args)]
pub struct SweepArgs {
    /// An experiment's script, or the name of a bundled one (`admix table --list` lists them).
    experiment: String,
    #[command(flatten)]
    runs: ExperimentArgs,
    /// Runs at a time. Default: one for each device.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Devices, taken in turn: cpu, cuda, or cuda:0,cuda:1. Default: auto.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "auto",
        conflicts_with = "launcher"
    )]
    devices: Vec<crate::device::Choice>,
    /// Threads of each run. Default: the cores, shared by the runs that go on at a time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// After so many hours no run starts, and those that go on are saved and stopped.
    #[arg(long, value_name = "H", value_parser = hours)]
    max_hours: Option<f64>,
    /// Take at most so many runs, then end.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    at_most: Option<u16>,
    /// List the runs with their steps, and how long those that are missing would take by a few steps of each on random
    /// images. Nothing is trained.
    #[arg(long, conflicts_with_all = ["print", "launcher"])]
    dry_run: bool,
    /// Print the command of each run that is missing, for a scheduler of your own.
    #[arg(long, conflicts_with = "launcher")]
    print: bool,
    /// Who runs the processes: this machine, or Slurm as an array of jobs.
    #[arg(long, value_enum, default_value_t)]
    launcher: Launcher,
    #[command(flatten)]
    slurm: slurm::SlurmArgs,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Launcher {
    /// This machine.
    #[default]
    Local,
    /// Slurm.
    Slurm,
}

fn hours(text: &str) -> Result<f64, String> {
    let hours = text.parse::<f64>().ok().filter(|hours| hours.is_finite() && *hours > 0.0 && *hours < 1e6);
    hours.ok_or_else(|| "expected a number of hours above 0".into())
}

/// Trains what is missing of an experiment.
pub fn sweep(args: &SweepArgs) -> Result<()> {
    let plan = args.runs.plan(&args.experiment)?;
    let devices: Vec<String> = args.devices.iter().map(ToString::to_string).collect();
    let jobs = args.jobs.map_or(devices.len(), usize::from);
    if args.dry_run {
        return estimate(&plan, &devices[0], args.format);
    }
    if args.launcher == Launcher::Slurm {
        let mut more = libraries::flags();
        let threads = args.threads.or(args.slurm.cpus());
        more.extend(threads.iter().flat_map(|threads| ["--threads".into(), threads.to_string()]));
        more.extend(args.max_hours.iter().flat_map(|hours| ["--max-hours".into(), hours.to_string()]));
        return slurm::submit(&args.slurm, &args.experiment, &args.runs, &plan, (args.jobs, &more));
    }
    args.slurm.refuse()?;
    let more = more(args, jobs);
    if args.print {
        return output::print(&commands(&plan, &devices[0], &more));
    }
    let stop = Arc::<AtomicI32>::default();
    signals::watch(
        &stop,
        "stopping every run after its step; a second signal ends this program alone, and the runs then save too",
        true,
    )?;
    let options = Options {
        program: std::env::current_exe().context("cannot find this program")?,
        devices,
        jobs,
        more,
        until: args.max_hours.map(|hours| Instant::now() + Duration::from_secs_f64(hours * 3600.0)),
        at_most: args.at_most.map(usize::from),
        stop: &stop,
    };
    let mut view = View::new(&plan, args.format);
    let outcome = work(&plan, &args.runs.out, &options, &mut |news| view.show(&news));
    view.end();
    let outcome = outcome?;
    summary(&plan, &outcome.progress, args.format)?;
    let failed = outcome.progress.iter().filter(|one| matches!(one, Progress::Failed(_))).count();
    match (outcome.signal, failed) {
        (0, 0) => Ok(()),
        (0, failed) => Err(anyhow!("{failed} of {} runs failed", outcome.progress.len())),
        (signal, _) => {
            let words = [vec![args.experiment.clone()], args.runs.words()].concat();
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            Err(Stopped { signal, again: format!("admix sweep {}", words.join(" ")) }.into())
        }
    }
}

/// Arguments of every process.
fn more(args: &SweepArgs, jobs: usize) -> Vec<String> {
    let mut more = libraries::flags();
    let cores = available_parallelism().map_or(1, usize::from);
    let shared = || u16::try_from((cores / jobs).max(1)).unwrap_or(1);
    if let Some(threads) = args.threads.or_else(|| (jobs > 1).then(shared)) {
        more.extend(["--threads".into(), threads.to_string()]);
    }
    more
}

fn commands(plan: &Plan, device: &str, more: &[String]) -> String {
    let mut text = String::new();
    let mut seen: Vec<(&Path, Option<&Evaluation>)> = Vec::new();
    for run in &plan.runs {
        let evaluation = plan.experiment.runs[run.variant].evaluation.as_ref();
        let progress = run.progress(evaluation);
        // Two variants may be one run, measured in two ways.
        let known = (run.folder.as_path(), evaluation);
        if matches!(progress, Progress::Done(_) | Progress::Running) || seen.contains(&known) {
            continue;
        }
        let is_trained = seen.iter().any(|(folder, _)| *folder == run.folder);
        seen.push(known);
        let folder = run.folder.display().to_string();
        let told = |words: Vec<String>| {
            let all = [words, vec!["--device".into(), device.into()], more.to_vec()].concat();
            let quoted: Vec<String> = all.iter().map(|word| quoted(word)).collect();
            format!("admix {}", quoted.join(" "))
        };
        if progress != Progress::Trained && !is_trained {
            let resume = RunFolder::existing(&run.folder).is_run().then(|| "--resume".to_owned());
            let ends = [resume.into_iter().collect(), vec!["--out".into(), folder.clone()]].concat();
            text.push_str(&told([vec!["run".into()], run.arguments.clone(), ends].concat()));
            text.push('\n');
        }
        if let Some(evaluation) = evaluation {
            let ends = vec!["--format".into(), "json".into()];
            text.push_str(&told([vec!["eval".into(), folder], evaluation.arguments(), ends].concat()));
            text.push_str(&format!(
                " > {}\n",
                quoted(&run.folder.join(evaluation.file()).display().to_string())
            ));
        }
    }
    text
}

/// How far all runs are.
fn summary(plan: &Plan, progress: &[Progress], format: Format) -> Result<()> {
    let count = |is: fn(&Progress) -> bool| progress.iter().filter(|one| is(one)).count();
    let done = count(|one| matches!(one, Progress::Done(_)));
    let failed = count(|one| matches!(one, Progress::Failed(_)));
    let rest = progress.len() - done - failed;
    if format == Format::Json {
        let why = plan.runs.iter().zip(progress).filter_map(|(run, progress)| match progress {
            Progress::Failed(why) => Some(json!({ "run": run.name, "folder": run.folder, "why": why })),
            _ => None,
        });
        let why: Vec<_> = why.collect();
        return output::print_json(&json!({
            "event": "finished", "runs": progress.len(), "done": done, "left": rest, "failed": why,
        }));
    }
    let mut text = format!("{done} of {} runs are done", progress.len());
    if rest > 0 {
        text.push_str(&format!(", {rest} are left"));
    }
    text.push('\n');
    for (run, progress) in plan.runs.iter().zip(progress) {
        if let Progress::Failed(why) = progress {
            text.push_str(&format!("failed: {}: {why} ({})\n", run.name, run.beside("log").display()));
        }
    }
    output::print(&text)
}
