//! `bench`: timings of two programs against each other, run in turn so that both see the same machine.
//!
//! Each side is a command that runs some training steps and prints, as its last line, a JSON object with
//! `ms_per_step`. One round runs both; the order swaps from round to round. What is compared are medians.

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::args::{Args, Usage};
use crate::floor;
use crate::gpu;
use crate::memory;
use crate::policies;
use crate::process::Cmd;
use crate::puzzlemix;
use crate::repo::{Profile, Repo};
use crate::setup;

/// Our side: `admix` with these arguments, then the recipe.
const STEP: &[&str] = &["bench", "step", "--format", "json"];
/// The recipes of `bench overhead`, their names for `train_by_hand --case`, the batch if not the recipe's, and what may
/// be lost on each. What engine and script cost does not depend on the batch: with two images there is least beside
/// it that could hide it.
const OVERHEAD: &[(&str, &str, Option<&str>, Limit)] = &[
    ("configs/quickstart.ron", "quickstart", Some("2"), Limit::Milliseconds(0.3)),
    ("configs/quickstart.ron", "quickstart", None, Limit::Milliseconds(0.3)),
    ("configs/bench/amix_default.ron", "resnet18", None, Limit::Ratio(1.01)),
];
/// The methods of `bench peer`: `configs/bench/<method>.ron` against the peer's `--method <method>`.
const PEER_METHODS: &str = "vanilla,mixup,cutmix,automix,amix,moco,amix_i";
/// The networks of `bench peer`: the width in that of a ResNet-18, the batch, and the most that our step may cost in
/// the peer's. In the small one it is dispatch that counts.
const PEER_SIZES: &[(f64, usize, f64)] = &[(1.0, 32, 1.0), (0.125, 16, 0.92)];
/// Channels of the first stage of a ResNet-18.
const FIRST_WIDTH: f64 = 64.0;

/// How far the first side may be behind the second.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Limit {
    /// Difference of the medians.
    Milliseconds(f64),
    /// Ratio of the medians.
    Ratio(f64),
}

/// One program to time.
#[derive(Debug, Clone)]
pub struct Side {
    /// Its name in tables.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What it runs on.
    pub libtorch: Libtorch,
}

/// Which libtorch a program loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Libtorch {
    /// The one that set-up linked.
    Linked,
    /// That of its own PyTorch. Ours must be out of sight: `LD_LIBRARY_PATH` would come before it.
    Own,
}

/// Two programs and what is expected of the first.
#[derive(Debug)]
struct Contest {
    title: String,
    sides: [Side; 2],
    limit: Limit,
}

/// Settings that all benchmarks share.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which of `bench overhead`: small, quickstart, resnet18; all if empty.
    cases: Vec<String>,
    /// How often every side runs.
    pub rounds: usize,
    steps: usize,
    warmup: usize,
    /// Threads of every side.
    pub threads: usize,
    strict: Strict,
}

/// Whether a missed limit is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strict {
    Yes,
    No,
}

