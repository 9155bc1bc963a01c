//! `bench gpu`: everything that is promised of a GPU, measured in one go and held against its limits.
//!
//! `--bundle` packs what that needs into a folder, for a machine with a GPU and without Rust. `--rehearse` runs the same
//! programs at a toy size, on the CPU or on the fake device of the tests: their ratios mean nothing then, that they run does.

mod bundle;
mod plan;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use self::plan::{JOBS, Plan, words};
use super::limits::{self, Row};
use super::{floor, precision, processes, programs};
use crate::clock::Clock;
use crate::measure::Options;
use crate::pytorch::Peer;
use crate::repo::Repo;
use crate::scratch::Scratch;
use crate::training::{self, DATASET};

/// The most that a step may cost in its passes.
const MOST_PASSES: f64 = 1.10;
/// The file in the folder of `--out` that has the results.
const RESULTS: &str = "results.txt";

/// Flags of `bench gpu`.
#[derive(Debug, Args)]
pub struct GpuArgs {
    /// A built program, so that no cargo is needed; its `admix-bench` lies beside it.
    #[arg(long, value_name = "PATH")]
    admix: Option<PathBuf>,
    /// Tiny: shows that everything runs.
    #[arg(long)]
    rehearse: bool,
    /// The device; cuda unless given, or cpu with --rehearse.
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Which parts, separated by commas; all unless given.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,PART")]
    only: Vec<Part>,
    /// The archive or folder of CIFAR-10, which the part precision trains on, else on the quickstart's images; the shared one
    /// unless given.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Time for all parts together. Each has its share, and what it does not need is left to those after it.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Write results.txt, and facts.jsonl with what each program said, here as well.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Measure nothing: pack all that is needed into this new folder, for a machine with a GPU and without Rust. Its run.sh
    /// does the rest there.
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    /// Every method: captured steps against those that are not, and whether the host waits.
    Losses,
    /// Runs in bf16 against those in float32.
    Precision,
    /// Times and memory of the small setting.
    Small,
    /// Times of the large setting.
    Large,
    /// Steps against their passes.
    Floor,
    /// Runs that two GPUs share, where there are two.
    Processes,
}

impl Part {
    /// How much of the time it gets. The first two take two fifths.
    fn weight(self) -> f64 {
        match self {
            Self::Losses => 14.0,
            Self::Precision => 6.0,
            Self::Small => 15.0,
            Self::Large => 7.0,
            Self::Floor => 8.0,
            Self::Processes => 4.0,
        }
    }
}

