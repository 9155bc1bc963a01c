//! `bench processes`: what it gains to share a run out to processes, what their exchange takes of a step, and that they learn
//! what one process learns which accumulates. What more processes would exchange is estimated.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

use super::exchange::{Bucket, Exchanged, estimates, sizes};
use super::limits::{self, Limit, Row};
use super::programs;
use crate::measure::median;
use crate::repo::Repo;
use crate::scratch::Scratch;

/// What is trained: no part of it reads images.
const RECIPE: &str = "configs/bench/amix.ron";
/// As a profile names the exchange.
const EXCHANGE: &str = "gradients of all processes";
/// What a run says after the number of its parameters.
const TRAINED: &str = " trained values";
/// How far losses may be apart, relative to the larger one, in steps whose sums have another order.
const APART: f64 = 1e-3;
/// Steps whose losses are compared.
const COMPARED: usize = 10;
/// GB/s of each process: NVLink, 8 x 400 Gbit/s for a machine of 8 GPUs, 10 Gbit/s.
pub const BANDWIDTHS: [f64; 3] = [450.0, 50.0, 1.25];
/// Images in a part of a step.
const BATCH: usize = 32;

/// Flags of `bench processes`.
#[derive(Debug, Args)]
pub struct ProcessesArgs {
    /// A built program, so that no cargo is needed; its `admix-bench` lies beside it.
    #[arg(long, value_name = "PATH")]
    admix: Option<PathBuf>,
    /// Where: cpu, one thread to each process against one process with all threads; or cuda, a GPU to each.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    #[arg(long, value_name = "N", default_value_t = 2)]
    processes: usize,
    /// Steps of each run.
    #[arg(long, value_name = "N", default_value_t = 40)]
    steps: usize,
    /// A change in the recipe.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// What each process sends in a second where the exchange of more processes is estimated, in GB, separated by commas.
    #[arg(long, value_name = "GB", value_delimiter = ',', default_values_t = BANDWIDTHS)]
    bandwidth: Vec<f64>,
}

/// What is measured.
#[derive(Debug)]
pub struct Ask<'a> {
    pub device: &'a str,
    pub processes: usize,
    pub steps: usize,
    pub overrides: Vec<String>,
    /// GB/s of each process.
    pub bandwidths: Vec<f64>,
}

/// Measures and prints.
///
/// # Errors
/// A build or a program fails, or the losses are too far apart.
pub fn run(repo: &Repo, args: &ProcessesArgs) -> Result<()> {
    let ProcessesArgs { admix, device, processes, steps, set, bandwidth } = args;
    let (admix, bench) = programs(repo, admix.as_deref())?;
    let (overrides, bandwidths) = (set.clone(), bandwidth.clone());
    let ask = Ask { device, processes: *processes, steps: *steps, overrides, bandwidths };
    let rows = measure(repo, [&admix, &bench], &ask)?;
    println!("\n{}", limits::table(&rows));
    anyhow::ensure!(rows.iter().all(Row::met), "a limit is missed");
    Ok(())
}

/// How many NVIDIA GPUs this machine has.
pub fn gpus() -> usize {
    let is_gpu = |name: &str| {
        name.strip_prefix("nvidia")
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
    };
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_gpu)).count()
}

