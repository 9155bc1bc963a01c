//! `compare`: the methods at one equal budget on CIFAR-10, and a table of what came out.
//!
//! It can be stopped at any time and started again: finished runs are kept, the interrupted one resumes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::args::Args;
use crate::compare_ssl;
use crate::repo::{Profile, Repo};
use crate::setup;

/// The dataset's name, and its archive among the shared material.
pub const DATASET: (&str, &str) = ("cifar10", "data/cifar10-jpeg.tar.xz");
/// The recipes, `<name>.ron` in this folder.
pub const RECIPES: &str = "configs/cifar10/r18";
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
/// Marks a run in `run.json` as finished: key and value.
const FINISHED: (&str, &str) = ("status", "done");
/// Where `run.json` has the seconds the whole run took; the first key found counts.
const SECONDS: &[&str] = &["timings.total_s", "wall_s"];
/// An accuracy in `metrics.jsonl` is a number whose flattened key begins and ends like this; between the two
/// stands the name of the head.
const ACCURACY: (&str, &str) = ("heads.", ".top1");

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

/// Runs `compare`.
pub fn run(repo: &Repo, mut args: Args) -> Result<()> {
    if args.switch("--ssl") {
        return compare_ssl::run(repo, args);
    }
    let data = args.value("--data")?.map_or_else(|| repo.shared().join(DATASET.1), PathBuf::from);
    let out = repo.root().join(args.value("--out")?.unwrap_or_else(|| "runs/compare".into()));
    let methods = args.value("--methods")?.unwrap_or_else(|| METHODS.into());
    let methods: Vec<&str> = methods.split(',').collect();
    let budget = Budget {
        width: args.parsed("--width", 0.25)?,
        epochs: args.parsed("--epochs", 12)?,
        per_class: args.parsed("--per-class", 500)?,
    };
    let profile = if args.switch("--release") { Profile::Release } else { Profile::Dev };
    let passed_on = args.after_dashes();
    args.finish()?;

    setup::ensure_done(repo)?;
    let admix = repo.build_admix(profile)?;
    import(repo, &admix, &data)?;
    for method in &methods {
        let run = Run {
            name: method,
            recipe: format!("{RECIPES}/{method}.ron"),
            overrides: budget.overrides(method),
        };
        train(repo, &admix, &run, &out, &passed_on)?;
    }
    let mut outcomes = Vec::new();
    for method in &methods {
        outcomes.push((*method, read(&out.join(method))?));
    }
    let mut table = table(&outcomes, &budget);
    for method in methods.iter().filter(|m| is_learned(m)) {
        let masks = repo.program(&admix).arg("eval").arg(out.join(method)).args(["--protocol", "mixer"]);
        let masks = masks.args(&passed_on).output()?;
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

/// Imports the dataset unless it is there.
pub fn import(repo: &Repo, admix: &Path, data: &Path) -> Result<()> {
    if repo.program(admix).args(["data", "info", DATASET.0]).try_output().is_some() {
        return Ok(());
    }
    ensure!(
        data.exists(),
        "{} is not there: name the archive or folder of CIFAR-10 with --data",
        data.display()
    );
    repo.program(admix).args(["data", "import"]).arg(data).args(["--name", DATASET.0]).run()
}

/// A run of the comparison.
#[derive(Debug)]
pub struct Run<'a> {
    /// Its name, and that of its folder.
    pub name: &'a str,
    /// The recipe's file.
    pub recipe: String,
    /// What it overrides in the recipe, as `path=value`.
    pub overrides: Vec<String>,
}

/// Trains one method unless it is finished.
pub fn train(repo: &Repo, admix: &Path, run: &Run<'_>, out: &Path, passed_on: &[String]) -> Result<()> {
    let Run { name, recipe, overrides } = run;
    let folder = out.join(name);
    same_settings(out, name, &[&overrides[..], passed_on].concat())?;
    if is_finished(&folder) {
        println!("{name}: finished already");
        return Ok(());
    }
    let mut cmd = repo.program(admix).arg("run").arg(recipe).arg("--out").arg(&folder);
    for setting in overrides {
        cmd = cmd.args(["--set", setting]);
    }
    cmd = cmd.args(passed_on);
    if is_begun(&folder) {
        cmd = cmd.arg("--resume");
    }
    println!("{}", cmd.line());
    cmd.run_interruptible()
}

/// Refuses to mix runs of two budgets in one folder.
fn same_settings(out: &Path, method: &str, overrides: &[String]) -> Result<()> {
    let file = out.join(format!("{method}.settings"));
    let wanted = overrides.join("\n") + "\n";
    match fs::read_to_string(&file) {
        Ok(found) => ensure!(
            found == wanted,
            "{} was begun with other settings ({}): choose another --out",
            out.join(method).display(),
            found.split_whitespace().collect::<Vec<_>>().join(" ")
        ),
        Err(_) => {
            fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
            fs::write(&file, wanted).with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    Ok(())
}

/// True if the run in `folder` says that it is done.
pub fn is_finished(folder: &Path) -> bool {
    let read = || serde_json::from_str::<Value>(&fs::read_to_string(folder.join("run.json")).ok()?).ok();
    read().is_some_and(|run| run[FINISHED.0] == FINISHED.1)
}

/// True if a run was begun in `folder`, with or without a checkpoint: then only `--resume` goes on there.
pub fn is_begun(folder: &Path) -> bool {
    let has = |name: &str| fs::read_dir(folder.join(name)).is_ok_and(|mut entries| entries.next().is_some());
    folder.join("lock").is_file() || has("checkpoints")
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

/// The wall time of a run, from its flattened `run.json`.
pub fn seconds(run: &BTreeMap<String, f64>) -> Option<f64> {
    SECONDS.iter().find_map(|key| run.get(*key).copied())
}

/// The accuracies of every head in the lines of a `metrics.jsonl`, by epoch. A line that was cut by a crash is passed
/// over: the run that resumed wrote it again. A resumed run may write an epoch twice, and then the later line counts.
pub fn curves(lines: &str) -> BTreeMap<String, BTreeMap<u64, f64>> {
    let mut series: BTreeMap<String, BTreeMap<u64, f64>> = BTreeMap::new();
    for (number, line) in lines.lines().enumerate() {
        let Ok(record) = serde_json::from_str::<Value>(line) else { continue };
        let epoch = record["epoch"].as_u64().unwrap_or(number as u64);
        for (key, value) in flatten(&record) {
            if let Some(head) = key.strip_prefix(ACCURACY.0).and_then(|k| k.strip_suffix(ACCURACY.1)) {
                series.entry(head.to_string()).or_default().insert(epoch, value);
            }
        }
    }
    series
}

/// Best, last and median accuracy of every head.
fn accuracies(lines: &str) -> BTreeMap<String, Accuracy> {
    let series = curves(lines);
    let summary = |values: Vec<f64>| Accuracy {
        best: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        last: values[values.len() - 1],
        median: crate::bench::median(&values[values.len().saturating_sub(LAST)..]),
    };
    series.into_iter().map(|(head, values)| (head, summary(values.into_values().collect()))).collect()
}

/// All numbers in `value`, by their path with dots between the keys.
pub fn flatten(value: &Value) -> BTreeMap<String, f64> {
    fn walk(value: &Value, path: &str, out: &mut BTreeMap<String, f64>) {
        match value {
            Value::Object(fields) => {
                for (key, inner) in fields {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(inner, &path, out);
                }
            }
            other => {
                if let Some(number) = other.as_f64() {
                    out.insert(path.to_string(), number);
                }
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(value, "", &mut out);
    out
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
    use crate::scratch::Scratch;

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

    #[test]
    fn a_folder_of_another_budget_is_refused() {
        let out = Scratch::new(&std::env::temp_dir(), "compare-test").unwrap();
        same_settings(out.path(), "amix", &["epochs=1".into()]).unwrap();
        same_settings(out.path(), "amix", &["epochs=1".into()]).unwrap();
        let error = same_settings(out.path(), "amix", &["epochs=2".into()]).unwrap_err();
        assert!(error.to_string().contains("epochs=1"), "{error}");
    }

    #[test]
    fn a_run_is_finished_when_it_says_so() {
        let out = Scratch::new(&std::env::temp_dir(), "finished-test").unwrap();
        assert!(!is_finished(out.path()) && !is_begun(out.path()));
        fs::write(out.path().join("run.json"), "{\"status\":\"running\"}").unwrap();
        assert!(!is_finished(out.path()));
        fs::write(out.path().join("run.json"), "{\"status\":\"done\"}").unwrap();
        assert!(is_finished(out.path()));
    }
}
