//! `bench gpu`: everything that is promised of a GPU, measured in one go and held against its limits.
//!
//! It needs no cargo where `--admix` names a built program, so that a machine with a GPU and without Rust can run it. With
//! `--rehearse` the same programs run on the CPU at a toy size: their ratios mean nothing then, that they run does.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::limits::{Check, Figure, Limit, report};
use super::{floor, precision};
use crate::measure::{self, Libtorch, Options, Side};
use crate::pytorch::Peer;
use crate::repo::{Profile, Repo};
use crate::scratch::Scratch;
use crate::setup;
use crate::training::{self, DATASET};

/// How a program is run for one check.
#[derive(Debug, Clone, PartialEq)]
struct Setting {
    /// What tables call it.
    name: &'static str,
    batch: usize,
    /// Overrides of our recipes.
    changes: Vec<String>,
    /// The same for the peer.
    peer: Vec<String>,
}

/// Steps whose losses are compared.
const STEPS: usize = 50;
/// A method whose `if` changes half-way through the run.
const SWITCHING: [&str; 4] = ["--script", "docs/late_cutmix.rhai", "--set", "mixers.cut=CutMix(alpha: 1.0)"];

/// Flags of `bench gpu`.
#[derive(Debug, Args)]
pub struct GpuArgs {
    /// A built program, so that no cargo is needed; its `admix-bench` lies beside it.
    #[arg(long, value_name = "PATH")]
    admix: Option<PathBuf>,
    /// On the CPU, tiny.
    #[arg(long)]
    rehearse: bool,
    /// Which parts, separated by commas; all unless given.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,PART")]
    only: Vec<Part>,
    /// The archive or folder of CIFAR-10, which the part precision trains on; the shared one unless given.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    /// Times and memory of the small setting.
    Small,
    /// Captured steps against those that are not.
    Losses,
    /// Times of the large setting.
    Large,
    /// Steps against their passes.
    Floor,
    /// Runs in bf16 against those in float32.
    Precision,
}

/// Measures and prints.
///
/// # Errors
/// A build or a program fails, or a limit is missed.
pub fn run(repo: &Repo, args: &GpuArgs) -> Result<()> {
    let options = &args.options;
    let parts = if args.only.is_empty() { Part::value_variants() } else { &args.only[..] };
    let against = parts.iter().any(|part| matches!(part, Part::Small | Part::Large));
    let peer = if against { Some(Peer::find(repo)?) } else { None };
    let (admix, bench) = match &args.admix {
        Some(admix) => {
            let admix = admix.canonicalize().with_context(|| format!("--admix {}", admix.display()))?;
            let bench = admix.with_file_name("admix-bench");
            (admix, bench)
        }
        None => {
            setup::ensure_done(repo)?;
            (repo.build_admix(Profile::Release)?, repo.build_bench(Profile::Release)?)
        }
    };
    if parts.contains(&Part::Floor) {
        ensure!(bench.is_file(), "there is no {}: the part floor needs it", bench.display());
    }
    if parts.contains(&Part::Precision) && !args.rehearse {
        // First of all: it may not be there.
        let data = args.data.clone().unwrap_or_else(|| repo.shared().join(DATASET.1));
        training::import(repo, &admix, &data)?;
    }
    let mut plan = Plan::new(&admix, options, args.rehearse);
    for part in parts {
        match (part, &peer) {
            (Part::Small, Some(peer)) => plan.small(peer),
            (Part::Large, Some(peer)) => plan.large(peer),
            (Part::Losses, _) => plan.losses(),
            _ => {}
        }
    }
    let mut met = plan.measure(repo)?;
    if parts.contains(&Part::Floor) {
        let changes = plan.small.changes.iter().flat_map(|change| ["--set", change]);
        let flags: Vec<&str> =
            plan.ours.iter().chain(&plan.fast).map(String::as_str).chain(changes).collect();
        met &= floor::measure(
            repo,
            [&admix, &bench],
            options,
            &floor::Ask::all(plan.small.batch, &flags, 1.10),
        )?;
    }
    if parts.contains(&Part::Precision) {
        met &= precision(repo, &admix, args)?;
    }
    ensure!(met || args.rehearse, "a limit is missed");
    Ok(())
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(String::from).collect()
}

fn precision(repo: &Repo, admix: &Path, args: &GpuArgs) -> Result<bool> {
    if args.rehearse {
        let scratch = Scratch::new(repo.root(), "precision")?;
        let ask = precision::Ask {
            recipe: "configs/quickstart.ron",
            overrides: words("epochs=2 data.per_class=20 batch=20 log_every=2"),
            sides: [("fp32", words("--device cpu --precision fp32")), ("auto", words("--device cpu"))],
            out: scratch.path().to_path_buf(),
        };
        return precision::measure(repo, admix, &ask);
    }
    let side = |precision| (precision, words(&format!("--device cuda --precision {precision}")));
    let ask = precision::Ask {
        recipe: "configs/cifar10/r18/amix.ron",
        overrides: words("epochs=5 log_every=50"),
        sides: [side("fp32"), side("bf16")],
        out: repo.root().join("runs/precision"),
    };
    precision::measure(repo, admix, &ask)
}

