//! `admix run`: trains a recipe.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use admix_api::{Choice, Registry};
use admix_engine::{Logger, Precision, Prepared, Recipe, Run, RunContext, RunFolder, RunOptions, prepare};
use admix_torch::{Device, Group};
use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::checkpoints;
use crate::data::downloading;
use crate::device::{Capture, DeviceArgs, PrecisionArgs};
use crate::failure::bad_input;
use crate::libraries;
use crate::output::{self, Format};
use crate::processes::{self, ProcessArgs};
use crate::profile::Profiler;
use crate::progress::{self, Progress};
use crate::recipes::{RecipeArgs, change};
use crate::samples;
use crate::signals;

/// Flags of `admix run`.
#[derive(Args)]
#[command(allow_negative_numbers = true)]
pub struct RunArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// A method's script, instead of the recipe's.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    precision: PrecisionArgs,
    /// Whether whole steps are captured and replayed. The numbers do not depend on it.
    #[arg(long, value_enum, default_value_t)]
    capture: Capture,
    /// The run folder: a new or empty one. Default: runs/RECIPE, numbered if that is taken.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on from the newest good checkpoint of the run folder, or from this checkpoint or run folder.
    #[arg(long, value_name = "PATH", num_args = 0..=1)]
    resume: Option<Option<PathBuf>>,
    /// Accept a script that differs from the checkpoint's.
    #[arg(long, requires = "resume")]
    allow_changed_script: bool,
    /// All randomness flows from it; the same as --set seed=N.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Start from the backbone in this weight file; the same as --set init.from="FILE". A path, torchvision:NAME, hf:OWNER/NAME
    /// or an https:// address.
    #[arg(long, value_name = "FILE")]
    init: Option<String>,
    /// Log to this logger too, such as tensorboard or 'TensorBoard(folder: "tb")'; `admix plugins logger` lists them. May be
    /// repeated.
    #[arg(long, value_name = "NAME")]
    log_to: Vec<String>,
    /// Stop after this many optimiser steps in all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_steps: Option<u64>,
    /// Train this many steps (after 3 others), tell where their time goes, save the state and stop. The spans are in
    /// profile.json of the run folder, for Perfetto or chrome://tracing.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    #[arg(conflicts_with_all = ["max_steps", "dry_run"])]
    profile: Option<u64>,
    /// Do everything up to the first batch, and write nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    processes: ProcessArgs,
    #[command(flatten)]
    parent: signals::ParentArgs,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl RunArgs {
    /// The profiler that these flags ask for.
    pub fn profiler(&self) -> Option<Profiler> {
        self.profile.map(Profiler::new)
    }
}

/// Trains a recipe. `profiler` is the one that the flags asked for, already listening.
pub fn run(args: &RunArgs, profiler: Option<&Profiler>) -> Result<()> {
    args.parent.heed()?;
    let launch = processes::launch()?;
    if let Some(processes) = args.processes.to_start(launch.as_ref())? {
        return processes::start(processes);
    }
    let device = match &launch {
        None => args.device.open()?,
        Some(launch) => args.device.open_at(launch.local_rank, launch.local_processes.unwrap_or(1))?,
    };
    let group = launch.map(|launch| args.processes.join(&launch, device)).transpose()?;
    let outcome = train(args, profiler, device, group.clone());
    let Some(group) = group else { return outcome };
    match &outcome {
        Err(error) if !is_interrupted(error) => group.stop(&error.to_string()),
        // All have saved and stopped.
        _ => Rc::into_inner(group).map_or(Ok(()), Group::leave)?,
    }
    outcome
}

fn is_interrupted(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(admix_engine::Error::Interrupted { .. }))
}

/// Trains in this process, alone or in a group.
fn train(
    args: &RunArgs,
    profiler: Option<&Profiler>,
    device: Device,
    group: Option<Rc<Group>>,
) -> Result<()> {
    let tells = group.as_ref().is_none_or(|group| group.rank() == 0);
    let precision = args.precision.open(device)?;
    let registry = Rc::new(libraries::registry()?);
    let seed = args.seed.map(|seed| change("seed", seed));
    let init = args.init.as_ref().map(|from| change("init.from", Value::from(from.as_str())));
    let more: Vec<_> = seed.into_iter().chain(init).collect();
    let mut recipe = args.recipe.read(&more, &registry)?;
    args.log_to.iter().try_for_each(|logger| recipe.log_to(logger, &registry))?;
    if args.dry_run {
        return dry_run(args, recipe, &registry, (device, precision), group.as_deref());
    }
    let (out, resume) = resume_from(args.out.clone(), args.resume.clone(), device)?;
    let options = RunOptions {
        script: args.script.clone(),
        resume,
        allow_changed_script: args.allow_changed_script,
        max_steps: args.max_steps,
        precision,
        // A profile waits for the device within a step, which nothing captured may do.
        capture: args.capture == Capture::Auto && profiler.is_none(),
        ..RunOptions::default()
    };
    // The program shows every run itself: a recipe's own `Terminal` chooses the form alone, and must not tell all twice.
    let shows = |logger: &Choice<dyn Logger>| logger.resolved()["plugin"] == "terminal";
    let terminals: Vec<_> = recipe.loggers.extract_if(.., |logger| shows(logger)).collect();
    let format = match terminals.iter().any(|terminal| terminal.resolved()["format"] == "Json") {
        true => Format::Json,
        false => args.format,
    };
    let mut context = RunContext { out, group, progress: Rc::new(downloading()), ..RunContext::default() };
    if tells {
        context.loggers.add(Box::new(Progress::new(format, recipe.reported().unwrap_or_default())))?;
    }
    let begun = Run::begin(recipe, &options, &registry, device, context);
    output::end_bar();
    let mut run = begun?;
    run.after_evaluation = Some(Box::new(|session, dataset, folder| {
        let path = folder.root.join(format!("samples/epoch-{:03}.png", session.clock().epoch));
        // A picture that fails must not end a run.
        let drawn = samples::write(session, dataset, &path).unwrap_or_else(|error| {
            output::note(&format!("warning: no picture of mixed samples: {error:#}"));
            false
        });
        Ok(drawn.then_some(path))
    }));
    if let Some(profiler) = profiler {
        run.stop_after(profiler.start(run.session.clock(), device));
    }
    signals::watch(
        &run.context.stop,
        "stopping after this step; a second signal ends the program without saving",
        args.parent.is_alone(),
    )?;
    let outcome = run.train();
    output::end_bar();
    let summary = outcome?;
    let profile = profiler.map(|profiler| profiler.finish(&run.folder)).transpose()?;

    if !tells {
        return Ok(());
    }
    let samples = newest_picture(&run.folder);
    match format {
        Format::Json => {
            if let Some(profile) = &profile {
                output::print_json(profile)?;
            }
            let mut end = json!({ "event": "finished", "samples": samples });
            if let (Some(end), Value::Object(facts)) = (end.as_object_mut(), serde_json::to_value(&summary)?)
            {
                end.extend(facts);
            }
            output::print_json(&end)
        }
        Format::Text => {
            let stopped_by = if profile.is_some() { "--profile" } else { "--max-steps" };
            let mut text = format!("\n{}", progress::results(&summary, stopped_by));
            if let Some(profile) = &profile {
                text = format!("\n{}{text}", profile.told());
            }
            if let Some(path) = samples {
                text.push_str(&format!("mixed samples: {}\n", path.display()));
            }
            text.push_str(&format!("run folder: {}\n", summary.folder.display()));
            output::print(&text)
        }
    }
}