/// Runs `bench NAME`.
pub fn run(repo: &Repo, mut args: Args) -> Result<()> {
    let which = args.positional();
    let mut options = Options {
        cases: Vec::new(),
        rounds: args.parsed("--rounds", 7)?,
        steps: args.parsed("--steps", 30)?,
        warmup: args.parsed("--warmup", 5)?,
        threads: args.parsed("--threads", 2)?,
        strict: if args.switch("--strict") { Strict::Yes } else { Strict::No },
    };
    if options.rounds == 0 || options.steps == 0 {
        return Err(Usage("bench: --rounds and --steps must be at least 1".into()).into());
    }
    match which.as_deref() {
        Some("overhead") => {
            let cases = args.value("--cases")?.unwrap_or_default();
            options.cases = cases.split(',').filter(|case| !case.is_empty()).map(String::from).collect();
            args.finish()?;
            contests(repo, overhead(repo, &options)?, &options)
        }
        Some(name @ ("methods" | "policies" | "ssl")) => {
            let family = match name {
                "methods" => &policies::METHODS,
                "ssl" => &policies::SSL,
                _ => &policies::POLICIES,
            };
            let ask = policies::Ask::of(family, &mut args)?;
            args.finish()?;
            let met = policies::run(repo, &options, &ask)?;
            ensure!(met || options.strict == Strict::No, "a limit is missed");
            Ok(())
        }
        Some("floor") => {
            let ask = floor::Ask::of(&mut args)?;
            args.finish()?;
            floor::run(repo, &options, &ask)
        }
        Some("memory") => {
            let methods = args.value("--methods")?.unwrap_or_else(|| "amix".into());
            let batch = args.parsed("--batch", 100)?;
            args.finish()?;
            memory::run(repo, &options, &methods, batch)
        }
        Some("gpu") => {
            let ask = gpu::Ask::of(&mut args)?;
            args.finish()?;
            gpu::run(repo, &options, &ask)
        }
        Some("puzzlemix") => puzzlemix::run(repo, ("puzzlemix", "--problems"), args),
        Some("comixup") => puzzlemix::run(repo, ("comixup", "--parts"), args),
        Some("peer") => {
            let methods = args.value("--methods")?.unwrap_or_else(|| PEER_METHODS.into());
            let width = args.value("--width")?;
            let batch = args.value("--batch")?;
            let sizes = sizes(width.as_deref(), batch.as_deref())?;
            args.finish()?;
            contests(repo, peer(repo, &options, &methods, &sizes)?, &options)
        }
        other => {
            let name = other.unwrap_or("nothing");
            Err(Usage(format!(
                "bench: the benchmarks are `overhead`, `peer`, `floor`, `memory`, `gpu`, `methods`, `policies`, `ssl`, `puzzlemix` and \
                 `comixup`, not `{name}`"
            ))
            .into())
        }
    }
}

/// The bundled recipes against the same steps written by hand.
fn overhead(repo: &Repo, options: &Options) -> Result<Vec<Contest>> {
    setup::ensure_done(repo)?;
    let admix = repo.build_admix(Profile::Release)?;
    repo.build(&["--example", "train_by_hand"], Profile::Release)?;
    let by_hand = repo.target()?.join("release/examples/train_by_hand");
    let wanted = |case: &str| options.cases.is_empty() || options.cases.iter().any(|one| one == case);
    let contest = |(recipe, case, batch, limit): &(&str, &str, Option<&str>, Limit)| {
        let mut ours = step(&admix, recipe, options);
        let mut theirs = words(&by_hand, &["--case", case]);
        theirs.extend(options.flags());
        let mut title = format!("overhead: {recipe}");
        if let Some(batch) = batch {
            ours.extend(["--set".into(), format!("batch={batch}")]);
            theirs.extend(["--batch".into(), (*batch).into()]);
            title.push_str(&format!(", batch {batch}"));
        }
        Contest {
            title,
            sides: [
                Side { name: "admix".into(), command: ours, libtorch: Libtorch::Linked },
                Side { name: "by hand".into(), command: theirs, libtorch: Libtorch::Linked },
            ],
            limit: *limit,
        }
    };
    Ok(OVERHEAD
        .iter()
        .filter(|(_, case, batch, _)| wanted(if batch.is_some() { "small" } else { case }))
        .map(contest)
        .collect())
}

/// Which networks and batches `bench peer` compares: all of [`PEER_SIZES`], or those of this width, or of this batch
/// (with the limit of the first).
fn sizes(width: Option<&str>, batch: Option<&str>) -> Result<Vec<(f64, usize, f64)>> {
    let wrong = |flag: &str, text: &str| Usage(format!("bench peer: {flag} {text}: not a valid value"));
    let mut sizes = PEER_SIZES.to_vec();
    if let Some(text) = width {
        let width: f64 = text.parse().map_err(|_| wrong("--width", text))?;
        sizes.retain(|(own, ..)| *own == width);
        if sizes.is_empty() {
            sizes.push((width, PEER_SIZES[0].1, PEER_SIZES[0].2));
        }
    }
    if let Some(text) = batch {
        let batch: usize = text.parse().map_err(|_| wrong("--batch", text))?;
        sizes.truncate(1);
        sizes[0].1 = batch;
    }
    Ok(sizes)
}

