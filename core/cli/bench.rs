//! `admix bench`: what a training step costs; `bench_data.rs` has what the images cost. The crate `bench/` has all that is
//! measured of the program's parts.

use std::path::PathBuf;
use std::time::Instant;

use admix_api::Streams;
use admix_data::{Batch, Dataset, Split};
use admix_engine::{Execution, Recipe, Session, StepOptions, StepReport, method_of, session_of};
use admix_torch::{Device, peak_rss_bytes, rss_bytes, threads};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::bench_data::{self, DataArgs};
use crate::bench_report::{How, Report, told};
use crate::bench_watch::{watch, watch_cuda};
use crate::device::{Capture, DeviceArgs, PrecisionArgs};
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
        recipe: recipe.place(),
        device: format!("{device:?}").to_lowercase(),
        threads: threads(),
        batch,
        steps: args.steps,
        execution: args.execution,
        precision: session.world().precision,
        fused: session.world().fused(),
        fused_off: session.world().fused_off(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
    }
}