/// What `--out` and `--resume` mean together: the run folder, and the checkpoint if it is not just its newest.
fn resume_from(
    out: Option<PathBuf>,
    resume: Option<Option<PathBuf>>,
    device: Device,
) -> Result<(Option<PathBuf>, Option<Option<PathBuf>>)> {
    let Some(Some(path)) = resume else { return Ok((out, resume)) };
    if path.is_dir() {
        // Its newest checkpoint is looked for once the folder is locked: until then another run may write there.
        if out.as_ref().is_none_or(|out| *out == path) {
            return Ok((Some(path), Some(None)));
        }
        let newest = checkpoints::open(&path, false, device).context("--resume")?;
        return Ok((out, Some(Some(newest.path))));
    }
    if !path.is_file() {
        return Err(bad_input(format!(
            "--resume {}: there is no such checkpoint or run folder",
            path.display()
        )));
    }
    let out = out.or_else(|| run_folder_of(&path)).ok_or_else(|| {
        bad_input(format!(
            "--resume {}: this checkpoint is in no run folder; name one with --out",
            path.display()
        ))
    })?;
    Ok((Some(out), Some(Some(path))))
}

/// `x` of `x/checkpoints/step-00000001.safetensors`.
fn run_folder_of(checkpoint: &Path) -> Option<PathBuf> {
    let folder = checkpoint.parent().filter(|folder| folder.ends_with("checkpoints"))?;
    let root = folder.parent()?;
    Some(if root.as_os_str().is_empty() { PathBuf::from(".") } else { root.to_path_buf() })
}

fn dry_run(
    args: &RunArgs,
    recipe: Recipe,
    registry: &Registry,
    (device, precision): (Device, Precision),
    group: Option<&Group>,
) -> Result<()> {
    let mut prepared = prepare(recipe, args.script.as_ref(), registry, device, precision)?;
    prepared.share(group.map_or(1, Group::processes))?;
    if args.resume.is_none() {
        let started = prepared.start(&downloading());
        output::end_bar();
        started?;
    }
    let Prepared { recipe, session, dataset, warnings, .. } = prepared;
    if let Some(Some(path)) = &args.resume
        // A run that ended before its first checkpoint begins again: nothing can differ.
        && !(path.is_dir() && RunFolder::existing(path).checkpoints().is_empty())
    {
        let checkpoint = checkpoints::open(path, false, device).context("--resume")?;
        checkpoint.check_fits(&recipe, session.method(), registry, args.allow_changed_script)?;
        checkpoint.check_classes(&dataset.info().name, &dataset.info().class_names)?;
    }
    if group.is_some_and(|group| group.rank() > 0) {
        return Ok(());
    }
    let clock = session.clock();
    let info = dataset.info();
    match args.format {
        Format::Json => output::print_json(&json!({
            "event": "dry_run",
            "recipe": recipe.place(),
            "script": session.method().file(),
            "data": info.name,
            "train_images": info.train,
            "test_images": info.test,
            "epochs": clock.epochs,
            "steps": clock.steps,
            "warnings": warnings,
        })),
        Format::Text => {
            warnings.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
            output::print(&format!(
                "{} is ready: {} steps in {} epochs on {} images of {}, method {}; nothing was written",
                recipe.place(),
                output::thousands(clock.steps),
                clock.epochs,
                output::thousands(info.train as u64),
                info.name,
                session.method().file()
            ))
        }
    }
}

fn newest_picture(folder: &RunFolder) -> Option<PathBuf> {
    let entries = folder.root.join("samples").read_dir().ok()?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "png"))
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_folder_of_a_checkpoint_is_two_up() {
        let folder = |path: &str| run_folder_of(Path::new(path));
        assert_eq!(folder("runs/a/checkpoints/step-1.safetensors"), Some("runs/a".into()));
        assert_eq!(folder("checkpoints/best.safetensors"), Some(".".into()));
        assert_eq!(folder("elsewhere/step-1.safetensors"), None);
    }
}
