//! `bench memory`: the most memory that training steps need at once.

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::measure::{self, Libtorch, Options, Side};
use crate::repo::{Profile, Repo};
use crate::setup;

/// The most that a method may need, in what a step that mixes nothing needs.
const MOST: f64 = 1.3;

/// Flags of `bench memory`.
#[derive(Debug, Args)]
pub struct MemoryArgs {
    /// The methods, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "amix")]
    methods: Vec<String>,
    /// Images per step.
    #[arg(long, default_value_t = 100)]
    batch: usize,
    #[command(flatten)]
    options: Options,
}

/// Measures and prints. Counted is the whole process, libtorch included.
///
/// # Errors
/// A build or a program fails, or with `--strict` a limit is missed.
pub fn run(repo: &Repo, MemoryArgs { methods, batch, options }: &MemoryArgs) -> Result<()> {
    setup::ensure_done(repo)?;
    let admix = repo.build_admix(Profile::Release)?;
    let peak = |method: &str| -> Result<(f64, f64)> {
        let mut command = measure::step(&admix, &format!("configs/bench/{method}.ron"), options);
        command.extend(["--set".into(), format!("batch={batch}")]);
        let side = Side { name: method.into(), command, libtorch: Libtorch::Linked };
        let facts = measure::facts(repo, &side, &[])?;
        let of = |field: &str| {
            facts[field].as_f64().map(|bytes| bytes / 1e6).with_context(|| format!("{method}: no `{field}`"))
        };
        Ok((of("peak_rss_bytes")?, of("base_rss_bytes")?))
    };
    println!("\nmemory: batch {batch}, {} threads", options.threads);
    let (vanilla, base) = peak("vanilla")?;
    println!("vanilla: {vanilla:.0} MB at most, {base:.0} MB before the first step");
    let mut missed = Vec::new();
    for method in methods {
        let (most, base) = peak(method)?;
        let ratio = most / vanilla;
        let met = ratio <= MOST;
        println!(
            "{method}: {most:.0} MB at most, {base:.0} MB before the first step; {ratio:.4} of vanilla; at most {MOST}: {}",
            if met { "met" } else { "MISSED" }
        );
        if !met {
            missed.push(method.as_str());
        }
    }
    ensure!(missed.is_empty() || !options.strict, "limit missed: {}", missed.join(", "));
    Ok(())
}