/// The bench recipes against PyTorch, with the Python of `ADMIX_PEER_PYTHON`.
fn peer(repo: &Repo, options: &Options, methods: &str, sizes: &[(f64, usize, f64)]) -> Result<Vec<Contest>> {
    let peer = Peer::find(repo)?;
    setup::ensure_done(repo)?;
    let admix = repo.build_admix(Profile::Release)?;
    let contest = |method: &str, (width, batch, most): &(f64, usize, f64)| {
        let recipe = format!("configs/bench/{method}.ron");
        let mut ours = step(&admix, &recipe, options);
        for change in [format!("batch={batch}"), format!("model.width={width}")] {
            ours.extend(["--set".into(), change]);
        }
        let mut theirs = peer.side(method, &batch.to_string(), options);
        theirs.command.extend(["--base".into(), (width * FIRST_WIDTH).round().to_string()]);
        Contest {
            title: format!("peer: {method}, width {width}, batch {batch}, {} threads", options.threads),
            sides: [
                Side { name: "admix".into(), command: ours, libtorch: Libtorch::Linked },
                Side { name: "pytorch".into(), ..theirs },
            ],
            limit: Limit::Ratio(*most),
        }
    };
    Ok(sizes.iter().flat_map(|size| methods.split(',').map(move |method| contest(method, size))).collect())
}

/// The PyTorch program and the Python that runs it.
#[derive(Debug)]
pub struct Peer {
    python: String,
    script: PathBuf,
}

impl Peer {
    /// Finds both, and says which PyTorch it is.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn find(repo: &Repo) -> Result<Self> {
        let script = repo.shared().join("peer/torch_steps.py");
        ensure!(
            script.is_file(),
            "there is no {}: set ADMIX_SHARED to the folder that holds peer/",
            script.display()
        );
        let python = env::var("ADMIX_PEER_PYTHON").unwrap_or_else(|_| "python3".into());
        let torch = Cmd::new(&python).args(["-c", "import torch; print(torch.__version__)"]).try_output();
        let torch = torch.with_context(|| {
            format!("`{python}` has no PyTorch: name a Python that has one in ADMIX_PEER_PYTHON")
        })?;
        println!("peer: PyTorch {torch}");
        Ok(Self { python, script })
    }

    /// Its steps of a method.
    pub fn side(&self, method: &str, batch: &str, options: &Options) -> Side {
        let script = words(&self.script, &["--method", method, "--batch", batch]);
        let command = [self.python.clone()].into_iter().chain(script).chain(options.flags());
        Side { name: format!("pytorch {method}"), command: command.collect(), libtorch: Libtorch::Own }
    }
}

impl Options {
    /// Steps that are timed in a run.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The same with so many steps.
    pub fn with_steps(&self, warmup: usize, steps: usize) -> Self {
        Self { warmup, steps, ..self.clone() }
    }

    /// Whether a missed limit is a failure.
    pub fn strict(&self) -> bool {
        self.strict == Strict::Yes
    }

    /// The flags that every side understands.
    fn flags(&self) -> Vec<String> {
        [("--steps", self.steps), ("--warmup", self.warmup), ("--threads", self.threads)]
            .iter()
            .flat_map(|(flag, value)| [flag.to_string(), value.to_string()])
            .collect()
    }
}

/// Our command that times steps of `recipe`.
pub fn step(admix: &Path, recipe: &str, options: &Options) -> Vec<String> {
    words(admix, STEP).into_iter().chain([recipe.to_string()]).chain(options.flags()).collect()
}

