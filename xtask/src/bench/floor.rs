//! `bench floor`: how many times the passes that a method is made of its step costs.
//!
//! A step cannot be below its passes over the network. Optimiser, momentum, mixing, losses and the way there are what
//! comes on top.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::Value;

use crate::measure::{self, Libtorch, Options, Side, median, range};
use crate::repo::{Profile, Repo};
use crate::setup;

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

/// A method: `configs/bench/<name>.ron`, the bench recipe whose network its passes are timed on, and the passes of its
/// step.
type Made = (&'static str, &'static str, &'static [Pass]);

/// Every method of `bench floor`.
const METHODS: &[Made] = &[
    ("vanilla", "vanilla", &[Training]),
    ("mixup", "vanilla", &[Training]),
    ("cutmix", "vanilla", &[Training]),
    // The saliency of the clean images.
    ("puzzlemix", "vanilla", &[Input, Training]),
    // Features of k, clean and mixed images through q, the attempt through k to the Mix Block.
    ("automix", "vanilla", &[Features, Training, Training, Input]),
    ("amix", "vanilla", &[Features, Training, Training, Input]),
    // The keys of the other view.
    ("moco", "moco", &[Forward, Training]),
    ("amix_i", "moco", &[Forward, Features, Training, Training, Input]),
];

/// Flags of `bench floor`.
#[derive(Debug, Args)]
pub struct FloorArgs {
    /// The methods, separated by commas; all unless given.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(METHODS.iter().map(|made| made.0)))]
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
    /// All methods at this batch, with more flags and a limit.
    pub fn all(batch: usize, flags: &[&str], most: f64) -> Self {
        let flags = flags.iter().map(ToString::to_string).collect();
        Self { methods: METHODS.iter().collect(), batch, flags, most: Some(most) }
    }
}

/// Builds the programs, measures and prints.
///
/// # Errors
/// A build or a program fails.
pub fn run(repo: &Repo, args: &FloorArgs) -> Result<()> {
    let wanted = |made: &&Made| args.methods.is_empty() || args.methods.iter().any(|name| name == made.0);
    let methods = METHODS.iter().filter(wanted).collect();
    let ask = Ask { methods, batch: args.batch, flags: args.flags.clone(), most: None };
    setup::ensure_done(repo)?;
    let admix = repo.build_admix(Profile::Release)?;
    let bench = repo.build_bench(Profile::Release)?;
    measure(repo, [&admix, &bench], &args.options, &ask).map(drop)
}

/// Measures with `admix` and `admix-bench`, and prints; whether every step is within the limit.
pub fn measure(repo: &Repo, [admix, bench]: [&Path; 2], options: &Options, ask: &Ask) -> Result<bool> {
    let recipe = |name: &str| format!("configs/bench/{name}.ron");
    let finish = |name: &str, command: Vec<String>| {
        let batch = ["--set".to_string(), format!("batch={}", ask.batch)];
        let command = command.into_iter().chain(batch).chain(ask.flags.clone()).collect();
        Side { name: name.into(), command, libtorch: Libtorch::Linked }
    };
    let floor = |name: &str| {
        let fixed = ["floor", "--format", "json", "--rounds"].map(String::from);
        let own = [options.steps.to_string(), "--threads".into(), options.threads.to_string(), recipe(name)];
        finish(name, [bench.display().to_string()].into_iter().chain(fixed).chain(own).collect())
    };
    let mut nets: Vec<&str> = ask.methods.iter().map(|(_, net, _)| *net).collect();
    nets.dedup();
    println!("\nfloor: batch {}, {} threads, {} rounds", ask.batch, options.threads, options.rounds);
    let mut passes = vec![Vec::new(); nets.len()];
    let mut steps = vec![Vec::new(); ask.methods.len()];
    for round in 0..options.rounds {
        for (net, found) in nets.iter().zip(&mut passes) {
            let facts = measure::facts(repo, &floor(net), &[])?;
            if round == 0 {
                println!("passes of {net}: {}", facts["capture"].as_str().unwrap_or("not told how"));
            }
            found.push(Passes::read(&facts)?);
        }
        for ((name, ..), found) in ask.methods.iter().zip(&mut steps) {
            let side = finish(name, measure::step(admix, &recipe(name), options));
            found.push(measure::times(repo, &side, &[])?.median);
        }
        eprintln!("round {} of {}", round + 1, options.rounds);
    }
    let rows: Vec<Row> = ask
        .methods
        .iter()
        .zip(&steps)
        .map(|((name, net, made), steps)| {
            let of_net = nets.iter().position(|own| own == net).unwrap_or(0);
            let floors: Vec<f64> = passes[of_net].iter().map(|passes| passes.sum(made)).collect();
            Row {
                name,
                ratios: steps.iter().zip(&floors).map(|(step, floor)| step / floor).collect(),
                steps,
                floors,
            }
        })
        .collect();
    let (text, met) = report(&rows, ask.most);
    print!("{text}");
    Ok(met)
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

/// The table, and whether every step is within the limit.
fn report(rows: &[Row<'_>], most: Option<f64>) -> (String, bool) {
    let mut text = format!(
        "{:<12}{:>12}{:>12}{:>14}{:>18}\n",
        "method", "step ms", "passes ms", "step / passes", "by round"
    );
    let mut all_met = true;
    for row in rows {
        let ratio = median(&row.ratios);
        let (low, high) = range(&row.ratios);
        let met = most.is_none_or(|most| ratio <= most);
        all_met &= met;
        let verdict = match most {
            Some(most) => format!("  at most {most}: {}", if met { "met" } else { "MISSED" }),
            None => String::new(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<12}{:>12.3}{:>12.3}{ratio:>14.4}{:>18}{verdict}",
            row.name,
            median(row.steps),
            median(&row.floors),
            format!("{low:.4} to {high:.4}")
        );
    }
    (text, all_met)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_held_against_the_sum_of_its_passes() {
        let facts =
            serde_json::json!({"forward_ms": 1.0, "features_ms": 0.75, "training_ms": 3.0, "input_ms": 2.0});
        let passes = Passes::read(&facts).unwrap();
        let of = |name: &str| METHODS.iter().find(|(own, ..)| *own == name).expect("a method").2;
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
        let (text, met) = report(&rows, Some(1.2));
        assert!(!met && text.contains("1.1000") && text.ends_with("at most 1.2: MISSED\n"), "{text}");
        assert!(report(&rows, Some(1.3)).1);
        assert!(report(&rows, None).1);
    }
}
