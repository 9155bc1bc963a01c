//! `admix sweep --launcher slurm`: an array of jobs, each of which takes one run.

use std::path::PathBuf;
use std::process::Command;

use admix_lab::{Plan, Progress};
use anyhow::{Context, Result};
use clap::Args;

use crate::experiments::ExperimentArgs;
use crate::failure::bad_input;
use crate::output;
use crate::shell::quoted;

/// What Slurm is asked for.
#[derive(Args)]
#[command(next_help_heading = "Slurm")]
pub struct SlurmArgs {
    /// The partition.
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
    /// The most time of one job, such as 24:00:00. A run that needs more is saved, and its job is put back into the queue.
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    /// GPUs of a job.
    #[arg(long, value_name = "N", default_value_t = 1)]
    gpus: u16,
    /// Cores of a job.
    #[arg(long, value_name = "N")]
    cpus: Option<u16>,
    /// Another line for the top of the job's script, such as --sbatch=--mem=32G. May be repeated.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    sbatch: Vec<String>,
    /// Write the job's script and submit nothing.
    #[arg(long)]
    no_submit: bool,
}

impl SlurmArgs {
    /// Cores of a job.
    pub fn cpus(&self) -> Option<u16> {
        self.cpus
    }

    /// Refuses these flags where Slurm is not asked for.
    ///
    /// # Errors
    /// Some are given.
    pub fn refuse(&self) -> Result<()> {
        let given = [
            (self.partition.is_some(), "partition"),
            (self.time.is_some(), "time"),
            (self.gpus != 1, "gpus"),
            (self.cpus.is_some(), "cpus"),
            (!self.sbatch.is_empty(), "sbatch"),
            (self.no_submit, "no-submit"),
        ];
        match given.iter().find(|(given, _)| *given) {
            Some((_, flag)) => Err(bad_input(format!("--{flag} belongs to --launcher slurm"))),
            None => Ok(()),
        }
    }
}

/// Writes the script of the job array, and submits it.
pub fn submit(
    args: &SlurmArgs,
    experiment: &str,
    runs: &ExperimentArgs,
    plan: &Plan,
    (jobs, more): (Option<u16>, &[String]),
) -> Result<()> {
    let open = |run: &&admix_lab::Planned| {
        let evaluation = plan.experiment.runs[run.variant].evaluation.as_ref();
        !matches!(run.progress(evaluation), Progress::Done(_))
    };
    let left = plan.runs.iter().filter(open).count();
    if left == 0 {
        return output::print("all runs are done; nothing is submitted");
    }
    std::fs::create_dir_all(&runs.out)
        .with_context(|| format!("cannot make the folder {}", runs.out.display()))?;
    let path = runs.out.join(format!("{}.sbatch", plan.experiment.name));
    let text = script(args, experiment, runs, plan, (left, jobs, more))?;
    output::save(&path, text.as_bytes(), true).with_context(|| format!("cannot write {}", path.display()))?;
    if args.no_submit {
        return output::print(&format!(
            "{} is written: submit it with sbatch {}",
            path.display(),
            quoted(&path.display().to_string())
        ));
    }
    let told = Command::new("sbatch").arg(&path).output().map_err(|error| {
        bad_input(format!(
            "--launcher slurm: cannot start sbatch: {error}. {} is written: submit it where Slurm is",
            path.display()
        ))
    })?;
    if !told.status.success() {
        let why = String::from_utf8_lossy(&told.stderr);
        return Err(bad_input(format!("sbatch refuses {}: {}", path.display(), why.trim())));
    }
    output::print(&String::from_utf8_lossy(&told.stdout))
}

/// The job's script. It does not name runs: each job takes the next one that is free, so that one which comes back goes on
/// with what it left.
fn script(
    args: &SlurmArgs,
    experiment: &str,
    runs: &ExperimentArgs,
    plan: &Plan,
    (left, jobs, more): (usize, Option<u16>, &[String]),
) -> Result<String> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let here = std::env::current_dir().context("cannot tell the current folder")?;
    let logs: PathBuf = here.join(&runs.out).join(format!("{}-%A_%a.out", plan.experiment.name));
    let mut text = String::from("#!/bin/bash\n");
    let mut option = |line: String| text.push_str(&format!("#SBATCH {line}\n"));
    option(format!("--job-name=admix-{}", plan.experiment.name));
    option(format!("--array=1-{left}{}", jobs.map_or(String::new(), |jobs| format!("%{jobs}"))));
    option(format!("--output=\"{}\"", logs.display()));
    option(format!("--chdir=\"{}\"", here.display()));
    if args.gpus > 0 {
        option(format!("--gpus={}", args.gpus));
    }
    args.cpus.iter().for_each(|cpus| option(format!("--cpus-per-task={cpus}")));
    args.partition.iter().for_each(|name| option(format!("--partition={name}")));
    args.time.iter().for_each(|time| option(format!("--time={time}")));
    // A job that is pre-empted is put back into the queue by Slurm, one that nears its limit by itself; one that is cancelled is
    // not. In each case the worker saves its run first.
    option("--requeue".into());
    option("--open-mode=append".into());
    option("--signal=B:USR1@120".into());
    args.sbatch.iter().for_each(|line| option(line.clone()));
    let device = if args.gpus > 0 { "cuda" } else { "cpu" };
    let mut words = vec![program.display().to_string(), "sweep".into(), experiment.into()];
    words.extend(runs.words());
    words.extend(more.iter().cloned());
    words.extend(["--at-most", "1", "--jobs", "1", "--devices", device].map(String::from));
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    text.push_str(&format!(
        "{} &\nworker=$!\ntrap 'kill -TERM $worker' TERM\ntrap 'limit=1; kill -TERM $worker' USR1\nwait $worker; code=$?\n\
         # A signal ends the first wait: the worker still saves.\n\
         while kill -0 $worker 2>/dev/null; do wait $worker; code=$?; done\n\
         if [ -n \"$limit\" ] && [ $code -eq 143 ]; then scontrol requeue \"$SLURM_JOB_ID\"; fi\nexit $code\n",
        words.join(" ")
    ));
    Ok(text)
}
