//! `bench floor`: how many times the passes that a method is made of its step costs.
//!
//! A step cannot be below its passes over the network. Optimiser, momentum, mixing, losses and the way there are what
//! comes on top.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::Value;

use super::limits::{self, Limit};
use super::programs;
use crate::clock::Clock;
use crate::measure::{self, Libtorch, Options, Side, median, range};
use crate::repo::Repo;

/// What `admix-bench floor` times.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pass {
    /// Forward without a graph.
    Forward,
    /// The same up to the stage that a mixer reads.
    Features,
    /// Forward and backward to all parameters.
    Training,
    /// Forward and backward to the images alone, of a network that learns nothing.
    Input,
}
use Pass::{Features, Forward, Input, Training};

/// A method: its recipe and that of the network whose passes are timed, both in one folder, and the passes of its step.
#[derive(Debug)]
struct Made {
    name: &'static str,
    net: &'static str,
    folder: &'static str,
    passes: &'static [Pass],
    /// What both are told besides.
    settings: &'static [&'static str],
}

/// What makes a recipe for CIFAR-10 the step of `configs/bench/moco.ron`.
const AS_BENCH: &str = "data=(name: \"toy\", views: 2, flip: false, crop: None, toy: (classes: 100, train: 3200, test: 100, size: 32, channels: 3))";

const fn bench(name: &'static str, net: &'static str, passes: &'static [Pass]) -> Made {
    Made { name, net, folder: "bench", passes, settings: &[] }
}

const fn cifar(name: &'static str, passes: &'static [Pass]) -> Made {
    Made { name, net: name, folder: "cifar10/r18", passes, settings: &[AS_BENCH, "bn_groups=1"] }
}

impl Made {
    fn path(&self, name: &str) -> String {
        format!("configs/{}/{name}.ron", self.folder)
    }
}

/// Every method of `bench floor`.
const METHODS: &[Made] = &[
    bench("vanilla", "vanilla", &[Training]),
    bench("mixup", "vanilla", &[Training]),
    bench("cutmix", "vanilla", &[Training]),
    // The saliency of the clean images.
    bench("puzzlemix", "vanilla", &[Input, Training]),
    // Features of k, clean and mixed images through q, the attempt through k to the Mix Block.
    bench("automix", "vanilla", &[Features, Training, Training, Input]),
    bench("amix", "vanilla", &[Features, Training, Training, Input]),
    // The keys of the other view.
    bench("moco", "moco", &[Forward, Training]),
    bench("amix_i", "moco", &[Forward, Features, Training, Training, Input]),
    // With negatives that are mixed, which its first epochs are without.
    Made { settings: &[AS_BENCH, "bn_groups=1", "params.warm=0.0"], ..cifar("mochi", &[Forward, Training]) },
    cifar("imix", &[Forward, Training]),
    cifar("bsim", &[Forward, Training]),
    cifar("unmix", &[Forward, Training, Training]),
    cifar("wbsim", &[Forward, Training, Training]),
    // Two views through q, with BYOL two through k.
    cifar("swav", &[Training, Training]),
    cifar("simclr", &[Training, Training]),
    cifar("simsiam", &[Training, Training]),
    cifar("barlow_twins", &[Training, Training]),
    cifar("byol", &[Forward, Forward, Training, Training]),
];

/// Flags of `bench floor`.
#[derive(Debug, Args)]
pub struct FloorArgs {
    /// A built program, so that no cargo is needed; its `admix-bench` lies beside it.
    #[arg(long, value_name = "PATH")]
    admix: Option<PathBuf>,
    /// The methods, separated by commas; all unless given.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(METHODS.iter().map(|made| made.name)))]
    methods: Vec<String>,
    /// Images per step.
    #[arg(long, default_value_t = 32)]
    batch: usize,
    #[command(flatten)]
    options: Options,
    /// What every program gets besides, such as the device.
    #[arg(last = true, value_name = "ARGS")]
    flags: Vec<String>,
}

