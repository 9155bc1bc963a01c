//! `admix bench`: what a training step costs; `bench_data.rs` has what the images cost. The crate `bench/` has all that is
//! measured of the program's parts.

use std::path::PathBuf;
use std::time::Instant;

use admix_api::Streams;
use admix_data::{Batch, Dataset, Split};
use admix_engine::{
    CaptureReport, Execution, Precision, Recipe, Session, StepOptions, StepReport, method_of, session_of,
};
use admix_torch::{Device, FailOnSyncs, SyncCounter, peak_rss_bytes, rss_bytes, threads};
use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use crate::bench_data::{self, DataArgs};
use crate::device::{Capture, DeviceArgs, PrecisionArgs, captures};
use crate::libraries;
use crate::output::{self, Format};
use crate::recipes::RecipeArgs;
use crate::synthetic::{image_facts, random_batch};

/// Different batches that the steps take in turn.
const BATCHES: usize = 4;

/// What to time.
#[derive(Subcommand)]
pub enum BenchCommand {
    /// Time whole training steps of a recipe, on batches that are on the device already.
    Step(StepArgs),
    /// Time the training batches of a recipe without any network: reading, decoding, augmentation.
    Data(DataArgs),
}

/// Flags of `admix bench step`.
#[derive(Args)]
pub struct StepArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// A method's script, instead of the recipe's.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Steps that are timed.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Steps before them.
    #[arg(long, default_value_t = 5)]
    warmup: u32,
    /// Steps that are watched for host syncs, after the timed ones: watching costs time.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    watched: u32,
    /// Random images of the dataset's size, so that no data are needed.
    #[arg(long)]
    synthetic: bool,
    /// How a step is run that is not captured.
    #[arg(long, value_enum, default_value_t)]
    execution: How,
    /// Whether whole steps are captured, after two of their kind, and replayed.
    #[arg(long, value_enum, default_value_t)]
    capture: Capture,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    precision: PrecisionArgs,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How a step is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum How {
    /// Every verb executes as the script reaches it.
    #[default]
    Direct,
    /// The script records, then the trace is executed.
    Recorded,
}

/// What came out.
#[derive(Serialize)]
struct Report {
    recipe: String,
    device: String,
    threads: usize,
    batch: usize,
    steps: u32,
    execution: How,
    precision: Precision,
    /// What became of capturing, untimed steps included.
    capture: CaptureReport,
    /// Median, from the call until the device is done.
    ms_per_step: f64,
    min_ms_per_step: f64,
    /// What a run pays, where steps differ in their work.
    mean_ms_per_step: f64,
    /// Median time until the call returns: what the host has to do. On the CPU that is the whole step.
    host_ms: f64,
    /// Median time until the device is done; none on the CPU, which is host and device in one.
    device_ms: Option<f64>,
    /// Share of all time, 0 to 1, that the host waits for the device after it has asked for a step. Near 0, the device
    /// waits for the host.
    waiting: f64,
    /// At the median.
    images_per_s: f64,
    /// The most memory of the process at once; on a GPU its own is apart.
    peak_rss_bytes: u64,
    /// Memory before the first step: program, networks, optimiser, batches.
    base_rss_bytes: u64,
    cuda_peak_bytes: Option<u64>,
    /// Operations in a step that make the host wait for the device.
    host_syncs_per_step: f64,
    /// Their names in one step.
    host_syncs: Vec<String>,
    /// Such operations of solvers on the host and of clusterers between steps, which are counted apart.
    host_syncs_apart_per_step: f64,
    /// On a GPU: as many more steps under CUDA's own watch, which lets nothing wait but those.
    cuda_watch: Option<CudaWatch>,
    /// The sum of all terms of each timed step, weighted as the method says.
    losses: Vec<f64>,
    /// Of the last of them.
    loss: f64,
}

/// Times the program.
pub fn bench(command: &BenchCommand) -> Result<()> {
    let args = match command {
        BenchCommand::Step(args) => args,
        BenchCommand::Data(args) => return bench_data::data(args),
    };
    let device = args.device.open()?;
    let registry = libraries::registry()?;
    let precision = args.precision.open(device)?;
    let recipe = args.recipe.read(&[], &registry)?;
    let method = method_of(&recipe, args.script.as_ref())?;
    let (mut session, batches) = if args.synthetic {
        let info = image_facts(&recipe, &registry)?;
        let batches =
            (0..BATCHES).map(|i| random_batch(&recipe, &info, i, device)).collect::<Result<Vec<_>>>()?;
        (session_of(&recipe, method, &registry, &info, device)?, batches)
    } else {
        let dataset = Dataset::open(&recipe.data, &registry, device, Streams::new(recipe.seed))?;
        let session = session_of(&recipe, method, &registry, dataset.info(), device)?;
        (session, real_batches(&recipe, &dataset)?)
    };
    session.set_precision(precision);
    session.rehearse_clusterers()?;
    let report = time(args, &recipe, &mut session, &batches, device)?;
    match args.format {
        Format::Json => output::print_json(&report),
        Format::Text => output::print(&told(&report)),
    }
}