/// Measures and prints.
///
/// # Errors
/// A build or a program fails, or a limit is missed.
pub fn run(repo: &Repo, args: &GpuArgs) -> Result<()> {
    let (admix, bench) = programs(repo, args.admix.as_deref())?;
    let parts = if args.only.is_empty() { Part::value_variants() } else { &args.only[..] };
    if args.bundle.is_some() || parts.iter().any(|part| matches!(part, Part::Floor | Part::Processes)) {
        ensure!(bench.is_file(), "there is no {}: it must lie beside admix", bench.display());
    }
    if let Some(folder) = &args.bundle {
        return bundle::pack(repo, folder, [&admix, &bench], &args.data(repo));
    }
    let device = args.device.as_deref().unwrap_or(if args.rehearse { "cpu" } else { "cuda" });
    let against = parts.iter().any(|part| matches!(part, Part::Small | Part::Large));
    let peer = match against.then(|| Peer::find(repo)) {
        // What a rehearsal shows of ours needs none.
        Some(Err(error)) if args.rehearse => {
            println!("without the peer: {error:#}");
            None
        }
        peer => peer.transpose()?,
    };
    if let Some(out) = &args.out {
        fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    }
    let all = Clock::new(args.seconds);
    let weights: Vec<f64> = parts.iter().map(|part| part.weight()).collect();
    let (mut rows, mut texts, mut failed): (Vec<Row>, _, Vec<String>) =
        (Vec::new(), String::new(), Vec::new());
    for (place, part) in parts.iter().enumerate() {
        let clock = all.share(weights[place], weights[place + 1..].iter().sum());
        let mut plan = Plan::new(&admix, &args.options, args.rehearse, device);
        let outcome = match part {
            Part::Losses => plan.losses(repo).and_then(|()| plan.measure(repo, clock, args.out.as_deref())),
            Part::Small => {
                plan.small(peer.as_ref());
                plan.measure(repo, clock, args.out.as_deref())
            }
            Part::Large => {
                plan.large(peer.as_ref());
                plan.measure(repo, clock, args.out.as_deref())
            }
            Part::Floor => {
                let flags = plan.floor();
                let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
                let ask = floor::Ask::all(plan.batch(), &flags, MOST_PASSES);
                Ok(floor::measure(repo, [&admix, &bench], &args.options, &ask, clock))
            }
            Part::Precision => precision(repo, &admix, args, device, clock),
            Part::Processes => processes(repo, [&admix, &bench], args, device),
        };
        match outcome {
            Ok((text, found)) => {
                texts += &format!("{text}\n");
                let missing = found.iter().filter(|row| row.values.is_empty());
                failed.extend(missing.map(|row| row.what.clone()));
                rows.extend(found);
            }
            Err(error) => {
                texts += &format!("{part:?}: {error:#}\n\n");
                failed.push(format!("{part:?}"));
            }
        }
        if let Some(out) = &args.out {
            // After each part: whoever ends us gets what there is.
            let file = out.join(RESULTS);
            fs::write(&file, format!("{texts}{}", limits::table(&rows)))
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    println!("\n{texts}{}", limits::table(&rows));
    ensure!(failed.is_empty(), "not measured: {}", failed.join("; "));
    ensure!(args.rehearse || rows.iter().all(Row::met), "a limit is missed");
    Ok(())
}

impl GpuArgs {
    fn data(&self, repo: &Repo) -> PathBuf {
        self.data.clone().unwrap_or_else(|| repo.shared().join(DATASET.1))
    }
}

fn processes(repo: &Repo, programs: [&Path; 2], args: &GpuArgs, device: &str) -> Result<(String, Vec<Row>)> {
    let gpus = processes::gpus();
    if device != "cpu" && gpus < 2 {
        return Ok((
            format!("processes: not run, as there are {gpus} GPUs here and it takes 2\n"),
            Vec::new(),
        ));
    }
    let overrides = if args.rehearse { words("model.width=0.125 data.toy.size=16") } else { Vec::new() };
    let steps = if args.rehearse { 8 } else { 200 };
    let ask =
        processes::Ask { device, processes: 2, steps, overrides, bandwidths: processes::BANDWIDTHS.to_vec() };
    Ok((String::new(), processes::measure(repo, programs, &ask)?))
}

fn precision(
    repo: &Repo,
    admix: &Path,
    args: &GpuArgs,
    device: &str,
    clock: Clock,
) -> Result<(String, Vec<Row>)> {
    let side = |precision| (precision, words(&format!("--device {device} --precision {precision}")));
    let scratch = Scratch::new(repo.root(), "precision")?;
    let data = args.data(repo);
    let (recipe, overrides, sides) = if args.rehearse {
        // A CPU has no bf16 but in name.
        let sides = [side("fp32"), side("auto")];
        let toy = "data.toy.classes=10 data.toy.train=40 data.toy.test=10 data.toy.size=16";
        let overrides = format!("epochs=2 batch=10 log_every=2 model.width=0.125 {toy}");
        ("configs/bench/vanilla.ron", overrides, sides)
    } else if args.data.is_some() || data.exists() {
        training::import(repo, admix, &data)?;
        ("configs/cifar10/r18/amix.ron", "epochs=5 log_every=50".to_string(), [side("fp32"), side("bf16")])
    } else {
        ("configs/quickstart.ron", "log_every=50".to_string(), [side("fp32"), side("bf16")])
    };
    let ask =
        precision::Ask { recipe, overrides: words(&overrides), sides, out: scratch.path().to_path_buf() };
    precision::measure(repo, admix, &ask, JOBS, clock)
}