/// What runs and what is asked of it.
struct Plan<'a> {
    admix: &'a Path,
    options: &'a Options,
    /// Flags of ours, and of the peer.
    ours: Vec<String>,
    theirs: Vec<String>,
    /// Our precision where time counts, and where losses do.
    fast: Vec<String>,
    exact: Vec<String>,
    small: Setting,
    large: Setting,
    sides: Vec<Side>,
    checks: Vec<Check>,
}

impl<'a> Plan<'a> {
    fn new(admix: &'a Path, options: &'a Options, rehearse: bool) -> Self {
        let setting =
            |name, batch, changes, peer| Setting { name, batch, changes: words(changes), peer: words(peer) };
        let (ours, fast, theirs, small, large) = if rehearse {
            (
                "--device cpu",
                "",
                "--device cpu",
                setting(
                    "ResNet-18, width 1/8, 16 px",
                    4,
                    "model.width=0.125 data.toy.size=16",
                    "--base 8 --size 16",
                ),
                setting(
                    "ResNet-50, width 1/8, 64 px",
                    2,
                    "model.depth=50 model.width=0.125 data.toy.size=64",
                    "--depth 50 --base 8 --size 64",
                ),
            )
        } else {
            (
                "--device cuda",
                "--precision bf16",
                "--device cuda --precision bf16 --channels-last",
                setting("ResNet-18, 32 px", 100, "", ""),
                setting(
                    "ResNet-50, 224 px",
                    128,
                    "model.depth=50 model.stem=Large data.toy.size=224",
                    "--depth 50 --size 224",
                ),
            )
        };
        let [ours, fast, theirs, exact] = [ours, fast, theirs, "--precision fp32"].map(words);
        let (sides, checks) = (Vec::new(), Vec::new());
        Self { admix, options, ours, theirs, fast, exact, small, large, sides, checks }
    }

    /// Runs every side in every round, prints, and says whether all limits are met.
    fn measure(&self, repo: &Repo) -> Result<bool> {
        if self.sides.is_empty() {
            return Ok(true);
        }
        let rounds = self.options.rounds;
        let mut found: Vec<Vec<Value>> = vec![Vec::new(); self.sides.len()];
        for round in 0..rounds {
            for turn in 0..self.sides.len() {
                let side = (round + turn) % self.sides.len();
                found[side].push(measure::facts(repo, &self.sides[side], &[])?);
                eprintln!("round {} of {rounds}: {}", round + 1, self.sides[side].name);
            }
        }
        let (text, met) = report(&self.sides, &self.checks, &found)?;
        println!("\n{text}");
        Ok(met)
    }

    fn small(&mut self, peer: &Peer) {
        let small = self.small.clone();
        let times = Figure::Milliseconds;
        let vanilla = self.admix(&small, "vanilla", &[]);
        let amix = self.admix(&small, "amix", &[]);
        let eager = self.pytorch(peer, &small, "vanilla", &[]);
        self.check("vanilla, images/s of PyTorch's", times, eager, Some(vanilla), Limit::Least(2.0));
        let eager = self.pytorch(peer, &small, "amix", &[]);
        self.check("amix, images/s of PyTorch's", times, eager, Some(amix), Limit::Least(3.0));
        let compiled = self.pytorch(peer, &small, "amix", &["--compile"]);
        self.check("amix, images/s of compiled PyTorch's", times, compiled, Some(amix), Limit::Least(1.5));
        self.check("amix, host ms per step", Figure::HostMilliseconds, amix, None, Limit::Most(0.1));
        self.check("amix, peak memory of vanilla's", Figure::Memory, amix, Some(vanilla), Limit::Most(1.3));
        self.check("amix / vanilla", times, amix, Some(vanilla), Limit::Told);
        let puzzlemix = self.admix(&small, "puzzlemix", &[]);
        self.check("puzzlemix / vanilla", times, puzzlemix, Some(vanilla), Limit::Most(1.75));
        for policy in ["MixUp", "CutMix", "ResizeMix", "FMix", "SaliencyMix"] {
            let side = self.admix(&small, "vanilla", &["--set", &format!("mixers.mix={policy}()")]);
            let what = format!("{policy} / vanilla");
            self.check(&what, times, side, Some(vanilla), Limit::Most(1.03));
        }
        let moco = self.admix(&small, "moco", &[]);
        let amix_i = self.admix(&small, "amix_i", &[]);
        self.check("amix_i / moco", times, amix_i, Some(moco), Limit::Most(2.6));
        for (method, side) in
            [("vanilla", vanilla), ("amix", amix), ("puzzlemix", puzzlemix), ("amix_i", amix_i)]
        {
            self.check(
                &format!("{method}, host syncs per step"),
                Figure::Syncs,
                side,
                None,
                Limit::Most(0.0),
            );
        }
    }

