//! `compare --ssl`: self-supervised methods at one equal budget on CIFAR-10 without labels, then what their features are
//! worth. Beside them an encoder that is not trained, and the loss of the mixtures alone, told by keys of the other view or
//! of the same one, which degenerates (AMix paper, Fig. 2b).
//!
//! It can be stopped at any time and started again: runs and evaluations that are finished are kept.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::clock::Clock;
use crate::compare::CompareArgs;
use crate::metrics;
use crate::repo::Repo;
use crate::setup;
use crate::training::{self, RECIPES, Run};
use crate::usage::Usage;

/// One thing to compare.
#[derive(Debug, PartialEq)]
struct Method {
    name: &'static str,
    /// The recipe.
    recipe: &'static str,
    kind: Kind,
    /// What it overrides besides [`OVERRIDES`].
    more: &'static [&'static str],
}

/// What a method's recipe has.
#[derive(Debug, PartialEq)]
enum Kind {
    /// A momentum encoder and a queue of its keys.
    Queue,
    /// Heads on clusters besides.
    Clusters,
    /// Neither.
    Views,
}

/// A learning rate at which no weight moves: what is left are BatchNorms that know the data.
const UNTRAINED: &[&str] = &["epochs=1", "optimizer.lr=1e-30", "evaluate.every=1"];

const fn queue(name: &'static str, recipe: &'static str, more: &'static [&'static str]) -> Method {
    Method { name, recipe, kind: Kind::Queue, more }
}

const fn views(name: &'static str, more: &'static [&'static str]) -> Method {
    Method { name, recipe: name, kind: Kind::Views, more }
}

const METHODS: &[Method] = &[
    queue("untrained", "moco", UNTRAINED),
    queue("moco", "moco", &[]),
    queue("moco_mixup", "moco_mixup", &[]),
    queue("amix_i", "amix_i", &[]),
    Method { name: "amix_c", recipe: "amix_c", kind: Kind::Clusters, more: &[] },
    queue("mix_only_cross_view", "moco_mixup", &["weights.moco=0.0"]),
    queue("mix_only_same_view", "moco_mixup", &["weights.moco=0.0", "params.pipeline=\"same\""]),
    queue(
        "mochi",
        "mochi",
        &["params={\"hard\": 256.0, \"pairs\": 128.0, \"with_query\": 64.0, \"warm\": 2.0}"],
    ),
    queue("imix", "imix", &["neck.norm=true"]),
    queue("unmix", "unmix", &[]),
    queue("bsim", "bsim", &[]),
    queue("wbsim", "wbsim", &[]),
    // A batch of 64 is fewer than the prototypes, so that earlier embeddings take part in the codes.
    views(
        "swav",
        &[
            "neck=Mlp(hidden: 512, out: 128, norm: true)",
            "embedding_heads={\"prototypes\": (out: 100, prototypes: true)}",
            "queues={\"store0\": (length: 512), \"store1\": (length: 512)}",
            "params={\"stored\": true, \"stored_from\": 1.0}",
        ],
    ),
    views("simclr", &["neck=Mlp(hidden: 512, out: 128, norm: true)"]),
    views(
        "byol",
        &[
            "neck=Mlp(hidden: 512, out: 128, norm: true)",
            "embedding_heads={\"predictor\": (out: 128, hidden: 512)}",
        ],
    ),
    views(
        "simsiam",
        &[
            "neck=Mlp(hidden: 512, out: 512, norm: true, out_norm: true)",
            "embedding_heads={\"predictor\": (out: 512, hidden: 128)}",
        ],
    ),
    views("barlow_twins", &["neck=Mlp(hidden: 512, out: 512, norm: true, layers: 3)"]),
];

/// What every run overrides; the names in braces are options.
const OVERRIDES: &[&str] = &[
    "model.width={width}",
    "epochs={epochs}",
    "data.per_class={per_class}",
    "batch={batch}",
    "optimizer.lr={lr}",
    "evaluate.every={every}",
    "log_every=100",
];

impl Kind {
    /// What runs of this kind override too. The queue holds keys of less than an epoch, and k follows q within it; clusters
    /// are of few images.
    fn overrides(&self) -> &'static [&'static str] {
        match self {
            Self::Queue => &[
                "bn_groups={bn_groups}",
                "neck=Mlp(hidden: 512, out: 128)",
                "queues.keys.length=2048",
                "pairs=[(from: \"q\", to: \"k\", when: BeforeStep, momentum: 0.99)]",
            ],
            Self::Clusters => &[
                "bn_groups={bn_groups}",
                "neck=Mlp(hidden: 512, out: 128)",
                "queues.keys.length=2048",
                "pairs=[(from: \"q\", to: \"k\", when: BeforeStep, momentum: 0.99), (from: \"online\", to: \"offline\", when: BeforeStep, copy: true)]",
                "clusterers.odc=Odc(k: 100, min_size: 10)",
            ],
            Self::Views => &[],
        }
    }
}

