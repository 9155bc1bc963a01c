//! `admix eval`: measures a trained run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use admix_api::{Entry, Registry, Seed, Streams, same_name};
use admix_data::{Dataset, Split, TrainSplit};
use admix_engine::{
    Accuracy, ByLambda, Images, MixerReport, Probe, Recipe, Session, evaluate, measure, mixer_report,
};
use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::de::DeserializeSeed;
use serde_json::{Map, Value, json};

use crate::checkpoints;
use crate::device::DeviceArgs;
use crate::failure::bad_input;
use crate::libraries;
use crate::output::{self, Format};
use crate::recipes::Changes;
use crate::signals::ParentArgs;

/// Protocols that measure no features. Every probe of the registry is one as well.
const PROTOCOLS: [(&str, &str); 2] = [
    ("test", "accuracy of every head on the test set"),
    ("mixer", "how the masks of trained mixers look, and how hard their images are"),
];

/// Flags of `admix eval`.
#[derive(Args)]
pub struct EvalArgs {
    /// A run folder (its newest good checkpoint is used), or a checkpoint.
    run: PathBuf,
    /// What to measure: test, the accuracy of every head; mixer, the masks of its mixers; or the features of one network
    /// by a probe: knn, linear, linear-cached, or another that `admix plugins probe` lists.
    #[arg(long, default_value = "test", value_name = "NAME")]
    protocol: String,
    /// Use the best checkpoint of the run folder instead of the newest.
    #[arg(long)]
    best: bool,
    #[command(flatten)]
    probe: ProbeArgs,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    parent: ParentArgs,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Settings of the protocols that measure features.
#[derive(Args)]
struct ProbeArgs {
    /// knn, linear, linear-cached: the network whose features are measured; the first trained one by default.
    #[arg(long, value_name = "NAME")]
    net: Option<String>,
    /// knn: how many neighbours vote. Default 200.
    #[arg(long, value_name = "N")]
    k: Option<usize>,
    /// knn: a vote weighs exp(cosine / T). Default 0.07.
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// linear: learning rate and steps as in the paper (0.1, or 30 for 1000 classes and more; at 30 and 60 % of the epochs)
    /// or in its code (1, or 30; at 60 and 80 %).
    #[arg(long, value_enum)]
    preset: Option<Preset>,
    /// linear: passes over the training set. Default 100.
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// linear: learning rate of the first epochs, instead of the preset's.
    #[arg(long, value_name = "LR")]
    lr: Option<f64>,
    /// linear: images per step. Default 256.
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Preset {
    Paper,
    Code,
}

impl ProbeArgs {
    /// The settings that the flags give, by name.
    fn settings(&self) -> Vec<(&'static str, Value)> {
        let preset = self.preset.map(|preset| match preset {
            Preset::Paper => "Paper",
            Preset::Code => "Code",
        });
        let all = [
            ("k", self.k.map(Value::from)),
            ("temperature", self.temperature.map(Value::from)),
            ("preset", preset.map(Value::from)),
            ("epochs", self.epochs.map(Value::from)),
            ("lr", self.lr.map(Value::from)),
            ("batch", self.batch.map(Value::from)),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Refuses a flag that the protocol does not heed.
    fn check(&self, protocol: &str, registry: &Registry) -> Result<()> {
        let has = |entry: &Entry, setting: &str| !(entry.schema)()["properties"][setting].is_null();
        let refuse = |flag: &str, heeds: &dyn Fn(&Entry) -> bool| {
            let known: Vec<&str> = registry
                .of::<dyn Probe>()
                .filter(|entry| heeds(entry))
                .map(|entry| entry.name.as_str())
                .collect();
            if known.iter().any(|name| same_name(name, protocol)) {
                return Ok(());
            }
            let known = known.join(" or ");
            Err(bad_input(format!("--{flag} belongs to --protocol {known}, not to {protocol}")))
        };
        for (flag, number) in [("temperature", self.temperature), ("lr", self.lr)] {
            if let Some(number) = number.filter(|number| !number.is_finite()) {
                return Err(bad_input(format!("--{flag} {number}: expected a finite number")));
            }
        }
        for (name, _) in self.settings() {
            refuse(name, &|entry| has(entry, name))?;
        }
        if self.net.is_some() { refuse("net", &|_| true) } else { Ok(()) }
    }
}

/// Measures a trained run.
pub fn eval(args: &EvalArgs) -> Result<()> {
    args.parent.heed()?;
    let device = args.device.open()?;
    let registry = libraries::registry()?;
    let probe_entry = registry.of::<dyn Probe>().find(|entry| same_name(&entry.name, &args.protocol));
    if probe_entry.is_none() && !PROTOCOLS.iter().any(|(name, _)| *name == args.protocol) {
        let mut known: Vec<String> =
            PROTOCOLS.iter().map(|(name, about)| format!("`{name}` ({about})")).collect();
        known.extend(registry.of::<dyn Probe>().map(|entry| format!("`{}` ({})", entry.name, entry.summary)));
        return Err(bad_input(format!("--protocol {}: there is {}", args.protocol, known.join(" and "))));
    }
    args.probe.check(&args.protocol, &registry)?;
    let checkpoint = checkpoints::open(&args.run, args.best, device)?;
    let recipe = checkpoints::recipe(&checkpoint, &args.changes.set, &registry)?;
    let mut data = recipe.data.clone();
    if args.protocol != "test" {
        // Only `test` looks at what was trained on (for BatchNorms of momentum networks); the rest of a large set stays on disk.
        data.split = TrainSplit::Train;
    }
    let mut dataset = Dataset::open(&data, &registry, device, Streams::new(recipe.seed))?;
    if let Some(images) = &checkpoint.header.images
        && images.channels != dataset.info().channels
    {
        return Err(bad_input(format!(
            "the images of `{}` have {} channels, but the networks of {} take {}: measure them on data of as many channels",
            dataset.info().name,
            dataset.info().channels,
            checkpoint.path.display(),
            images.channels
        )));
    }
    // A network takes images as it was trained on them, whatever the statistics of another set are.
    if let Some(own) = &checkpoint.header.images {
        let found = Images::of(&dataset);
        let of_training = |set: &Option<Vec<f64>>, own: &Vec<f64>, found| {
            (set.is_none() && own != found).then(|| own.clone())
        };
        let mean = of_training(&recipe.data.mean, &own.mean, &found.mean);
        let std = of_training(&recipe.data.std, &own.std, &found.std);
        if mean.is_some() || std.is_some() {
            output::note(&format!(
                "the images of `{}` are normalised as those of `{}`, on which the networks were trained; choose other values by \
                 --set data.mean and data.std",
                found.data, own.data
            ));
            (data.mean, data.std) = (mean.or(data.mean), std.or(data.std));
            drop(dataset);
            dataset = Dataset::open(&data, &registry, device, Streams::new(recipe.seed))?;
        }
    }
    if args.protocol == "test" && !recipe.evaluates() {
        return Err(bad_input(
            "--protocol test: the run has no head whose accuracy can be told; measure its features, such as with --protocol knn",
        ));
    }
    if probe_entry.is_none()
        && let Some(own) = checkpoints::classes(&checkpoint)
        && own < dataset.info().classes as i64
    {
        return Err(bad_input(format!(
            "`{}` has {} classes, but the heads of {} tell {own} apart: measure them on data of the same classes, or the \
             features by a probe, such as --protocol knn",
            dataset.info().name,
            dataset.info().classes,
            checkpoint.path.display()
        )));
    }
    if probe_entry.is_none() {
        checkpoint.check_classes(&dataset.info().name, &dataset.info().class_names)?;
    }
    if probe_entry.is_none() && dataset.is_empty(Split::Test) {
        return Err(bad_input(format!(
            "--protocol {}: `{}` has no test images with labels: choose a dataset that has some, --set 'data.name=\"NAME\"'",
            args.protocol,
            dataset.info().name
        )));
    }
    let mut session =
        checkpoints::session(&checkpoint, (&recipe, &args.changes.set), &registry, &dataset, device)?;
    let clock = checkpoint.header.clock;
    let facts = json!({
        "checkpoint": checkpoint.path,
        "step": clock.step,
        "epoch": clock.epoch,
        "data": dataset.info().name,
    });
    let title = format!(
        "{} (step {}, epoch {} of {}) on {}",
        checkpoint.path.display(),
        output::thousands(clock.step),
        clock.epoch,
        clock.epochs,
        dataset.info().name
    );
    if args.protocol == "mixer" {
        let reports = mixers(&mut session, &dataset, &recipe)?;
        return match args.format {
            Format::Json => output::print_json(&with(facts, "mixers", &reports)?),
            Format::Text => output::print(&format!("{title}\n{}", mixer_table(&reports))),
        };
    }
    if let Some(entry) = probe_entry {
        return probe(args, (entry, &registry), &session, &dataset, &recipe, facts, &title);
    }
    let heads = evaluate(&mut session, &dataset, &recipe, None)?;
    match args.format {
        Format::Json => output::print_json(&with(facts, "heads", &heads)?),
        Format::Text => output::print(&format!("{title}\n{}", head_table(&heads))),
    }
}

/// Measures the features of one network.
fn probe(
    args: &EvalArgs,
    (entry, registry): (&Entry, &Registry),
    session: &Session,
    dataset: &Dataset,
    recipe: &Recipe,
    mut facts: Value,
    title: &str,
) -> Result<()> {
    let net = args.probe.net.as_deref();
    let net_name = net.map_or_else(|| recipe.nets.first().cloned().unwrap_or_default(), str::to_string);
    let mut settings: Map<String, Value> =
        args.probe.settings().into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    let chosen = args.changes.set.iter().any(|change| change.path.starts_with("data.augment"));
    if chosen && !(entry.schema)()["properties"]["augment"].is_null() {
        settings.insert("augment".into(), "Recipe".into());
    }
    let refuse = |why: &dyn std::fmt::Display| bad_input(format!("--protocol {}: {why}", entry.name));
    let probe = Seed::<dyn Probe>::of(registry)
        .deserialize(json!({ &entry.name: settings }))
        .map_err(|error| refuse(&error))?;
    probe.validate().map_err(|error| refuse(&error))?;
    let epochs = probe.config.epochs().unwrap_or_default();
    let mut after = |epoch: u64, accuracy: &Accuracy| {
        if epoch == 1 || epoch.is_multiple_of(10) {
            output::note(&format!("epoch {epoch} of {epochs}: top-1 {}", output::percent(accuracy.top1, 2)));
        }
    };
    let found = measure(&probe, session, dataset, recipe, net, &mut after)?;
    facts["settings"] = probe.config.resolved();
    for (name, value) in found.decided {
        facts["settings"][name] = value;
    }
    let mut note = String::new();
    if let Some(best) = found.best_top1 {
        facts["best_top1"] = best.into();
        note = format!("\nbest top-1 of all {epochs} epochs: {}", output::percent(best, 2));
    }
    facts["protocol"] = entry.name.clone().into();
    facts["network"] = net_name.clone().into();
    let heads = BTreeMap::from([(format!("{}_{net_name}", entry.name), found.accuracy)]);
    match args.format {
        Format::Json => output::print_json(&with(facts, "heads", &heads)?),
        Format::Text => {
            let feature = format!("features: the last stage of `{net_name}`, averaged over its cells");
            output::print(&format!("{title}\n{}\n{feature}{note}", head_table(&heads)))
        }
    }
}

fn with(
    mut facts: serde_json::Value,
    name: &str,
    value: &impl serde::Serialize,
) -> Result<serde_json::Value> {
    facts[name] = serde_json::to_value(value)?;
    Ok(facts)
}

fn head_table(heads: &BTreeMap<String, Accuracy>) -> String {
    let mut rows = vec![["head", "top-1", "top-5", "loss", "images"].map(String::from).to_vec()];
    rows.extend(heads.iter().map(|(name, head)| {
        vec![
            name.clone(),
            output::percent(head.top1, 2),
            output::percent(head.top5, 2),
            format!("{:.4}", head.loss),
            output::thousands(head.images as u64),
        ]
    }));
    output::table(&rows)
}

/// A report for every mixer with a mask.
type Reports = BTreeMap<String, ByLambda>;

fn mixers(session: &mut Session, dataset: &Dataset, recipe: &Recipe) -> Result<Reports> {
    let mut reports = Reports::new();
    for (name, _) in &recipe.mixers {
        let picked = session.mixers_of(name)?;
        if !picked.contains(name) {
            output::note(&format!(
                "`{name}` picks among {}, which are measured themselves",
                picked.join(", ")
            ));
            continue;
        }
        match mixer_report(session, dataset, recipe, name, usize::MAX)? {
            Some(report) => drop(reports.insert(name.clone(), report)),
            None => output::note(&format!("`{name}` has no mask to measure")),
        }
    }
    if reports.is_empty() {
        return Err(bad_input(format!("--protocol mixer: {} has no mixer with a mask", recipe.place())));
    }
    Ok(reports)
}

fn mixer_table(reports: &Reports) -> String {
    let heading = [
        "mixer",
        "lambda",
        "mask std",
        "|mean - lambda|",
        "worst",
        "loss on mixes",
        "loss on MixUp",
        "pairs",
    ];
    let mut rows = vec![heading.map(String::from).to_vec()];
    for (mixer, by_lambda) in reports {
        let row = |lambda: &str, r: &MixerReport| {
            let losses = r.losses.map_or([None; 2], |of| [Some(of.loss_mixed), Some(of.loss_mixup)]);
            let figures = [Some(r.mask_std), Some(r.mean_gap), Some(r.worst_gap), losses[0], losses[1]]
                .map(|value| value.map_or("-".into(), |value| format!("{value:.4}")));
            [
                vec![mixer.clone(), lambda.to_string()],
                figures.to_vec(),
                vec![output::thousands(r.pairs as u64)],
            ]
            .concat()
        };
        rows.extend(by_lambda.iter().map(|(lambda, report)| row(lambda, report)));
        rows.push(row("all", &MixerReport::mean(by_lambda)));
    }
    output::table(&rows)
}

#[cfg(test)]
mod tests {
    use admix_engine::MixLosses;

    use super::*;

    #[test]
    fn the_last_row_of_a_mixer_is_over_all_lambdas() {
        let report = |std: f64, worst_gap: f64| MixerReport {
            mask_std: std,
            mean_gap: 0.1,
            worst_gap,
            losses: Some(MixLosses { loss_mixed: 1.0, loss_mixup: 2.0 }),
            pairs: 1000,
        };
        let by_lambda = BTreeMap::from([("0.1".into(), report(0.1, 0.3)), ("0.5".into(), report(0.3, 0.2))]);
        let text = mixer_table(&Reports::from([("amix".into(), by_lambda)]));
        let last: Vec<&str> = text.lines().last().expect("a row").split_whitespace().collect();
        assert_eq!(last, ["amix", "all", "0.2000", "0.1000", "0.3000", "1.0000", "2.0000", "2,000"]);
    }
}
