//! `compare`: the methods at one equal budget on CIFAR-10, and a table of what came out.
//!
//! It can be stopped at any time and started again: finished runs are kept, the interrupted one resumes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

use crate::clock::Clock;
use crate::measure::median;
use crate::metrics::{curves, flatten, seconds};
use crate::repo::{Profile, Repo};
use crate::setup;
use crate::training::{DATASET, RECIPES, Run, import, train};

/// Those compared unless `--methods` says otherwise.
const METHODS: &str =
    "vanilla,mixup,cutmix,manifoldmix,resizemix,fmix,saliencymix,puzzlemix,co_mixup,automix,amix,amix_code";
/// What every run overrides in its recipe, as for `--set`; the names in braces are options of `compare`.
const OVERRIDES: &[&str] = &[
    "model.width={width}",
    "epochs={epochs}",
    "data.per_class={per_class}",
    "batch=100",
    "optimizer.lr=0.1",
    "min_lr=0.0",
];
/// What the methods with a momentum net override besides. At the recipes' momentum of 0.999 that net would barely
/// move in so few steps.
const MOMENTUM_OVERRIDES: &[&str] =
    &["pairs=[(from: \"q\", to: \"k\", momentum: 0.99)]", "params.ema_end=0.9999", "params.min_lr=0.0"];
/// The number of last epochs whose median is reported.
const LAST: usize = 10;
/// What one run may spend; equal for all methods.
#[derive(Debug, Clone, PartialEq)]
struct Budget {
    width: f64,
    epochs: usize,
    per_class: usize,
}

impl Budget {
    /// All overrides of `method`, as `path=value`.
    fn overrides(&self, method: &str) -> Vec<String> {
        let more = if is_learned(method) { MOMENTUM_OVERRIDES } else { &[] };
        let fill = |template: &&str| {
            template
                .replace("{width}", &self.width.to_string())
                .replace("{epochs}", &self.epochs.to_string())
                .replace("{per_class}", &self.per_class.to_string())
        };
        OVERRIDES.iter().chain(more).map(fill).collect()
    }
}

/// Accuracies of one head over the epochs, in percent or as fractions: as the run wrote them.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Accuracy {
    best: f64,
    last: f64,
    median: f64,
}

/// What is known of one run.
#[derive(Debug, Default)]
struct Outcome {
    heads: BTreeMap<String, Accuracy>,
    seconds: Option<f64>,
}

/// Flags of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Compare self-supervised methods: without labels, then k-NN and a linear classifier on their features.
    #[arg(long)]
    pub ssl: bool,
    /// The archive or folder of CIFAR-10; the shared one unless given.
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Where the runs go: runs/compare, or runs/compare_ssl, unless given.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The methods, separated by commas; all unless given.
    #[arg(long, value_delimiter = ',')]
    pub methods: Option<Vec<String>>,
    /// How the features are measured, with --ssl.
    #[arg(long, value_delimiter = ',', default_value = "knn,linear-cached", requires = "ssl")]
    pub protocols: Vec<String>,
    /// The network's width in that of a ResNet-18.
    #[arg(long, default_value_t = 0.25)]
    pub width: f64,
    /// Epochs: 12, or 40 with --ssl, unless given.
    #[arg(long)]
    pub epochs: Option<usize>,
    /// Training images of each class.
    #[arg(long, default_value_t = 500)]
    pub per_class: usize,
    /// Images per step, with --ssl.
    #[arg(long, default_value_t = 64, requires = "ssl")]
    pub batch: usize,
    /// The learning rate, with --ssl.
    #[arg(long, default_value_t = 0.06, requires = "ssl")]
    pub lr: f64,
    /// Groups of a batch that BatchNorm sees apart, with --ssl.
    #[arg(long, default_value_t = 8, requires = "ssl")]
    pub bn_groups: usize,
    /// Build with optimisation.
    #[arg(long)]
    release: bool,
    /// What `admix run` (and with --ssl `admix eval`) gets besides.
    #[arg(last = true, value_name = "ARGS")]
    pub passed_on: Vec<String>,
}

impl CompareArgs {
    /// The archive of the dataset.
    pub fn data(&self, repo: &Repo) -> PathBuf {
        self.data.clone().unwrap_or_else(|| repo.shared().join(DATASET.1))
    }

    /// With which profile the program is built.
    pub fn profile(&self) -> Profile {
        if self.release { Profile::Release } else { Profile::Dev }
    }
}

