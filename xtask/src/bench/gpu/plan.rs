//! The programs of `bench gpu`, and what is asked of them.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use crate::bench::limits::{self, Check, Figure, Limit, Row};
use crate::clock::Clock;
use crate::measure::{self, Libtorch, Options, Side};
use crate::parallel;
use crate::pytorch::Peer;
use crate::recipes;
use crate::repo::Repo;
use crate::toy_size;
use crate::training::RECIPES;

/// How many programs run at once where no time counts.
pub const JOBS: usize = 4;
/// Steps whose losses are compared.
const STEPS: usize = 20;
/// The same in a rehearsal, and the recipes that it takes: one of each way through the engine.
const FEW_STEPS: usize = 8;
const FEW: [&str; 6] = ["amix", "amix_c", "co_mixup", "moco", "puzzlemix", "vanilla"];
/// A method whose `if` changes half-way through the run.
const SWITCHING: [&str; 4] = ["--script", "docs/late_cutmix.rhai", "--set", "mixers.cut=CutMix(alpha: 1.0)"];
/// What makes a recipe of any size a toy.
const TOY_SIZE: &str = include_str!("../../../../tests/toy_size.json");
/// The file in the folder of `--out` with what each program said.
const FACTS: &str = "facts.jsonl";

/// Flags as they are written.
pub fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(String::from).collect()
}

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

/// What runs and what is asked of it.
pub struct Plan<'a> {
    admix: &'a Path,
    options: &'a Options,
    rehearse: bool,
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
    rounds: usize,
    jobs: usize,
}

