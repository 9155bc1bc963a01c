//! `admix-bench floor`: what a network's passes cost on this device, of which every training step is made.
//!
//! No method can be below the passes that it is made of; `cargo xtask bench floor` holds steps against them. Optimiser,
//! momentum, mixing and losses are left out.

use admix::device::{DeviceArgs, PrecisionArgs};
use admix::libraries;
use admix::output::{self, Format};
use admix::recipes::RecipeArgs;
use admix::synthetic::{image_facts, random_batch};
use admix_api::{Store, Streams};
use admix_data::Info;
use admix_engine::{Precision, Recipe};
use admix_models::{Network, Pass};
use admix_torch::{
    Autocast, CudaGraphs, Device, Kind, Tensor, backward, channels_last, clear_grads, gradients, no_grad,
    set_data, threads,
};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use crate::in_turn::all_in_turn;

/// Flags of `admix-bench floor`.
#[derive(Args)]
pub struct FloorArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// The stage whose map a mixer reads: a pass up to there is timed too.
    #[arg(long, default_value_t = 3)]
    stage: usize,
    /// How often every pass is timed.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    precision: PrecisionArgs,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Median milliseconds of a pass of one batch.
#[derive(Debug, Serialize)]
struct Report {
    recipe: String,
    device: String,
    threads: usize,
    batch: usize,
    precision: Precision,
    /// Whether the passes were captured as CUDA graphs; else why not.
    capture: String,
    /// In train mode without a graph: what a momentum network pays for keys.
    forward_ms: f64,
    /// The same, up to `stage`.
    features_ms: f64,
    stage: usize,
    /// Forward and backward to all parameters.
    training_ms: f64,
    /// Forward and backward to the images alone: parameters get no gradient.
    input_ms: f64,
}

/// Times the passes of a recipe's network.
pub fn floor(args: &FloorArgs) -> Result<()> {
    let device = args.device.open()?;
    let precision = args.precision.open(device)?;
    let registry = libraries::registry()?;
    let recipe = args.recipe.read(&[], &registry)?;
    let info = image_facts(&recipe, &registry)?;
    let report = time((&recipe, &info), args.stage, args.rounds, (device, precision))?;
    match args.format {
        Format::Json => output::print_json(&report),
        Format::Text => output::print(&told(&report)),
    }
}

/// A network of the recipe's form, with its parameters.
struct Net {
    network: Network,
    parameters: Vec<Tensor>,
    precision: Precision,
}

impl Net {
    fn new(
        recipe: &Recipe,
        (classes, channels): (i64, i64),
        (device, precision): (Device, Precision),
    ) -> Result<Self> {
        let store = Store::new(device, Streams::new(recipe.seed));
        let network =
            Network::build(&store.root(), recipe.model.config.as_ref(), &recipe.heads, classes, channels)?;
        let network = match &recipe.neck {
            Some(neck) => network.with_neck(&store.root(), neck)?,
            None => network,
        };
        let parameters: Vec<Tensor> = store.parameters().into_iter().map(|(_, tensor, _)| tensor).collect();
        for kernel in parameters.iter().filter(|parameter| parameter.dim() == 4) {
            set_data(kernel, &channels_last(&kernel.f_detach()?)?)?;
        }
        Ok(Self { network, parameters, precision })
    }

    /// The precision of forward passes; backward passes follow it by themselves.
    fn low(&self, device: Device) -> Result<Option<Autocast>> {
        let low = self.precision == Precision::Bf16;
        Ok(low.then(|| Autocast::enter(device, Kind::BFloat16)).transpose()?)
    }

    /// A scalar at the end of a pass of all layers.
    fn end(&self, images: &Tensor) -> Result<Tensor> {
        let _low = self.low(images.device())?;
        let map = self.network.backbone().forward(images, &Pass::TRAIN)?;
        let output = match self.network.head_names().first() {
            Some(head) => self.network.forward_head(head, &map, true)?,
            None => self.network.embed(&map, true)?,
        };
        Ok(output.f_square()?.f_mean(None)?)
    }
}

/// What the device does in a pass, and a value that is there when it is done.
type Work<'a> = &'a dyn Fn() -> Result<Tensor>;

/// A pass is over when its value can be read.
fn read(value: &Tensor) -> Result<()> {
    value.f_mean(None)?.f_double_value(&[]).map(drop).map_err(Into::into)
}

