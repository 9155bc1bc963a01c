//! `admix-bench mixers`: what making one mixed batch costs, without any network.
//!
//! What mixers read is made up: smooth fields and noise for images and saliency, noise for features. Lambda is 1/2. A
//! hidden mix blends a feature map.

use std::fmt::Write as _;

use admix::device::DeviceArgs;
use admix::failure::bad_input;
use admix::libraries;
use admix::output::{self, Format};
use admix_api::contract::wild;
use admix_api::{
    Ask, Entry, MixInput, Mixer, MixerContext, Needs, Per, Plan, Planned, Registry, Store, Streams,
    erased_serde,
};
use admix_torch::{Device, Kind, Tensor, no_grad, threads};
use anyhow::{Result, anyhow};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use crate::in_turn::{Cost, all_in_turn};

/// Batches: samples and side of the images.
const BATCHES: [(i64, i64); 3] = [(32, 32), (100, 32), (16, 224)];
/// Channels of a feature map, as of the third stage of a ResNet-18.
const DEPTH: i64 = 256;
/// The longest side of small images, which keep a quarter of it in a feature map; larger ones keep a sixteenth.
const SMALL: i64 = 64;

/// Flags of `admix-bench mixers`.
#[derive(Args)]
pub struct MixersArgs {
    /// The mixers to time, by their plugins' names. Default: all that mix by themselves and have default settings.
    #[arg(long, num_args = 1.., value_name = "NAME")]
    mixer: Vec<String>,
    /// Mixes that are timed, of each mixer and batch.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    device: DeviceArgs,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// One mixer on one batch.
#[derive(Debug, Serialize)]
struct Row {
    mixer: String,
    /// What differs from the defaults, in words.
    variant: &'static str,
    batch: i64,
    side: i64,
    #[serde(flatten)]
    cost: Cost,
}

/// A mixer with settings.
struct Variant {
    name: &'static str,
    settings: Value,
    per: Per,
}

/// What mixers read, of one batch.
struct Batch {
    images: Tensor,
    saliency: Tensor,
    features: Tensor,
    pseudo: Tensor,
}

/// A mixer, ready to mix a batch.
struct Ready {
    mixer: Box<dyn Mixer>,
    plan: Planned,
}

/// Times mixers.
pub fn mixers(args: &MixersArgs) -> Result<()> {
    let device = args.device.open()?;
    let registry = libraries::registry()?;
    let entries = entries(&registry, &args.mixer)?;
    let _no_graph = no_grad();
    let mut rows = Vec::new();
    for (n, side) in BATCHES {
        let batch = &Batch::new(n, side, device)?;
        let mut names = Vec::new();
        let mut calls: Vec<Box<dyn FnMut() -> Result<()> + '_>> = Vec::new();
        for entry in &entries {
            for variant in variants(&entry.name, side) {
                let Some(mut ready) = Ready::new(entry, &variant, batch, device)? else { continue };
                names.push((entry.name.clone(), variant.name));
                calls.push(Box::new(move || ready.mix(batch)));
            }
        }
        let costs = all_in_turn(args.rounds, calls)?;
        rows.extend(names.into_iter().zip(costs).map(|((mixer, variant), cost)| Row {
            mixer,
            variant,
            batch: n,
            side,
            cost,
        }));
    }
    match args.format {
        Format::Json => output::print_json(&rows),
        Format::Text => output::print(&table(&rows, args.rounds)),
    }
}

/// The mixers of these names, or all that can be built from nothing.
fn entries<'a>(registry: &'a Registry, names: &[String]) -> Result<Vec<&'a Entry>> {
    if names.is_empty() {
        let all = registry.of::<dyn Mixer>();
        return Ok(all.filter(|entry| !(entry.defaults)().is_null()).collect());
    }
    let find = |name: &String| {
        let found = registry.find::<dyn Mixer>(name);
        found.map(|(entry, _)| entry).map_err(|error| bad_input(format!("--mixer: {error}")))
    };
    names.iter().map(find).collect()
}

/// The settings with which a mixer is timed.
fn variants(plugin: &str, side: i64) -> Vec<Variant> {
    let of = |name, settings| Variant { name, settings, per: Per::Batch };
    match plugin {
        "fmix" => vec![
            of("one field", json!({})),
            Variant { name: "a field for each sample", settings: json!({}), per: Per::Sample },
        ],
        "saliencymix" => {
            vec![of("one map", json!({})), of("a map for each sample", json!({"scope": "Each"}))]
        }
        "manifoldmix" => vec![of("a stage", json!({"stages": [2]}))],
        "puzzlemix" => {
            // As the authors move patches: small ones of small images, whole blocks of large ones.
            let patch = if side > SMALL { -1 } else { 4 };
            let grid = |still, moving, b: i64| {
                [
                    of(still, json!({"blocks": [b], "transport": false})),
                    of(moving, json!({"blocks": [b], "t_size": patch})),
                ]
            };
            [
                grid("b = 2, no transport", "b = 2", 2),
                grid("b = 4, no transport", "b = 4", 4),
                grid("b = 8, no transport", "b = 8", 8),
                grid("b = 16, no transport", "b = 16", 16),
            ]
            .into_iter()
            .flatten()
            .collect()
        }
        _ => vec![of("", json!({}))],
    }
}