/// A program and its arguments.
fn words(program: &Path, args: &[&str]) -> Vec<String> {
    std::iter::once(program.display().to_string()).chain(args.iter().map(ToString::to_string)).collect()
}

/// Runs them all and prints each result.
fn contests(repo: &Repo, contests: Vec<Contest>, options: &Options) -> Result<()> {
    let mut missed = Vec::new();
    for contest in contests {
        println!("\n{} ({} rounds of {} steps)", contest.title, options.rounds, options.steps);
        let times = alternate(options.rounds, |side| time(repo, &contest.sides[side]))?;
        let names = [contest.sides[0].name.as_str(), contest.sides[1].name.as_str()];
        let (text, met) = report(names, &times, contest.limit);
        print!("{text}");
        if !met {
            missed.push(contest.title);
        }
    }
    ensure!(missed.is_empty() || options.strict == Strict::No, "limit missed: {}", missed.join("; "));
    Ok(())
}

/// Milliseconds per step of one side, from its last line of output.
fn time(repo: &Repo, side: &Side) -> Result<f64> {
    Ok(times(repo, side, &[])?.median)
}

/// What a side said of its steps, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Times {
    /// The step in the middle.
    pub median: f64,
    /// What a run pays for a step; the median where a side does not say it.
    pub mean: f64,
}

/// Runs a side once, with more arguments at its end; its times.
pub fn times(repo: &Repo, side: &Side, more: &[String]) -> Result<Times> {
    let facts = facts(repo, side, more)?;
    milliseconds(&facts).with_context(|| side.command.join(" "))
}

/// Runs a side once, with more arguments at its end; the JSON object that it prints.
pub fn facts(repo: &Repo, side: &Side, more: &[String]) -> Result<Value> {
    let program = &side.command[0];
    let cmd = match side.libtorch {
        Libtorch::Linked => repo.program(program),
        Libtorch::Own => Cmd::new(program).dir(repo.root()),
    };
    let cmd = cmd.args(&side.command[1..]).args(more);
    let line = cmd.line();
    let output = cmd.output()?;
    last_object(&String::from_utf8_lossy(&output)).with_context(|| format!("`{line}` printed no JSON line"))
}

/// The last line that is a JSON object.
fn last_object(output: &str) -> Option<Value> {
    let read = |line: &str| serde_json::from_str::<Value>(line).ok();
    output.lines().rev().find_map(|line| read(line).filter(Value::is_object))
}

/// The times that a side told.
fn milliseconds(object: &Value) -> Result<Times> {
    let median = object["ms_per_step"].as_f64().context("its JSON line has no `ms_per_step`")?;
    let mean = object["mean_ms_per_step"].as_f64().unwrap_or(median);
    for value in [median, mean] {
        ensure!(value.is_finite() && value > 0.0, "the time of a step is {value}");
    }
    Ok(Times { median, mean })
}

/// Times of both sides, by round. The side that goes first changes every round: what the first one warms up
/// or wears out would else count for one side only.
fn alternate(rounds: usize, mut time: impl FnMut(usize) -> Result<f64>) -> Result<[Vec<f64>; 2]> {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for turn in 0..2 {
            let side = (round + turn) % 2;
            times[side].push(time(side)?);
        }
    }
    Ok(times)
}

/// The middle value, or the mean of the two middle ones. The list must not be empty.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// Smallest and largest value.
pub fn range(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)))
}