/// What is measured, and on what.
#[derive(Debug)]
pub struct Ask {
    methods: Vec<&'static Made>,
    batch: usize,
    /// What every program gets besides.
    flags: Vec<String>,
    /// The most that a step may cost in its passes, if there is a limit.
    most: Option<f64>,
}

impl Ask {
    /// The methods of the peer at this batch, with more flags and a limit.
    pub fn all(batch: usize, flags: &[&str], most: f64) -> Self {
        let flags = flags.iter().map(ToString::to_string).collect();
        Self {
            methods: METHODS.iter().filter(|made| made.settings.is_empty()).collect(),
            batch,
            flags,
            most: Some(most),
        }
    }
}

/// Builds the programs, measures and prints.
///
/// # Errors
/// A build or a program fails.
pub fn run(repo: &Repo, args: &FloorArgs) -> Result<()> {
    let wanted = |made: &&Made| args.methods.is_empty() || args.methods.iter().any(|name| name == made.name);
    let methods = METHODS.iter().filter(wanted).collect();
    let ask = Ask { methods, batch: args.batch, flags: args.flags.clone(), most: None };
    let (admix, bench) = programs(repo, args.admix.as_deref())?;
    let (text, rows) = measure(repo, [&admix, &bench], &args.options, &ask, Clock::new(None));
    println!("\n{text}");
    ensure!(rows.iter().all(|row| !row.values.is_empty()), "a program failed");
    Ok(())
}

/// Measures with `admix` and `admix-bench`: a table, and each step by its passes. Programs that fail or are out of time
/// leave theirs without values.
pub fn measure(
    repo: &Repo,
    [admix, bench]: [&Path; 2],
    options: &Options,
    ask: &Ask,
    clock: Clock,
) -> (String, Vec<limits::Row>) {
    let finish = |made: &Made, command: Vec<String>| {
        let batch = format!("batch={}", ask.batch);
        let settings = made.settings.iter().map(ToString::to_string).chain([batch]);
        let settings = settings.flat_map(|setting| ["--set".to_string(), setting]);
        let command = command.into_iter().chain(settings).chain(ask.flags.clone()).collect();
        Side { name: made.name.into(), command, libtorch: Libtorch::Linked }
    };
    let floor = |made: &Made| {
        let fixed = ["floor", "--format", "json", "--rounds"].map(String::from);
        let own =
            [options.steps.to_string(), "--threads".into(), options.threads.to_string(), made.path(made.net)];
        finish(made, [bench.display().to_string()].into_iter().chain(fixed).chain(own).collect())
    };
    let mut nets: Vec<&Made> = ask.methods.clone();
    nets.dedup_by_key(|made| made.net);
    let mut text =
        format!("floor: batch {}, {} threads, {} rounds\n", ask.batch, options.threads, options.rounds);
    let mut passes = vec![Vec::new(); nets.len()];
    let mut steps = vec![Vec::new(); ask.methods.len()];
    let facts = |side: Side| {
        let side = Side { command: clock.limited(side.command.clone()), ..side };
        measure::facts(repo, &side, &[]).inspect_err(|error| eprintln!("{}: {error:#}", side.name)).ok()
    };
    for round in 0..options.rounds {
        if round > 0 && !clock.has_a_round(round) {
            break;
        }
        for (net, found) in nets.iter().zip(&mut passes) {
            let Some(facts) = facts(floor(net)) else { continue };
            let net = net.name;
            if round == 0 {
                // Writing to a string cannot fail.
                let _ = writeln!(
                    text,
                    "passes of {net}: {}",
                    facts["capture"].as_str().unwrap_or("not told how")
                );
            }
            found.extend(Passes::read(&facts).inspect_err(|error| eprintln!("{net}: {error:#}")));
        }
        for (made, found) in ask.methods.iter().zip(&mut steps) {
            let of = facts(finish(made, measure::step(admix, &made.path(made.name), options)));
            found.extend(of.and_then(|facts| facts["ms_per_step"].as_f64()));
        }
        eprintln!("floor, round {} of {}", round + 1, options.rounds);
    }
    let rows: Vec<Row> = ask
        .methods
        .iter()
        .zip(&steps)
        .map(|(made, steps)| {
            let of_net = nets.iter().position(|own| own.net == made.net).unwrap_or(0);
            let floors: Vec<f64> = passes[of_net].iter().map(|passes| passes.sum(made.passes)).collect();
            let ratios = steps.iter().zip(&floors).map(|(step, floor)| step / floor).collect();
            Row { name: made.name, ratios, steps, floors }
        })
        .collect();
    let judged = rows.iter().map(|row| row.judged(ask.most)).collect();
    (text + &report(&rows), judged)
}