/// Trains what is not trained yet, and prints a table.
///
/// # Errors
/// The build or a run fails.
pub fn run(repo: &Repo, args: &CompareArgs) -> Result<()> {
    let out = repo.root().join(args.out.as_deref().unwrap_or(Path::new("runs/compare")));
    let methods: Vec<&str> = match &args.methods {
        Some(methods) => methods.iter().map(String::as_str).collect(),
        None => METHODS.split(',').collect(),
    };
    let budget = Budget { width: args.width, epochs: args.epochs.unwrap_or(12), per_class: args.per_class };

    setup::ensure_done(repo)?;
    let admix = repo.build_admix(args.profile())?;
    import(repo, &admix, &args.data(repo))?;
    for method in &methods {
        let run = Run {
            name: method,
            recipe: format!("{RECIPES}/{method}.ron"),
            overrides: budget.overrides(method),
        };
        train(repo, &admix, &run, &out, &args.passed_on, Clock::new(None))?;
    }
    let mut outcomes = Vec::new();
    for method in &methods {
        outcomes.push((*method, read(&out.join(method))?));
    }
    let mut table = table(&outcomes, &budget);
    for method in methods.iter().filter(|m| is_learned(m)) {
        let masks = repo.program(&admix).arg("eval").arg(out.join(method)).args(["--protocol", "mixer"]);
        let masks = masks.args(&args.passed_on).output()?;
        // Writing to a string cannot fail.
        let _ = write!(
            table,
            "\n{method}, masks on the test set:\n\n```\n{}```\n",
            String::from_utf8_lossy(&masks)
        );
    }
    let file = out.join("table.md");
    fs::write(&file, &table).with_context(|| format!("cannot write {}", file.display()))?;
    println!("\n{table}\nwritten to {}", file.display());
    Ok(())
}

/// Whether the method trains its mixer, with a momentum net.
fn is_learned(method: &str) -> bool {
    ["automix", "amix"].iter().any(|m| method.starts_with(m))
}

/// The outcome of the run in `folder`, as far as it has come.
fn read(folder: &Path) -> Result<Outcome> {
    let text = |name: &str| {
        let file = folder.join(name);
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    let run: Value = serde_json::from_str(&text("run.json")?).context("run.json")?;
    let run = flatten(&run);
    Ok(Outcome { heads: accuracies(&text("metrics.jsonl")?), seconds: seconds(&run) })
}

/// Best, last and median accuracy of every head.
fn accuracies(lines: &str) -> BTreeMap<String, Accuracy> {
    let series = curves(lines);
    let summary = |values: Vec<f64>| Accuracy {
        best: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        last: values[values.len() - 1],
        median: median(&values[values.len().saturating_sub(LAST)..]),
    };
    series.into_iter().map(|(head, values)| (head, summary(values.into_values().collect()))).collect()
}

/// The result in Markdown.
fn table(outcomes: &[(&str, Outcome)], budget: &Budget) -> String {
    let mut text = format!(
        "CIFAR-10, ResNet-18 width {}, {} training images per class, {} epochs. Top-1 test accuracy.\n\n\
         | method | head | median of the last {LAST} epochs | best | last | wall time |\n|---|---|---|---|---|---|\n",
        budget.width, budget.per_class, budget.epochs
    );
    for (method, outcome) in outcomes {
        let time = outcome.seconds.map_or("-".into(), |s| format!("{:.1} min", s / 60.0));
        for (head, a) in &outcome.heads {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {method} | {head} | {} | {} | {} | {time} |",
                percent(a.median),
                percent(a.best),
                percent(a.last)
            );
        }
        if outcome.heads.is_empty() {
            let _ = writeln!(text, "| {method} | - | - | - | - | {time} |");
        }
    }
    text
}

/// A value that is in percent already.
fn percent(value: f64) -> String {
    format!("{value:.2} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget = Budget { width: 0.25, epochs: 12, per_class: 500 };

    #[test]
    fn only_momentum_methods_get_momentum_settings() {
        let has = |method| BUDGET.overrides(method).iter().any(|s| s.contains("ema_end"));
        assert!(!has("vanilla") && !has("mixup") && !has("cutmix"));
        assert!(has("automix") && has("amix") && has("amix_code"));
        assert_eq!(BUDGET.overrides("mixup")[..3], ["model.width=0.25", "epochs=12", "data.per_class=500"]);
        assert!(BUDGET.overrides("amix").iter().all(|s| !s.contains('{')));
    }

    #[test]
    fn accuracies_are_summed_up_by_head() {
        let mut lines = String::new();
        for epoch in 0..12 {
            let top1 = if epoch == 3 { 0.9 } else { epoch as f64 / 100.0 };
            let _ = writeln!(
                lines,
                "{{\"epoch\":{epoch},\"loss\":1,\"heads\":{{\"one\":{{\"top1\":{top1},\"top5\":1}}}}}}"
            );
        }
        lines.push_str("{\"epoch\":11,\"heads\":{\"one\":{\"top1\":0.2}}}\n{\"epoch\":12,\"he");
        let found = accuracies(&lines);
        assert_eq!(found.len(), 1);
        let one = found["one"];
        assert_eq!((one.best, one.last), (0.9, 0.2));
        assert!((one.median - 0.075).abs() < 1e-12, "{one:?}");
    }

    #[test]
    fn the_table_has_a_row_per_head() {
        let accuracy = Accuracy { best: 50.0, last: 25.0, median: 37.5 };
        let heads = BTreeMap::from([("k.one".to_string(), accuracy)]);
        let text = table(
            &[("amix", Outcome { heads, seconds: Some(90.0) }), ("vanilla", Outcome::default())],
            &BUDGET,
        );
        assert!(text.contains("| amix | k.one | 37.50 % | 50.00 % | 25.00 % | 1.5 min |"), "{text}");
        assert!(text.contains("| vanilla | - |"), "{text}");
    }
}