/// The result as text, and whether the first side is within the limit.
fn report(names: [&str; 2], times: &[Vec<f64>; 2], limit: Limit) -> (String, bool) {
    let mut text = format!("{:<10}{:>12}{:>12}{:>12}{:>9}\n", "", "median ms", "min ms", "max ms", "spread");
    for (name, values) in names.iter().zip(times) {
        let (low, high) = range(values);
        let middle = median(values);
        let spread = 100.0 * (high - low) / middle;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<10}{middle:>12.3}{low:>12.3}{high:>12.3}{spread:>8.1}%");
    }
    let medians = [median(&times[0]), median(&times[1])];
    let ratio = medians[0] / medians[1];
    let difference = medians[0] - medians[1];
    // What the machine does changes slowly: both sides of a round see the same.
    let pairs: Vec<f64> = times[0].iter().zip(&times[1]).map(|(a, b)| a - b).collect();
    let paired = median(&pairs);
    // Standard error of a median, from the median deviation: 1.2533 * 1.4826 * MAD / sqrt(n).
    let deviations: Vec<f64> = pairs.iter().map(|pair| (pair - paired).abs()).collect();
    let error = 1.858 * median(&deviations) / (pairs.len() as f64).sqrt();
    let ratios: Vec<f64> = times[0].iter().zip(&times[1]).map(|(a, b)| a / b).collect();
    let (low, high) = range(&ratios);
    let (met, wanted) = match limit {
        Limit::Milliseconds(most) => (difference <= most, format!("difference at most {most} ms")),
        Limit::Ratio(most) => (ratio <= most, format!("ratio at most {most}")),
    };
    let _ = writeln!(
        text,
        "{} / {}: ratio {ratio:.4} (by round {low:.4} to {high:.4}), difference {difference:+.3} ms, by round \
         {paired:+.3} +- {error:.3} ms; {wanted}: {}",
        names[0],
        names[1],
        if met { "met" } else { "MISSED" }
    );
    (text, met)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_take_turns_and_the_first_changes() {
        let mut order = Vec::new();
        let times = alternate(3, |side| {
            order.push(side);
            Ok(order.len() as f64)
        });
        assert_eq!(times.unwrap(), [vec![1.0, 4.0, 5.0], vec![2.0, 3.0, 6.0]]);
        assert_eq!(order, [0, 1, 1, 0, 0, 1]);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[test]
    fn the_sizes_of_the_peer_can_be_chosen() {
        assert_eq!(sizes(None, None).unwrap(), PEER_SIZES);
        assert_eq!(sizes(Some("0.125"), None).unwrap(), [(0.125, 16, 0.92)]);
        assert_eq!(sizes(Some("0.5"), Some("8")).unwrap(), [(0.5, 8, 1.0)]);
        assert_eq!(sizes(None, Some("100")).unwrap(), [(1.0, 100, 1.0)]);
        assert!(sizes(None, Some("many")).is_err());
    }

    #[test]
    fn the_report_compares_medians_with_the_limit() {
        let times = [vec![11.0, 10.2, 30.0], vec![10.0, 10.0, 12.0]];
        let (text, met) = report(["a", "b"], &times, Limit::Ratio(1.05));
        assert!(!met);
        assert!(text.contains("ratio 1.1000 (by round 1.0200 to 2.5000), difference +1.000 ms"), "{text}");
        assert!(text.ends_with("ratio at most 1.05: MISSED\n"), "{text}");
        assert!(report(["a", "b"], &times, Limit::Milliseconds(1.0)).1);
        assert!(!report(["a", "b"], &times, Limit::Milliseconds(0.3)).1);
    }

    #[test]
    fn the_last_json_line_counts() {
        let last = |text: &str| milliseconds(&last_object(text).expect("a JSON line"));
        let two = last("warming up\n{\"ms_per_step\": 2}\n{\"ms_per_step\": 1.5}\n3\n").unwrap();
        assert_eq!(two, Times { median: 1.5, mean: 1.5 });
        let both = last("{\"ms_per_step\": 2, \"mean_ms_per_step\": 3.0}").unwrap();
        assert_eq!(both, Times { median: 2.0, mean: 3.0 });
        assert!(last("{\"ms\": 2}").is_err());
        assert!(last("{\"ms_per_step\": 0}").is_err());
        assert!(last_object("").is_none());
    }
}