    /// A short run in float32, captured and not.
    fn losses(&mut self) {
        let small = self.small.clone();
        let options = self.options.with_steps(0, STEPS);
        // As many images as make a run of so many steps.
        let images = format!("data.toy.train={}", STEPS * small.batch);
        for (name, recipe, flags, variants) in [
            ("vanilla", "vanilla", &[][..], 1.0),
            ("amix", "amix", &[], 1.0),
            ("amix_i", "amix_i", &[], 1.0),
            // Its structure changes from step to step.
            ("puzzlemix", "puzzlemix", &[], 2.0),
            ("late_cutmix", "amix_default", &SWITCHING, 2.0),
        ] {
            let mut of = |more: &[&str]| {
                let precision = self.exact.clone();
                let flags = [flags, &["--set", &images], more].concat();
                self.ours(&small, recipe, &precision, &options, &flags)
            };
            let (captured, eager) = (of(&[]), of(&["--capture", "off"]));
            for (how, side) in [("captured", captured), ("not captured", eager)] {
                self.sides[side].name = format!("{}: {name} in float32, {how}", small.name);
                let what = format!("{name} {how}, steps that wait by CUDA's own watch");
                self.check(&what, Figure::Waited, side, None, Limit::Most(0.0));
            }
            let what = format!("{name}, losses captured and not, largest relative difference");
            self.check(&what, Figure::Losses, captured, Some(eager), Limit::Most(1e-3));
            let what = format!("{name}, steps replayed");
            self.check(&what, Figure::Replayed, captured, None, Limit::Least(1.0));
            let what = format!("{name}, variants captured");
            self.check(&what, Figure::Variants, captured, None, Limit::Least(variants));
        }
        // Batches that were copied on a stream of their own, and those that were gathered on the device.
        let exact = self.exact.clone();
        let [resident, streamed] = ["Device", "Stream"].map(|storage| {
            let flags = ["--set", &format!("data.storage={storage}")];
            self.ours(&small, "vanilla", &exact, &options, &flags)
        });
        let what = "vanilla, losses streamed and resident, largest relative difference";
        self.check(what, Figure::Losses, streamed, Some(resident), Limit::Most(1e-3));
    }

    fn large(&mut self, peer: &Peer) {
        let (large, times) = (self.large.clone(), Figure::Milliseconds);
        let ours = self.admix(&large, "amix", &[]);
        let eager = self.pytorch(peer, &large, "amix", &[]);
        self.check("amix, images/s of PyTorch's", times, eager, Some(ours), Limit::Least(1.0));
        let compiled = self.pytorch(peer, &large, "amix", &["--compile"]);
        self.check("amix, images/s of compiled PyTorch's", times, compiled, Some(ours), Limit::Told);
    }

    fn admix(&mut self, setting: &Setting, method: &str, more: &[&str]) -> usize {
        let precision = self.fast.clone();
        self.ours(setting, method, &precision, self.options, more)
    }

    fn ours(
        &mut self,
        setting: &Setting,
        method: &str,
        precision: &[String],
        options: &Options,
        more: &[&str],
    ) -> usize {
        let mut command = measure::step(self.admix, &format!("configs/bench/{method}.ron"), options);
        command.extend(self.ours.iter().chain(precision).cloned());
        for change in [format!("batch={}", setting.batch)].iter().chain(&setting.changes) {
            command.extend(["--set".to_string(), change.clone()]);
        }
        command.extend(more.iter().map(ToString::to_string));
        let words =
            [method].into_iter().chain(precision.iter().map(String::as_str)).chain(more.iter().copied());
        let name = format!("{}: {}", setting.name, words.collect::<Vec<_>>().join(" "));
        self.side(Side { name, command, libtorch: Libtorch::Linked })
    }

    fn pytorch(&mut self, peer: &Peer, setting: &Setting, method: &str, more: &[&str]) -> usize {
        let mut side = peer.side(method, &setting.batch.to_string(), self.options);
        side.command.extend(self.theirs.iter().chain(&setting.peer).cloned());
        side.command.extend(more.iter().map(ToString::to_string));
        side.name = format!(
            "{}: PyTorch {}",
            setting.name,
            [method].iter().chain(more).copied().collect::<Vec<_>>().join(" ")
        );
        self.side(side)
    }

    fn side(&mut self, side: Side) -> usize {
        self.sides.push(side);
        self.sides.len() - 1
    }

    fn check(&mut self, what: &str, figure: Figure, of: usize, over: Option<usize>, limit: Limit) {
        self.checks.push(Check { what: what.into(), figure, of, over, limit });
    }
}