/// What one run may spend; equal for all.
#[derive(Debug)]
struct Budget {
    width: f64,
    epochs: usize,
    per_class: usize,
    batch: usize,
    lr: f64,
    bn_groups: usize,
    every: usize,
}

impl Budget {
    /// All overrides of `method`, as `path=value`. Of two for one field the later one counts.
    fn overrides(&self, method: &Method) -> Vec<String> {
        let fill = |template: &&str| {
            template
                .replace("{width}", &self.width.to_string())
                .replace("{epochs}", &self.epochs.to_string())
                .replace("{per_class}", &self.per_class.to_string())
                .replace("{batch}", &self.batch.to_string())
                .replace("{lr}", &self.lr.to_string())
                .replace("{bn_groups}", &self.bn_groups.to_string())
                .replace("{every}", &self.every.to_string())
        };
        OVERRIDES.iter().chain(method.kind.overrides()).chain(method.more).map(fill).collect()
    }
}

/// What is known of one run.
#[derive(Debug, Default)]
struct Outcome {
    /// Top-1 in percent, by protocol.
    top1: BTreeMap<String, f64>,
    /// That of the k nearest neighbours while it was trained, by epoch.
    curve: BTreeMap<u64, f64>,
    seconds: Option<f64>,
}

/// Trains and measures what is not done yet, and prints a table.
///
/// # Errors
/// The build or a run fails.
pub fn run(repo: &Repo, args: &CompareArgs) -> Result<()> {
    let out = repo.root().join(args.out.as_deref().unwrap_or(Path::new("runs/compare_ssl")));
    let methods = methods(args.methods.as_deref())?;
    let epochs = args.epochs.unwrap_or(40);
    let budget = Budget {
        width: args.width,
        epochs,
        per_class: args.per_class,
        batch: args.batch,
        lr: args.lr,
        bn_groups: args.bn_groups,
        every: (epochs / 4).max(1),
    };

    setup::ensure_done(repo)?;
    let admix = repo.build_admix(args.profile())?;
    training::import(repo, &admix, &args.data(repo))?;
    let mut outcomes = Vec::new();
    for method in &methods {
        let recipe = format!("{RECIPES}/{}.ron", method.recipe);
        let run = Run { name: method.name, recipe, overrides: budget.overrides(method) };
        training::train(repo, &admix, &run, &out, &args.passed_on, Clock::new(None))?;
        let folder = out.join(method.name);
        let mut outcome = read(&folder)?;
        for protocol in &args.protocols {
            let top1 = evaluate(repo, &admix, &folder, protocol, &args.passed_on)?;
            println!("{}: {protocol} {top1:.2} %", method.name);
            outcome.top1.insert(protocol.clone(), top1);
        }
        outcomes.push((method.name, outcome));
    }
    let table = table(&outcomes, &budget);
    let file = out.join("table.md");
    fs::write(&file, &table).with_context(|| format!("cannot write {}", file.display()))?;
    println!("\n{table}\nwritten to {}", file.display());
    Ok(())
}

/// The methods of these names, or all.
fn methods(names: Option<&[String]>) -> Result<Vec<&'static Method>> {
    let Some(names) = names else { return Ok(METHODS.iter().collect()) };
    let find = |name: &str| {
        METHODS.iter().find(|method| method.name == name).ok_or_else(|| {
            let known: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
            Usage(format!("compare --ssl: the methods are {}, not `{name}`", known.join(", "))).into()
        })
    };
    names.iter().map(|name| find(name)).collect()
}