impl Batch {
    fn new(n: i64, side: i64, device: Device) -> Result<Self> {
        let field = |channels: i64, seed: f64| -> Result<Tensor> {
            let coarse = wild(&[n, channels, 7, 7], seed, Kind::Float);
            let smooth = coarse.f_upsample_bilinear2d([side, side], false, None, None)?;
            let noise = wild(&[n, channels, side, side], seed + 0.1, Kind::Float);
            Ok(smooth.f_add(&noise.f_mul_scalar(0.3)?)?)
        };
        let place = side / if side > SMALL { 16 } else { 4 };
        let on_device = |tensor: Tensor| tensor.f_to_device(device);
        Ok(Self {
            images: on_device(field(3, 0.2)?)?,
            saliency: on_device(field(1, 0.4)?.f_squeeze_dim(1)?.f_square()?)?,
            features: on_device(wild(&[n, DEPTH, place, place], 0.6, Kind::Float))?,
            pseudo: Tensor::f_arange(n, (Kind::Int64, device))?.f_remainder(10)?,
        })
    }

    fn input(&self, needs: &Needs) -> MixInput<'_> {
        let mut input = MixInput { quiet: true, ..MixInput::of(&self.images) };
        input.features = needs.features.map(|_| &self.features);
        input.saliency = needs.saliency.then_some(&self.saliency);
        input.pseudo = needs.pseudo.then_some(&self.pseudo);
        input
    }
}

impl Ready {
    /// `None` for what mixes nothing itself.
    fn new(entry: &Entry, variant: &Variant, batch: &Batch, device: Device) -> Result<Option<Self>> {
        let reader = entry.reader::<dyn Mixer>().ok_or_else(|| anyhow!("not a mixer"))?;
        let mut body = <dyn erased_serde::Deserializer<'_>>::erase(variant.settings.clone());
        let config = (reader.read)(&mut body).map_err(|error| anyhow!("{}: {error}", entry.name))?;
        if config.choices().is_some() {
            return Ok(None);
        }
        let context = MixerContext {
            feature_channels: config.needs().features.map(|_| DEPTH),
            mean: vec![0.5; 3],
            std: vec![0.5; 3],
            ..MixerContext::default()
        };
        let mixer = config.build(&Store::new(device, Streams::new(0)).root(), &context)?;
        let (n, _, height, width) = MixInput::of(&batch.images).nchw()?;
        let mut pairing = reader.served.clone();
        pairing.per = variant.per;
        let ask = Ask {
            batch: n as usize,
            height,
            width,
            pairing,
            lambda: (variant.per == Per::Batch).then_some(0.5),
            quiet: true,
            progress: 0.0,
        };
        let plan: Plan = mixer.plan(&ask, &mut Streams::new(0).draws("mix", "bench", 0, 0))?;
        Ok(Some(Self { plan: plan.on(device)?, mixer }))
    }

    fn mix(&mut self, batch: &Batch) -> Result<()> {
        let needs = self.mixer.needs();
        let mixed = self.mixer.mix(&batch.input(&needs), &self.plan)?;
        let made = match mixed.hidden {
            Some(_) => mixed.blended(&batch.features, &batch.features)?,
            None => mixed.images,
        };
        // A GPU is done when a value can be read.
        made.f_reshape([-1])?.f_double_value(&[0])?;
        Ok(())
    }
}

fn table(rows: &[Row], rounds: u32) -> String {
    let mut text =
        format!("{} threads, medians of {rounds} mixes in turn, ms (core-ms)\n\n| mixer |", threads());
    // Writing to a string cannot fail.
    for (n, side) in BATCHES {
        let _ = write!(text, " {n} @ {side}x{side} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(BATCHES.len()));
    for first in rows.iter().filter(|row| (row.batch, row.side) == BATCHES[0]) {
        let _ = write!(text, "\n| {} |", [&first.mixer, first.variant].join(" ").trim());
        let same = |row: &&Row| row.mixer == first.mixer && row.variant == first.variant;
        for Row { cost, .. } in rows.iter().filter(same) {
            let _ = write!(text, " {:.2} ({:.2}) |", cost.ms, cost.core_ms);
        }
    }
    text.push('\n');
    text
}
