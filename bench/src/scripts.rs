//! `admix-bench scripts`: what writing a mixer as a script costs.

use std::collections::BTreeMap;

use admix::output::{self, Format};
use admix_api::{
    Ask, Credit, MixInput, Mixed, Mixer, Pairing, Per, Plan, Planned, Streams, over_images, uniform_field,
};
use admix_engine::{ScriptedMixer, bundled};
use admix_torch::{Device, Kind, Tensor, no_grad, set_threads};
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use crate::in_turn::in_turn;

/// Images of a call: so small that what is timed is the host.
const IMAGES: [i64; 4] = [4, 3, 8, 8];

/// Flags of `admix-bench scripts`.
#[derive(Args)]
pub struct ScriptsArgs {
    /// Calls that are timed.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    calls: u32,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// One call, by a script and without one. Microseconds, medians.
#[derive(Serialize)]
struct Row {
    /// `mix` or `plan`.
    call: &'static str,
    per: &'static str,
    script_us: f64,
    rust_us: f64,
    beyond_us: f64,
}

/// Times the scripted CutMix against the same operations from Rust.
pub fn scripts(args: &ScriptsArgs) -> Result<()> {
    admix_torch::open_cuda(admix_torch::Wanted::Cpu)?;
    set_threads(1);
    let _guard = no_grad();
    let (text, file) = bundled::part("mixers/cutmix").context("the bundled script")?;
    let mut script = ScriptedMixer::compile(text, file, &BTreeMap::new())?;
    let images = uniform_field(&Tensor::from(1i64), &IMAGES)?;
    let streams = Streams::new(0);
    let mut rows = Vec::new();
    for (per, name) in [(Per::Batch, "batch"), (Per::Sample, "sample")] {
        let ask = Ask {
            batch: IMAGES[0] as usize,
            height: IMAGES[2],
            width: IMAGES[3],
            pairing: Pairing { per, ..Pairing::alpha(1.0) },
            lambda: None,
            quiet: true,
            progress: 0.0,
        };
        let plan = script.plan(&ask, &mut streams.draws("mix", "bench", 0, 0))?;
        let planned = plan.on(Device::Cpu)?;
        let input = MixInput::of(&images);
        rows.push(compared(
            args.calls,
            ("mix", name),
            || Ok(script.mix(&input, &planned)?),
            || by_hand(&input, &planned),
        )?);
        rows.push(compared(
            args.calls,
            ("plan", name),
            || Ok(script.plan(&ask, &mut streams.draws("mix", "bench", 0, 1))?),
            || Ok(Plan::draw(&ask, &mut streams.draws("mix", "bench", 0, 1))?),
        )?);
    }
    match args.format {
        Format::Json => output::print_json(&rows),
        Format::Text => output::print(&told(&rows)),
    }
}

/// The tensor operations of `scripts/mixers/cutmix.rhai`, in its order.
fn by_hand(input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
    let (n, _, height, width) = input.nchw()?;
    let within = |length: i64, shape: [i64; 4], first: &str, end: &str| -> Result<Tensor> {
        let line = Tensor::f_arange(length, (Kind::Int64, input.images.device()))?.f_reshape(shape)?;
        let after = line.f_ge_tensor(&over_images(&plan.get(first)?, Kind::Int64)?)?;
        Ok(after.f_logical_and(&line.f_lt_tensor(&over_images(&plan.get(end)?, Kind::Int64)?)?)?)
    };
    let rows = within(height, [1, 1, height, 1], "r1", "r2")?;
    let pasted = rows.f_logical_and(&within(width, [1, 1, 1, width], "c1", "c2")?)?;
    let partner = plan.partner()?;
    let images = input.partners(&partner)?.f_where_self(&pasted, input.images)?;
    let mask = pasted.f_logical_not()?.f_to_kind(Kind::Float)?.f_expand([n, 1, height, width], false)?;
    let credit = Credit::Pair { partner, lambda: plan.get("credit")? };
    Ok(Mixed { images, mask: Some(mask), map: None, hidden: None, credit, extras: BTreeMap::new() })
}

fn compared<T>(
    calls: u32,
    (call, per): (&'static str, &'static str),
    script: impl FnMut() -> Result<T>,
    rust: impl FnMut() -> Result<T>,
) -> Result<Row> {
    let (script_us, rust_us) = in_turn(calls, script, rust)?;
    Ok(Row { call, per, script_us, rust_us, beyond_us: script_us - rust_us })
}

fn told(rows: &[Row]) -> String {
    let heading = ["CutMix", "lambda per", "script", "from Rust", "beyond"];
    let mut table = vec![heading.map(String::from).to_vec()];
    table.extend(rows.iter().map(|row| {
        let us = |time: f64| format!("{time:.1} us");
        let times = [row.script_us, row.rust_us, row.beyond_us].map(us);
        [vec![row.call.to_string(), row.per.to_string()], times.to_vec()].concat()
    }));
    output::table(&table)
}