fn time(
    args: &StepArgs,
    recipe: &Recipe,
    session: &mut Session,
    batches: &[Batch],
    device: Device,
) -> Result<Report> {
    if args.capture == Capture::Auto {
        session.capture();
    }
    let execution = match args.execution {
        _ if session.is_capturing() => Execution::Captured,
        How::Direct => Execution::Direct,
        How::Recorded => Execution::Recorded,
    };
    let options = StepOptions { execution, ..StepOptions::default() };
    let mut turn = 0;
    let mut step = |session: &mut Session| -> Result<StepReport> {
        let parts = (0..recipe.accumulate)
            .map(|part| Batch::shallow_clone(&batches[(turn + part) % batches.len()]))
            .collect();
        turn += recipe.accumulate;
        Ok(session.step_with(parts, &options)?)
    };
    let base_rss_bytes = rss_bytes()?;
    for _ in 0..args.warmup {
        wait_for(&step(session)?)?;
    }
    let (mut times, mut of_host) = (Vec::new(), Vec::new());
    let mut losses = Vec::new();
    for _ in 0..args.steps {
        let begin = Instant::now();
        let report = step(session)?;
        of_host.push(begin.elapsed().as_secs_f64() * 1e3);
        wait_for(&report)?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        losses.push(total(session, &report)?);
    }
    let loss = *losses.last().context("no step was timed")?;
    let peak_rss_bytes = peak_rss_bytes()?;
    let watched = watch(args.watched, || step(session).map(drop))?;
    let cuda_watch = match device {
        Device::Cuda(_) => watch_cuda(args.watched, || step(session).map(drop)),
        _ => None,
    };

    let (whole, host): (f64, f64) = (times.iter().sum(), of_host.iter().sum());
    times.sort_by(f64::total_cmp);
    of_host.sort_by(f64::total_cmp);
    let ms_per_step = median(&times);
    let batch = recipe.batch * recipe.accumulate;
    Ok(Report {
        recipe: recipe.file.clone(),
        device: format!("{device:?}").to_lowercase(),
        threads: threads(),
        batch,
        steps: args.steps,
        execution: args.execution,
        precision: session.world().precision,
        capture: session.captures(),
        ms_per_step,
        min_ms_per_step: times[0],
        mean_ms_per_step: whole / times.len() as f64,
        host_ms: median(&of_host),
        device_ms: device.is_cuda().then_some(ms_per_step),
        waiting: if device.is_cuda() && whole > 0.0 { 1.0 - host / whole } else { 0.0 },
        images_per_s: batch as f64 / ms_per_step * 1e3,
        peak_rss_bytes,
        base_rss_bytes,
        cuda_peak_bytes: admix_torch::cuda_peak_bytes(device),
        host_syncs_per_step: watched.per_step,
        host_syncs: watched.of_first,
        host_syncs_apart_per_step: watched.apart_per_step,
        cuda_watch,
        losses,
        loss,
    })
}

/// A step is over when its last value can be read.
fn wait_for(report: &StepReport) -> Result<()> {
    if let Some(found) = &report.found_inf {
        found.f_double_value(&[])?;
    }
    Ok(())
}

/// Host syncs of some steps.
struct Watched {
    per_step: f64,
    of_first: Vec<String>,
    apart_per_step: f64,
}

fn watch(steps: u32, mut step: impl FnMut() -> Result<()>) -> Result<Watched> {
    let counter = SyncCounter::start();
    let mut of_first = Vec::new();
    for i in 0..steps {
        step()?;
        if i == 0 {
            of_first = counter.names();
        }
    }
    let over = |count: u64| count as f64 / f64::from(steps);
    Ok(Watched { per_step: over(counter.count()), of_first, apart_per_step: over(counter.count_apart()) })
}

