//! `admix bench data`: how fast a recipe's training batches can be had, without any network.

use std::time::Instant;

use admix_api::Streams;
use admix_data::{Batch, Dataset, Loader, Pass, Split, Worked};
use admix_engine::Recipe;
use admix_torch::{Device, threads};
use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::device::DeviceArgs;
use crate::failure::bad_input;
use crate::libraries;
use crate::output::{self, Format};
use crate::recipes::RecipeArgs;

/// Flags of `admix bench data`.
#[derive(Args)]
pub struct DataArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Batches that are timed.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    batches: u32,
    /// Batches before them; the default is more than are made ahead.
    #[arg(long, default_value_t = 5)]
    warmup: u32,
    #[command(flatten)]
    device: DeviceArgs,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What came out.
#[derive(Serialize)]
struct Report {
    recipe: String,
    data: String,
    device: String,
    threads: usize,
    batch: usize,
    views: usize,
    /// Height and width of each view.
    view_sizes: Vec<(i64, i64)>,
    batches: u32,
    /// Images, not views: batches made whole, on the device, normalised.
    images_per_s: f64,
    ms_per_batch: f64,
    /// Of a streamed set.
    stream: Option<Streamed>,
}

/// What threads did for it.
#[derive(Serialize)]
struct Streamed {
    workers: usize,
    /// Share of the time that was spent waiting for them; the rest is the device's part.
    wait: f64,
    /// Images that a thread decodes, crops and resizes in a second of its time; while threads share a core, less than the
    /// core would.
    decoded_per_s_and_worker: f64,
    /// Time of a thread for decoding, cropping and resizing all views of an image.
    decode_ms: f64,
    /// Time of a thread for reading a file.
    read_ms: f64,
}

/// Times the data path.
pub fn data(args: &DataArgs) -> Result<()> {
    let device = args.device.open()?;
    let registry = libraries::registry()?;
    let recipe = args.recipe.read(&[], &registry)?;
    let dataset = Dataset::open(&recipe.data, &registry, device, Streams::new(recipe.seed))?;
    let report = time(args, &recipe, &dataset, device)?;
    match args.format {
        Format::Json => output::print_json(&report),
        Format::Text => output::print(&told(&report)),
    }
}

/// Epoch after epoch.
struct Batches<'a> {
    recipe: &'a Recipe,
    dataset: &'a Dataset,
    epoch: u64,
    loader: Loader,
    /// Of the epochs before.
    waited: f64,
}

impl<'a> Batches<'a> {
    fn of(recipe: &'a Recipe, dataset: &'a Dataset) -> Result<Self> {
        if dataset.len(Split::Train) < recipe.batch {
            return Err(bad_input(format!(
                "`{}` has only {} training images, too few for a batch of {}",
                dataset.info().name,
                dataset.len(Split::Train),
                recipe.batch
            )));
        }
        let loader = loader(recipe, dataset, 0)?;
        Ok(Self { recipe, dataset, epoch: 0, loader, waited: 0.0 })
    }

    fn next(&mut self) -> Result<Batch> {
        loop {
            if let Some(batch) = self.loader.next_batch(self.dataset)? {
                return Ok(batch);
            }
            self.waited += self.loader.waited().as_secs_f64();
            self.epoch += 1;
            self.loader = loader(self.recipe, self.dataset, self.epoch)?;
        }
    }

    fn waited(&self) -> f64 {
        self.waited + self.loader.waited().as_secs_f64()
    }
}

/// The batches of an epoch, as a run takes them.
fn loader(recipe: &Recipe, dataset: &Dataset, epoch: u64) -> Result<Loader> {
    let streams = Streams::new(recipe.seed);
    let total = dataset.len(Split::Train);
    Ok(dataset.loader(Pass {
        split: Split::Train,
        order: streams.draws("order", "", epoch, 0).permutation(total),
        batch: recipe.batch,
        batches: (0..total / recipe.batch).collect(),
        streams,
        purpose: "augment".into(),
        views: dataset.view_names(),
        epoch,
        first_step: 0,
    })?)
}