impl<'a> Plan<'a> {
    /// An empty one for a device.
    pub fn new(admix: &'a Path, options: &'a Options, rehearse: bool, device: &str) -> Self {
        let setting =
            |name, batch, changes, peer| Setting { name, batch, changes: words(changes), peer: words(peer) };
        let (theirs, small, large) = if rehearse {
            (
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
        // bf16 on a GPU.
        let [theirs, fast, exact] = [theirs, "--precision auto", "--precision fp32"].map(words);
        Self {
            admix,
            options,
            rehearse,
            ours: words(&format!("--device {device}")),
            theirs,
            fast,
            exact,
            small,
            large,
            sides: Vec::new(),
            checks: Vec::new(),
            rounds: options.rounds,
            jobs: 1,
        }
    }

    /// Images per step of the small setting.
    pub fn batch(&self) -> usize {
        self.small.batch
    }

    /// Flags of steps and passes of the small setting.
    pub fn floor(&self) -> Vec<String> {
        let changes = self.small.changes.iter().flat_map(|change| ["--set".to_string(), change.clone()]);
        self.ours.iter().chain(&self.fast).cloned().chain(changes).collect()
    }

    /// Runs every side in every round for which there is time: a table of times, and the verdicts. What each program said is
    /// kept in a file of `out` as well.
    ///
    /// # Errors
    /// That file cannot be written.
    pub fn measure(&self, repo: &Repo, clock: Clock, out: Option<&Path>) -> Result<(String, Vec<Row>)> {
        let mut found: Vec<Vec<Value>> = vec![Vec::new(); self.sides.len()];
        for round in 0..self.rounds {
            if round > 0 && !clock.has_a_round(round) {
                break;
            }
            let order: Vec<usize> =
                (0..self.sides.len()).map(|turn| (round + turn) % self.sides.len()).collect();
            let said = parallel::each(&order, self.jobs, |side| {
                let side = &self.sides[*side];
                let limited = Side { command: clock.limited(side.command.clone()), ..side.clone() };
                let facts = measure::facts(repo, &limited, &[]);
                eprintln!("round {} of {}: {}", round + 1, self.rounds, side.name);
                facts
            });
            for (side, facts) in order.into_iter().zip(said) {
                let name = &self.sides[side].name;
                let told = match facts {
                    Ok(facts) => {
                        found[side].push(facts.clone());
                        facts
                    }
                    // The others go on.
                    Err(error) => {
                        eprintln!("{name}: {error:#}");
                        serde_json::json!({"error": format!("{error:#}")})
                    }
                };
                if let Some(out) = out {
                    keep(&out.join(FACTS), &serde_json::json!({"program": name, "said": told}))?;
                }
            }
        }
        Ok((limits::times(&self.sides, &found), limits::judge(&self.checks, &found)))
    }

    /// Times and memory of ResNet-18, against PyTorch and against each other.
    pub fn small(&mut self, peer: Option<&Peer>) {
        let small = self.small.clone();
        let times = Figure::Milliseconds;
        let vanilla = self.admix(&small, "vanilla", &[]);
        let amix = self.admix(&small, "amix", &[]);
        if let Some(peer) = peer {
            let eager = self.pytorch(peer, &small, "vanilla", &[]);
            self.check("vanilla, images/s of PyTorch's", times, eager, Some(vanilla), Limit::Least(2.0));
            let eager = self.pytorch(peer, &small, "amix", &[]);
            self.check("amix, images/s of PyTorch's", times, eager, Some(amix), Limit::Least(3.0));
            let compiled = self.pytorch(peer, &small, "amix", &["--compile"]);
            let what = "amix, images/s of compiled PyTorch's";
            self.check(what, times, compiled, Some(amix), Limit::Least(1.5));
        }
        self.check("amix, host ms per step", Figure::HostMilliseconds, amix, None, Limit::Most(0.1));
        self.check("amix, peak memory of vanilla's", Figure::Memory, amix, Some(vanilla), Limit::Most(1.3));
        self.check("amix / vanilla", times, amix, Some(vanilla), Limit::Told);
        for (method, side) in [("vanilla", vanilla), ("amix", amix)] {
            self.against_plain(&small, method, side);
        }
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

    /// A short run of every method in float32, captured and not.
    ///
    /// # Errors
    /// A recipe cannot be read.
    pub fn losses(&mut self, repo: &Repo) -> Result<()> {
        // No time counts here.
        (self.rounds, self.jobs) = (1, JOBS);
        let small = self.small.clone();
        let steps = if self.rehearse { FEW_STEPS } else { STEPS };
        let options = self.options.with_steps(0, steps);
        let mut recipes = BTreeMap::new();
        recipes::collect(&repo.root().join(RECIPES), "", &mut recipes)?;
        recipes.retain(|name, _| !self.rehearse || FEW.contains(&name.as_str()));
        for (name, text) in &recipes {
            let mut flags = words("--synthetic");
            if self.rehearse {
                let settings = toy_size::settings(TOY_SIZE, text).map_err(|error| anyhow!(error))?;
                flags = settings.into_iter().flat_map(|setting| ["--set".into(), setting]).collect();
            }
            let setting =
                Setting { batch: if self.rehearse { 4 } else { 100 }, changes: Vec::new(), ..small.clone() };
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            let recipe = format!("{RECIPES}/{name}.ron");
            // Its solver runs on the host.
            let variants = if text.contains("CoMixup(") { 0.0 } else { 1.0 };
            self.compare(name, &recipe, &setting, &options, &flags, variants);
        }
        // As many images as make a run of so many steps.
        let images = format!("data.toy.train={}", steps * small.batch);
        let flags = [&SWITCHING[..], &["--set", "data.toy.classes=10", "--set", &images]].concat();
        self.compare("late_cutmix", "configs/bench/amix_default.ron", &small, &options, &flags, 2.0);
        // Batches that were copied on a stream of their own, and those that were gathered on the device.
        let exact = self.exact.clone();
        let [resident, streamed] = ["Device", "Stream"].map(|storage| {
            let flags = ["--set", &format!("data.storage={storage}")];
            let side = self.ours(&small, "configs/bench/vanilla.ron", &exact, &options, &flags);
            self.sides[side].name = format!("vanilla in float32, {storage}");
            side
        });
        let what = "vanilla, losses streamed and resident, relative difference";
        self.check(what, Figure::Losses, streamed, Some(resident), Limit::Most(1e-3));
        let plain = self.ours(
            &small,
            "configs/bench/vanilla.ron",
            &exact,
            &options,
            &["--set", "data.storage=Device", "--fused", "off"],
        );
        self.sides[plain].name = "vanilla in float32, not fused".into();
        // Other operations round in another order, which training makes more of.
        let what = "vanilla, losses fused and not, relative difference";
        self.check(what, Figure::Losses, resident, Some(plain), Limit::Most(2e-2));
        Ok(())
    }

    /// Steps of a recipe captured and not, of which at least so many variants are captured.
    fn compare(
        &mut self,
        name: &str,
        recipe: &str,
        setting: &Setting,
        options: &Options,
        flags: &[&str],
        variants: f64,
    ) {
        let precision = self.exact.clone();
        let captured = self.ours(setting, recipe, &precision, options, flags);
        let direct = [flags, &["--capture", "off"]].concat();
        let direct = self.ours(setting, recipe, &precision, options, &direct);
        for (how, side) in [("captured", captured), ("direct", direct)] {
            self.sides[side].name = format!("{name} in float32, {how}");
            let what = format!("{name} {how}, steps that wait by CUDA's own watch");
            self.check(&what, Figure::Waited, side, None, Limit::Most(0.0));
        }
        let what = format!("{name}, losses captured and direct, relative difference");
        self.check(&what, Figure::Losses, captured, Some(direct), Limit::Most(1e-3));
        self.check(
            &format!("{name}, variants captured"),
            Figure::Variants,
            captured,
            None,
            Limit::Least(variants),
        );
        let what = format!("{name}, steps replayed");
        self.check(&what, Figure::Replayed, captured, None, Limit::Least(variants));
    }

    /// Times of ResNet-50 on images as large as ImageNet's.
    pub fn large(&mut self, peer: Option<&Peer>) {
        let (large, times) = (self.large.clone(), Figure::Milliseconds);
        let ours = self.admix(&large, "amix", &[]);
        self.check("amix at 224 px, peak memory in bytes", Figure::Memory, ours, None, Limit::Told);
        self.against_plain(&large, "amix", ours);
        let Some(peer) = peer else { return };
        let eager = self.pytorch(peer, &large, "amix", &[]);
        self.check("amix at 224 px, images/s of PyTorch's", times, eager, Some(ours), Limit::Least(1.0));
        let compiled = self.pytorch(peer, &large, "amix", &["--compile"]);
        let what = "amix at 224 px, images/s of compiled PyTorch's";
        self.check(what, times, compiled, Some(ours), Limit::Told);
    }

    /// A method's steps, against the same ones with batch normalisation, residual and ReLU one by one.
    fn against_plain(&mut self, setting: &Setting, method: &str, fused: usize) {
        let plain = self.admix(setting, method, &["--fused", "off"]);
        let what = |figure: &str| format!("{}: {method}, {figure}", setting.name);
        self.check(
            &what("fused operations agree with plain ones"),
            Figure::Fused,
            fused,
            None,
            Limit::Least(1.0),
        );
        let what_time = what("time of --fused off's");
        self.check(&what_time, Figure::Milliseconds, fused, Some(plain), Limit::Told);
        let what_memory = what("peak memory of --fused off's");
        self.check(&what_memory, Figure::Memory, fused, Some(plain), Limit::Told);
    }

    fn admix(&mut self, setting: &Setting, method: &str, more: &[&str]) -> usize {
        let precision = self.fast.clone();
        let recipe = format!("configs/bench/{method}.ron");
        let side = self.ours(setting, &recipe, &precision, self.options, more);
        let said = [method].into_iter().chain(more.iter().copied()).collect::<Vec<_>>().join(" ");
        self.sides[side].name = format!("{}: {said}", setting.name);
        side
    }

    fn ours(
        &mut self,
        setting: &Setting,
        recipe: &str,
        precision: &[String],
        options: &Options,
        more: &[&str],
    ) -> usize {
        let mut command = measure::step(self.admix, recipe, options);
        command.extend(self.ours.iter().chain(precision).cloned());
        for change in [format!("batch={}", setting.batch)].iter().chain(&setting.changes) {
            command.extend(["--set".to_string(), change.clone()]);
        }
        command.extend(more.iter().map(ToString::to_string));
        self.side(Side { name: recipe.into(), command, libtorch: Libtorch::Linked })
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

fn keep(file: &Path, line: &Value) -> Result<()> {
    let cannot = || format!("cannot write {}", file.display());
    let mut file = OpenOptions::new().create(true).append(true).open(file).with_context(cannot)?;
    writeln!(file, "{line}").with_context(cannot)
}