/// What CUDA's own watch for waiting found.
#[derive(Debug, Serialize)]
struct CudaWatch {
    /// Steps that did not wait.
    passed: u32,
    /// 1 if a step failed, which ended the watch.
    failed: u32,
    /// Of that step: that it waited, or something else.
    error: Option<String>,
}

/// `None`, and why in the log, where the watch cannot be set.
fn watch_cuda(steps: u32, mut step: impl FnMut() -> Result<()>) -> Option<CudaWatch> {
    let _failing = match FailOnSyncs::start() {
        Ok(guard) => guard,
        Err(error) => {
            tracing::warn!(%error, "CUDA's watch for waiting was not set");
            return None;
        }
    };
    Some(passed(steps, &mut step))
}

fn passed(steps: u32, step: &mut dyn FnMut() -> Result<()>) -> CudaWatch {
    for passed in 0..steps {
        if let Err(error) = step() {
            return CudaWatch { passed, failed: 1, error: Some(format!("{error:#}")) };
        }
    }
    CudaWatch { passed: steps, failed: 0, error: None }
}

fn total(session: &Session, report: &StepReport) -> Result<f64> {
    let weights = session.weights()?;
    let mut sum = 0.0;
    for (name, value) in &report.losses {
        sum += weights.get(name).copied().unwrap_or(1.0) * value.f_double_value(&[])?;
    }
    Ok(sum)
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

fn real_batches(recipe: &Recipe, dataset: &Dataset) -> Result<Vec<Batch>> {
    let streams = Streams::new(recipe.seed);
    let order = dataset.order(&mut streams.draws("order", "", 0, 0))?;
    let there = (dataset.len(Split::Train) / recipe.batch).clamp(1, BATCHES);
    (0..there)
        .map(|i| {
            let index = order.f_narrow(0, (i * recipe.batch) as i64, recipe.batch as i64)?;
            Ok(dataset.train_views(&index, streams, 0, i as u64)?)
        })
        .collect()
}

fn told(report: &Report) -> String {
    let row = |name: &str, value: String| vec![name.to_string(), value];
    let mut rows = vec![
        row("recipe", report.recipe.clone()),
        row("device", format!("{} ({} threads), {}", report.device, report.threads, report.precision.name())),
        row(
            "step",
            format!(
                "{:.3} ms (median of {}), {:.3} ms at best, {:.3} ms on average",
                report.ms_per_step, report.steps, report.min_ms_per_step, report.mean_ms_per_step
            ),
        ),
        row("capture", captures(&report.capture)),
        row("images", format!("{:.0} per second, {} per step", report.images_per_s, report.batch)),
        row(
            "memory",
            format!(
                "{} at most, {} before the first step",
                output::bytes(report.peak_rss_bytes),
                output::bytes(report.base_rss_bytes)
            ),
        ),
    ];
    rows.extend(
        report.cuda_peak_bytes.map(|bytes| row("GPU memory", format!("{} at most", output::bytes(bytes)))),
    );
    let names = if report.host_syncs.is_empty() {
        String::new()
    } else {
        format!(": {}", report.host_syncs.join(", "))
    };
    if let Some(device_ms) = report.device_ms {
        let text = format!(
            "{:.3} ms of {device_ms:.3} ms, then it waits: {:.0} % of the time",
            report.host_ms,
            100.0 * report.waiting
        );
        rows.push(row("host", text));
    }
    rows.push(row("host syncs", format!("{} per step{names}", report.host_syncs_per_step)));
    if report.host_syncs_apart_per_step > 0.0 {
        let text = format!("{} per step, of solvers and clusterers", report.host_syncs_apart_per_step);
        rows.push(row("counted apart", text));
    }
    rows.extend(report.cuda_watch.as_ref().map(|watch| {
        let error = watch.error.as_ref().map(|error| format!(", then one failed: {error}"));
        row("CUDA's watch", format!("{} steps did not wait{}", watch.passed, error.unwrap_or_default()))
    }));
    rows.push(row("loss", format!("{:.4}", report.loss)));
    output::table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
    }

    #[test]
    fn a_watch_ends_with_the_first_step_that_waits() {
        let mut left = 2;
        let mut step = || {
            left -= 1;
            anyhow::ensure!(left >= 0, "called a synchronizing CUDA operation");
            Ok(())
        };
        let watch = passed(5, &mut step);
        assert_eq!((watch.passed, watch.failed), (2, 1));
        assert!(watch.error.is_some_and(|error| error.contains("synchronizing")));
        let watch = passed(3, &mut || Ok(()));
        assert_eq!((watch.passed, watch.failed, watch.error), (3, 0, None));
    }
}