/// Top-1 of a finished run by a protocol, in percent. What `admix eval` printed stays beside the run.
fn evaluate(repo: &Repo, admix: &Path, folder: &Path, protocol: &str, passed_on: &[String]) -> Result<f64> {
    let file = folder.join(format!("eval_{protocol}.json"));
    if let Some(top1) = fs::read_to_string(&file).ok().and_then(|text| top1(&text)) {
        return Ok(top1);
    }
    let eval = repo.program(admix).arg("eval").arg(folder).args(["--protocol", protocol, "--format", "json"]);
    let text = String::from_utf8_lossy(&eval.args(passed_on).output()?).into_owned();
    let found = top1(&text).with_context(|| format!("`admix eval --protocol {protocol}` told no top-1"))?;
    fs::write(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(found)
}

/// The top-1 in what `admix eval --format json` prints: that of its one head.
fn top1(text: &str) -> Option<f64> {
    let facts: Value = serde_json::from_str(text).ok()?;
    facts["heads"].as_object()?.values().next()?["top1"].as_f64()
}

/// What the run in `folder` wrote.
fn read(folder: &Path) -> Result<Outcome> {
    let text = |name: &str| {
        let file = folder.join(name);
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    let run: Value = serde_json::from_str(&text("run.json")?).context("run.json")?;
    let mut curves = metrics::curves(&text("metrics.jsonl")?);
    Ok(Outcome {
        curve: curves.remove("knn_q").unwrap_or_default(),
        seconds: metrics::seconds(&metrics::flatten(&run)),
        ..Outcome::default()
    })
}

/// The result in Markdown.
fn table(outcomes: &[(&str, Outcome)], budget: &Budget) -> String {
    let protocols: Vec<&String> =
        outcomes.first().map_or(Vec::new(), |(_, first)| first.top1.keys().collect());
    let names: Vec<String> = protocols.iter().map(|name| format!(" {name} |")).collect();
    let mut text = format!(
        "CIFAR-10 without labels, ResNet-18 width {}, {} training images per class, {} epochs, batch {}, lr {}. Top-1 test \
         accuracy.\n\n| method |{} k-NN by epoch | wall time |\n|---|{}---|---|\n",
        budget.width,
        budget.per_class,
        budget.epochs,
        budget.batch,
        budget.lr,
        names.concat(),
        "---|".repeat(protocols.len()),
    );
    for (method, outcome) in outcomes {
        let cells: Vec<String> = outcome.top1.values().map(|top1| format!(" {top1:.2} |")).collect();
        let curve: Vec<String> =
            outcome.curve.iter().map(|(epoch, top1)| format!("{epoch}: {top1:.1}")).collect();
        let time = outcome.seconds.map_or("-".into(), |s| format!("{:.1} min", s / 60.0));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {method} |{} {} | {time} |", cells.concat(), curve.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget =
        Budget { width: 0.25, epochs: 40, per_class: 500, batch: 64, lr: 0.06, bn_groups: 8, every: 10 };

    #[test]
    fn all_methods_have_the_same_budget() {
        for method in METHODS {
            let overrides = BUDGET.overrides(method);
            for shared in ["model.width=0.25", "epochs=40", "data.per_class=500", "batch=64"] {
                assert!(overrides.iter().any(|s| s == shared), "{}: {shared}", method.name);
            }
            assert!(overrides.iter().all(|s| !s.contains("{width") && !s.contains("{e")), "{overrides:?}");
            assert_eq!(overrides.iter().any(|s| s.starts_with("clusterers")), method.name == "amix_c");
        }
    }

    #[test]
    fn an_unknown_method_is_refused_with_those_known() {
        assert_eq!(methods(Some(&["moco".into(), "amix_i".into()])).unwrap().len(), 2);
        let message = methods(Some(&["dino".into()])).unwrap_err().to_string();
        assert!(message.contains("amix_c, ") && message.contains("`dino`"), "{message}");
    }

    #[test]
    fn the_table_tells_every_protocol_and_the_curve() {
        let top1 = BTreeMap::from([("knn".to_string(), 30.0), ("linear-cached".to_string(), 40.5)]);
        let curve = BTreeMap::from([(10, 20.0), (20, 30.0)]);
        let text = table(&[("moco", Outcome { top1, curve, seconds: Some(90.0) })], &BUDGET);
        assert!(
            text.contains(
                "| method | knn | linear-cached | k-NN by epoch | wall time |\n|---|---|---|---|---|\n"
            ),
            "{text}"
        );
        assert!(text.ends_with("| moco | 30.00 | 40.50 | 10: 20.0, 20: 30.0 | 1.5 min |\n"), "{text}");
    }

    #[test]
    fn the_accuracy_is_that_of_the_one_head() {
        assert_eq!(top1("{\"step\": 3, \"heads\": {\"knn_q\": {\"top1\": 31.5, \"top5\": 80}}}"), Some(31.5));
        assert_eq!(top1("{\"heads\": {}}"), None);
        assert_eq!(top1("error"), None);
    }
}
