//! `admix-bench library`: what the way into a library and back costs.

use std::path::PathBuf;

use admix::failure::bad_input;
use admix::output::{self, Format};
use admix_api::contract::{Given, wild};
use admix_api::{Ask, Entry, Loss, MixInput, Mixer, MixerContext, Registry, Store, Streams, erased_serde};
use admix_torch::{Device, Kind, Tensor, no_grad, set_threads};
use anyhow::{Result, anyhow};
use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::in_turn::in_turn;

/// Samples, channels, height and width: so small that what is timed is the host.
const IMAGES: [i64; 4] = [4, 3, 8, 8];

/// Flags of `admix-bench library`.
#[derive(Args)]
pub struct LibraryBenchArgs {
    /// A library of plugins that this program also has within it, such as libadmix_plugins.so.
    library: PathBuf,
    /// Calls that are timed.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    calls: u32,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// One call, through a library and within the program. Microseconds, medians.
#[derive(Serialize)]
struct Row {
    plugin: String,
    call: &'static str,
    library_us: f64,
    linked_us: f64,
    beyond_us: f64,
}

/// Times each plugin of a library against the same plugin of this program.
pub fn library(args: &LibraryBenchArgs) -> Result<()> {
    admix_torch::open_cuda(admix_torch::Wanted::Cpu)?;
    set_threads(1);
    let mut foreign = Registry::default();
    admix_api::abi::load(&args.library, &mut foreign)?;
    let linked = Registry::linked()?;
    let _guard = no_grad();
    let mut rows = Vec::new();
    for entry in foreign.entries() {
        let same = |own: &&Entry| (own.kind(), &own.name) == (entry.kind(), &entry.name);
        let Some(own) = linked.entries().find(same) else { continue };
        let mut row = |call, (library_us, linked_us): (f64, f64)| {
            let beyond_us = library_us - linked_us;
            rows.push(Row { plugin: entry.name.clone(), call, library_us, linked_us, beyond_us });
        };
        match entry.reader::<dyn Mixer>() {
            Some(_) => {
                // What reads features spends its time in the tensors, not on the way.
                let (mut a, mut b) = (mixer(entry)?, mixer(own)?);
                if a.needs() != admix_api::Needs::images() {
                    continue;
                }
                let streams = Streams::new(0);
                let ask = ask(entry);
                row(
                    "plan",
                    in_turn(
                        args.calls,
                        || Ok(a.plan(&ask, &mut streams.draws("mix", "bench", 0, 0))?),
                        || Ok(b.plan(&ask, &mut streams.draws("mix", "bench", 0, 0))?),
                    )?,
                );
                let planned = a.plan(&ask, &mut streams.draws("mix", "bench", 0, 0))?.on(Device::Cpu)?;
                let images = wild(&IMAGES, 0.5, Kind::Float);
                let input = MixInput::of(&images);
                row(
                    "mix",
                    in_turn(args.calls, || Ok(a.mix(&input, &planned)?), || Ok(b.mix(&input, &planned)?))?,
                );
            }
            None => {
                let (a, b) = (loss(entry)?, loss(own)?);
                let given = Given {
                    n: IMAGES[0],
                    classes: 10,
                    kind: Kind::Float,
                    spread: 1.0,
                    sources: 2,
                    lambda: Tensor::from(0.3f32),
                };
                let (input, _) = given.to(&a.arguments())?;
                row("loss", in_turn(args.calls, || Ok(a.loss(&input)?), || Ok(b.loss(&input)?))?);
            }
        }
    }
    if rows.is_empty() {
        return Err(bad_input(format!(
            "{}: this program has none of its plugins within it, so there is nothing to compare with",
            args.library.display()
        )));
    }
    match args.format {
        Format::Json => output::print_json(&rows),
        Format::Text => output::print(&told(&rows)),
    }
}

fn ask(entry: &Entry) -> Ask {
    let pairing = entry.reader::<dyn Mixer>().map(|reader| reader.served.clone()).unwrap_or_default();
    let [n, _, height, width] = IMAGES;
    Ask { batch: n as usize, height, width, pairing, lambda: None, quiet: true, progress: 0.0 }
}

fn mixer(entry: &Entry) -> Result<Box<dyn Mixer>> {
    let reader = entry.reader::<dyn Mixer>().ok_or_else(|| anyhow!("not a mixer"))?;
    let mut body = <dyn erased_serde::Deserializer<'_>>::erase(json!({}));
    let config = (reader.read)(&mut body).map_err(|error| anyhow!("{}: {error}", entry.name))?;
    let context =
        MixerContext { feature_channels: config.needs().features.map(|_| 8), ..MixerContext::default() };
    Ok(config.build(&Store::new(Device::Cpu, Streams::new(0)).root(), &context)?)
}

fn loss(entry: &Entry) -> Result<Box<dyn Loss>> {
    let reader = entry.reader::<dyn Loss>().ok_or_else(|| anyhow!("not a loss"))?;
    let mut body = <dyn erased_serde::Deserializer<'_>>::erase(json!({}));
    Ok((reader.read)(&mut body).map_err(|error| anyhow!("{}: {error}", entry.name))?.build()?)
}

fn told(rows: &[Row]) -> String {
    let mut table = vec![["plugin", "call", "library", "linked", "beyond"].map(String::from).to_vec()];
    table.extend(rows.iter().map(|row| {
        let times = [row.library_us, row.linked_us, row.beyond_us].map(|time| format!("{time:.1} us"));
        [vec![row.plugin.clone(), row.call.to_string()], times.to_vec()].concat()
    }));
    output::table(&table)
}