/// Trains with one process and with several, the same images in a step.
///
/// # Errors
/// A program fails, or tells nothing of what was asked.
pub fn measure(repo: &Repo, [admix, bench]: [&Path; 2], ask: &Ask<'_>) -> Result<Vec<Row>> {
    let Ask { device, processes, steps, overrides, bandwidths } = ask;
    let scratch = Scratch::new(repo.root(), "processes")?;
    let run = |name: &str, flags: &[String]| -> Result<(Vec<Value>, String)> {
        let out = scratch.path().join(name);
        let mut command = repo.program(admix).args(["run", RECIPE, "--device", device, "--out"]).arg(&out);
        // Long enough for the steps, and no checkpoint or test between them.
        let images = BATCH * processes * (steps + 1);
        command = command.args(["--set", &format!("data.toy.train={images}"), "--set", "data.toy.test=2"]);
        for setting in overrides {
            command = command.args(["--set", setting]);
        }
        let said = String::from_utf8_lossy(&command.args(flags).output()?).into_owned();
        let file = out.join("metrics.jsonl");
        let lines = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok((lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(), said))
    };
    let words = |text: String| text.split_whitespace().map(str::to_string).collect::<Vec<_>>();
    let several = format!("--processes {processes} --threads 1");
    let batch = |parts: usize| format!("--set batch={}", BATCH * parts);
    let timed = format!("--max-steps {steps} --set log_every={}", (steps / 4).max(1));
    let compared = format!("--max-steps {COMPARED} --set log_every=1");

    let (one, _) = run("one", &words(format!("{timed} {} --threads {processes}", batch(*processes))))?;
    let (many, said) = run("many", &words(format!("{timed} {several}")))?;
    let rate = |events: &[Value]| {
        let rates = steps_of(events).skip(1).filter_map(|event| event["images_per_s"].as_f64());
        let rates: Vec<f64> = rates.collect();
        (!rates.is_empty()).then(|| median(&rates)).context("a run told no images per second")
    };
    let (_, profile) = run("profile", &words(format!("--profile {steps} {several}")))?;
    let share = profile.lines().find(|line| line.contains(EXCHANGE)).and_then(|line| {
        let percent = line.split('%').next()?.split_whitespace().last()?;
        percent.parse::<f64>().ok()
    });
    let share = share.with_context(|| format!("the profile has no `{EXCHANGE}`"))?;
    let (accumulated, _) =
        run("accumulated", &words(format!("{compared} --set accumulate={processes} --threads 1")))?;
    let (shared, _) = run("shared", &words(format!("{compared} {several}")))?;
    let sizes = sizes(repo, bench, device, *processes)?;
    let bucket = Bucket::fit(sizes, *processes);
    let exchanged = Exchanged::of(4.0 * trained(&said)?, sizes[1].0);
    // Without the exchange, and without waiting for whoever comes later.
    let step_s = (BATCH * processes) as f64 / rate(&many)? * (1.0 - share / 100.0);

    let row = |what: String, value: f64, limit| Row { what, values: vec![value], limit };
    let mut rows = vec![
        row("one process, images/s".into(), rate(&one)?, Limit::Told),
        row(format!("{processes} processes, images/s"), rate(&many)?, Limit::Told),
        row(format!("{processes} processes over one"), rate(&many)? / rate(&one)?, Limit::Told),
        row("exchange, share of a step in %".into(), share, Limit::Told),
        row(
            format!("losses of {COMPARED} steps against accumulate={processes}, apart"),
            apart(&shared, &accumulated)?,
            Limit::Most(APART),
        ),
        row("gradients, MB".into(), exchanged.bytes / 1e6, Limit::Told),
        row("buckets of them".into(), exchanged.buckets, Limit::Told),
        row(
            format!("a bucket between {processes} processes, fixed cost in ms"),
            1e3 * bucket.fixed_s,
            Limit::Told,
        ),
        row(
            format!("a bucket between {processes} processes, GB/s of each"),
            bucket.bandwidth(*processes) / 1e9,
            Limit::Told,
        ),
        row("a step without the exchange, ms".into(), 1e3 * step_s, Limit::Told),
    ];
    rows.extend(estimates(&exchanged, &bucket, bandwidths, step_s));
    Ok(rows)
}

/// The number of values that a run trains, each of which has a gradient in float32.
fn trained(said: &str) -> Result<f64> {
    let number = said.split(TRAINED).next().and_then(|before| before.split_whitespace().last());
    number
        .and_then(|number| number.replace(',', "").parse().ok())
        .with_context(|| format!("a run told no `{TRAINED}`"))
}

/// The events of steps.
fn steps_of(events: &[Value]) -> impl Iterator<Item = &Value> {
    events.iter().filter(|event| event["event"] == "train")
}

/// How far the losses of two runs are apart at most, relative to the larger one or to 1.
fn apart(one: &[Value], other: &[Value]) -> Result<f64> {
    let losses = |events: &[Value]| -> Vec<f64> {
        let terms = steps_of(events).filter_map(|event| event["losses"].as_object());
        terms.flat_map(serde_json::Map::values).map(|loss| loss.as_f64().unwrap_or(f64::NAN)).collect()
    };
    let (one, other) = (losses(one), losses(other));
    anyhow::ensure!(!one.is_empty() && one.len() == other.len(), "two runs told other losses");
    let far = one.iter().zip(&other).map(|(a, b)| (a - b).abs() / a.abs().max(b.abs()).max(1.0));
    // `max` passes over what is not a number, which is apart.
    Ok(far.fold(0.0, |most: f64, far| if most.is_nan() || far.is_nan() { f64::NAN } else { most.max(far) }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_largest_difference_counts_and_what_is_not_a_number_is_apart() {
        let train = |loss: Value| json!({"event": "train", "losses": {"one": loss}});
        let events = |a: Value, b: f64| [train(a), json!({"event": "saved"}), train(json!(b))];
        let far = |a, b| apart(&events(json!(2.0), 0.5), &events(a, b)).unwrap();
        assert!((far(json!(2.2), 0.25) - 0.25).abs() < 1e-12);
        assert!(far(Value::Null, 0.5).is_nan());
        assert!(apart(&[], &[]).is_err());
    }
}