/// A pass as a captured step does it: replayed as a CUDA graph, without the host between its kernels.
fn captured<'a>(device: Device, work: Work<'a>) -> Result<Box<dyn FnMut() -> Result<()> + 'a>> {
    let Device::Cuda(index) = device else { bail!("passes are captured on GPUs alone") };
    let mut graphs = CudaGraphs::open(index)?;
    // Libraries choose their kernels in the first executions.
    for _ in 0..2 {
        read(&work()?)?;
    }
    let mut value = None;
    let graph = graphs.capture(|| -> Result<()> {
        value = Some(work()?);
        Ok(())
    })?;
    let value = value.context("nothing was captured")?;
    Ok(Box::new(move || {
        graphs.replay(graph)?;
        read(&value)
    }))
}

fn time(
    (recipe, info): (&Recipe, &Info),
    stage: usize,
    rounds: u32,
    (device, precision): (Device, Precision),
) -> Result<Report> {
    let images = random_batch(recipe, info, 0, device)?.images;
    let images = channels_last(&images)?;
    let net = || Net::new(recipe, (info.classes as i64, info.channels), (device, precision));
    let (trained, frozen) = (net()?, net()?);
    for parameter in &frozen.parameters {
        let _ = parameter.f_set_requires_grad(false)?;
    }
    let forward = || -> Result<Tensor> {
        let _guard = no_grad();
        frozen.end(&images)
    };
    let features = || -> Result<Tensor> {
        let _guard = no_grad();
        let _low = frozen.low(device)?;
        Ok(frozen.network.backbone().forward_to(stage, &images, &Pass::TRAIN)?.into_tensor())
    };
    let training = || -> Result<Tensor> {
        let loss = trained.end(&images)?;
        backward(&loss)?;
        clear_grads(&trained.parameters)?;
        Ok(loss)
    };
    let input = || -> Result<Tensor> {
        let leaf = images.f_detach()?.f_set_requires_grad(true)?;
        let found = gradients(&[frozen.end(&leaf)?], &[leaf], false, false)?.pop().flatten();
        found.context("the images have no gradient")
    };
    let works: [Work<'_>; 4] = [&forward, &features, &training, &input];
    let mut capture = "captured".to_string();
    let mut passes: Vec<Box<dyn FnMut() -> Result<()> + '_>> = Vec::new();
    for work in works {
        match captured(device, work) {
            Ok(pass) => passes.push(pass),
            Err(reason) => {
                capture = format!("not captured: {reason}");
                passes.push(Box::new(move || read(&work()?)));
            }
        }
    }
    let costs = all_in_turn(rounds, passes)?;
    Ok(Report {
        recipe: recipe.file.clone(),
        device: format!("{device:?}").to_lowercase(),
        threads: threads(),
        batch: recipe.batch,
        precision,
        capture,
        forward_ms: costs[0].ms,
        features_ms: costs[1].ms,
        stage,
        training_ms: costs[2].ms,
        input_ms: costs[3].ms,
    })
}

fn told(report: &Report) -> String {
    let row = |name: String, ms: f64| {
        vec![name, format!("{ms:.3} ms"), format!("{:.2} forward passes", ms / report.forward_ms)]
    };
    let rows = [
        row("forward".into(), report.forward_ms),
        row(format!("forward to stage {}", report.stage), report.features_ms),
        row("forward, backward".into(), report.training_ms),
        row("forward, backward to the images".into(), report.input_ms),
    ];
    format!(
        "{}: batch {}, {} ({} threads), {}\n{}",
        report.recipe,
        report.batch,
        report.device,
        report.threads,
        report.capture,
        output::table(&rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pass_is_timed_with_heads_and_with_a_neck() {
        let registry = admix_engine::registry().expect("plugins");
        let model = "model: ConvNet(widths: [4, 4, 4], strides: [1, 2, 2])";
        for (precision, rest) in [
            (Precision::Fp32, "heads: [\"one\"]"),
            (
                Precision::Bf16,
                "heads: [], neck: Some(Mlp(hidden: 8, out: 4)), data: (name: \"toy\", views: 2)",
            ),
        ] {
            let text = format!("(epochs: 1, batch: 4, method: \"mixup\", {model}, {rest})");
            let recipe = Recipe::parse(&text, "x", &[], &registry).expect("a recipe");
            let info = image_facts(&recipe, &registry).expect("known");
            let report = time((&recipe, &info), 2, 1, (Device::Cpu, precision)).expect("times");
            assert!(
                [report.forward_ms, report.features_ms, report.training_ms, report.input_ms]
                    .iter()
                    .all(|ms| *ms > 0.0),
                "{report:?}"
            );
        }
    }
}