fn time(args: &DataArgs, recipe: &Recipe, dataset: &Dataset, device: Device) -> Result<Report> {
    let mut batches = Batches::of(recipe, dataset)?;
    for _ in 0..args.warmup {
        arrived(&batches.next()?)?;
    }
    let (waited, worked) = (batches.waited(), dataset.worked());
    let begin = Instant::now();
    for number in 1..=args.batches {
        let batch = batches.next()?;
        if number == args.batches {
            arrived(&batch)?;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let wait = (batches.waited() - waited) / seconds;
    let stream = worked.zip(dataset.worked()).map(|(before, after)| streamed(before, after, wait));
    Ok(Report {
        recipe: recipe.place(),
        data: dataset.info().name.clone(),
        device: format!("{device:?}").to_lowercase(),
        threads: threads(),
        batch: recipe.batch,
        views: dataset.views(),
        view_sizes: dataset.view_sizes(),
        batches: args.batches,
        images_per_s: recipe.batch as f64 * f64::from(args.batches) / seconds,
        ms_per_batch: 1e3 * seconds / f64::from(args.batches),
        stream,
    })
}

/// A batch is there when one of its values can be read.
fn arrived(batch: &Batch) -> Result<()> {
    for view in &batch.views {
        view.f_flatten(0, -1)?.f_double_value(&[0])?;
    }
    Ok(())
}

fn streamed(before: Worked, after: Worked, wait: f64) -> Streamed {
    let images = (after.images - before.images).max(1) as f64;
    let decode = (after.making - before.making).as_secs_f64() / images;
    Streamed {
        workers: after.workers,
        wait,
        decoded_per_s_and_worker: if decode > 0.0 { 1.0 / decode } else { 0.0 },
        decode_ms: 1e3 * decode,
        read_ms: 1e3 * (after.reading - before.reading).as_secs_f64() / images,
    }
}

fn told(report: &Report) -> String {
    let row = |name: &str, value: String| vec![name.to_string(), value];
    let groups = report.view_sizes.chunk_by(|a, b| a == b);
    let told = groups.map(|group| format!("{} views of {}x{}", group.len(), group[0].0, group[0].1));
    let mut rows = vec![
        row("recipe", report.recipe.clone()),
        row("data", format!("{}, {}", report.data, told.collect::<Vec<_>>().join(" and "))),
        row("device", format!("{} ({} threads)", report.device, report.threads)),
        row(
            "batches",
            format!(
                "{:.1} ms each, of {} images (mean of {})",
                report.ms_per_batch, report.batch, report.batches
            ),
        ),
        row("images", format!("{:.0} per second", report.images_per_s)),
    ];
    match &report.stream {
        None => rows.push(row("storage", "on the device".into())),
        Some(stream) => {
            rows.push(row("storage", format!("streamed by {} workers", stream.workers)));
            rows.push(row("waiting", format!("{:.0} % of the time", 100.0 * stream.wait)));
            rows.push(row(
                "decoding",
                format!(
                    "{:.0} images per second and worker: {:.2} ms each, and {:.2} ms to read the file",
                    stream.decoded_per_s_and_worker, stream.decode_ms, stream.read_ms
                ),
            ));
        }
    }
    output::table(&rows)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_rate_of_a_worker_is_that_of_its_own_time() {
        let ms = Duration::from_millis;
        let before = Worked { workers: 4, images: 100, reading: ms(10), making: ms(1000) };
        let after = Worked { workers: 4, images: 300, reading: ms(50), making: ms(2000) };
        let found = streamed(before, after, 0.25);
        assert_eq!((found.workers, found.decoded_per_s_and_worker, found.decode_ms), (4, 200.0, 5.0));
        assert!((found.read_ms - 0.2).abs() < 1e-9, "{}", found.read_ms);
    }
}