/// Milliseconds of each pass.
#[derive(Debug, Clone, Copy)]
struct Passes([f64; 4]);

impl Passes {
    fn read(facts: &Value) -> Result<Self> {
        let of =
            |field: &str| facts[field].as_f64().with_context(|| format!("its JSON line has no `{field}`"));
        Ok(Self([of("forward_ms")?, of("features_ms")?, of("training_ms")?, of("input_ms")?]))
    }

    fn sum(&self, made: &[Pass]) -> f64 {
        made.iter().map(|pass| self.0[*pass as usize]).sum()
    }
}

/// One method, by round.
struct Row<'a> {
    name: &'a str,
    steps: &'a [f64],
    floors: Vec<f64>,
    ratios: Vec<f64>,
}

impl Row<'_> {
    fn judged(&self, most: Option<f64>) -> limits::Row {
        let limit = most.map_or(Limit::Told, Limit::Most);
        limits::Row { what: format!("{}, step by its passes", self.name), values: self.ratios.clone(), limit }
    }
}

fn report(rows: &[Row<'_>]) -> String {
    let mut text = format!(
        "{:<14}{:>12}{:>12}{:>14}{:>18}\n",
        "method", "step ms", "passes ms", "step / passes", "by round"
    );
    for row in rows {
        // Writing to a string cannot fail.
        let _ = match row.ratios.is_empty() {
            true => writeln!(text, "{:<14}{:>12}", row.name, "none"),
            false => {
                let (low, high) = range(&row.ratios);
                writeln!(
                    text,
                    "{:<12}{:>12.3}{:>12.3}{:>14.4}{:>18}",
                    row.name,
                    median(row.steps),
                    median(&row.floors),
                    median(&row.ratios),
                    format!("{low:.4} to {high:.4}")
                )
            }
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_held_against_the_sum_of_its_passes() {
        let facts =
            serde_json::json!({"forward_ms": 1.0, "features_ms": 0.75, "training_ms": 3.0, "input_ms": 2.0});
        let passes = Passes::read(&facts).unwrap();
        let of = |name: &str| METHODS.iter().find(|made| made.name == name).expect("a method").passes;
        assert_eq!(passes.sum(of("vanilla")), 3.0);
        assert_eq!(passes.sum(of("amix")), 8.75);
        assert_eq!(passes.sum(of("puzzlemix")), 5.0);
        assert_eq!(passes.sum(of("moco")), 4.0);
        let missing = Passes::read(&serde_json::json!({"forward_ms": 1.0})).unwrap_err().to_string();
        assert!(missing.contains("features_ms"), "{missing}");
    }

    #[test]
    fn a_limit_holds_for_every_method() {
        let steps = [[3.0, 3.3, 3.6], [10.0, 10.0, 10.0]];
        let rows = [("vanilla", 3.0), ("amix", 8.0)].into_iter().zip(&steps).map(|((name, floor), steps)| {
            let ratios = steps.iter().map(|step| step / floor).collect();
            Row { name, steps, floors: vec![floor; 3], ratios }
        });
        let rows: Vec<Row<'_>> = rows.collect();
        assert!(report(&rows).contains("1.1000"));
        let met = |most| rows.iter().all(|row| row.judged(most).met());
        assert!(!met(Some(1.2)) && met(Some(1.3)) && met(None));
        let failed = Row { name: "amix", steps: &[], floors: vec![1.0], ratios: Vec::new() };
        assert!(!failed.judged(Some(1.2)).met() && report(&[failed]).contains("none"));
    }
}
