//! `admix eval`: measures a trained run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use admix_api::Streams;
use admix_data::{Dataset, Split};
use admix_engine::{Accuracy, MixerReport, Recipe, Session, evaluate, mixer_report};
use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::checkpoints;
use crate::device::DeviceArgs;
use crate::failure::bad_input;
use crate::libraries;
use crate::output::{self, Format};
use crate::recipes::Changes;
use crate::samples;

/// What `--protocol` may be.
const PROTOCOLS: [(&str, &str); 2] = [
    ("test", "accuracy of every head on the test set"),
    ("mixer", "how the masks of trained mixers look, and how hard their images are"),
];

/// Flags of `admix eval`.
#[derive(Args)]
pub struct EvalArgs {
    /// A run folder (its newest good checkpoint is used), or a checkpoint.
    run: PathBuf,
    /// What to measure: test, the accuracy of every head; mixer, the masks of its mixers.
    #[arg(long, default_value = "test", value_name = "NAME")]
    protocol: String,
    /// Use the best checkpoint of the run folder instead of the newest.
    #[arg(long)]
    best: bool,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    device: DeviceArgs,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Measures a trained run.
pub fn eval(args: &EvalArgs) -> Result<()> {
    if !PROTOCOLS.iter().any(|(name, _)| *name == args.protocol) {
        let known: Vec<String> =
            PROTOCOLS.iter().map(|(name, about)| format!("`{name}` ({about})")).collect();
        return Err(bad_input(format!("--protocol {}: there is {}", args.protocol, known.join(" and "))));
    }
    let device = args.device.open()?;
    let registry = libraries::registry()?;
    let checkpoint = checkpoints::open(&args.run, args.best, device)?;
    let recipe = checkpoints::recipe(&checkpoint, &args.changes.set, &registry)?;
    let dataset = Dataset::open(&recipe.data, device, Streams::new(recipe.seed))?;
    let mut session = checkpoints::session(&checkpoint, &recipe, &registry, &dataset, device)?;
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
    let heads = evaluate(&session, &dataset, &recipe)?;
    match args.format {
        Format::Json => output::print_json(&with(facts, "heads", &heads)?),
        Format::Text => output::print(&format!("{title}\n{}", head_table(&heads))),
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
            format!("{:.2} %", head.top1),
            format!("{:.2} %", head.top5),
            format!("{:.4}", head.loss),
            output::thousands(head.images as u64),
        ]
    }));
    output::table(&rows)
}

/// A report for every mixer with a mask, by lambda.
type Reports = BTreeMap<String, BTreeMap<String, MixerReport>>;

fn mixers(session: &mut Session, dataset: &Dataset, recipe: &Recipe) -> Result<Reports> {
    let names: Vec<String> = recipe.mixers.iter().map(|(name, _)| name.clone()).collect();
    // The head that learned from mixes, if the recipe tells it apart.
    let head = recipe.heads.iter().find(|name| *name == "mix").or(recipe.heads.last());
    let head = head.ok_or_else(|| bad_input("the recipe has no head"))?;
    let mut reports = Reports::new();
    for name in &names {
        let picked = session.mixers_of(name)?;
        if !picked.contains(name) {
            output::note(&format!(
                "`{name}` picks among {}, which are measured themselves",
                picked.join(", ")
            ));
            continue;
        }
        if !has_mask(session, dataset, name)? {
            output::note(&format!("`{name}` has no mask to measure"));
            continue;
        }
        let mut by_lambda = BTreeMap::new();
        for lambda in samples::LAMBDAS {
            by_lambda.insert(lambda.to_string(), mixer_report(session, dataset, name, head, &[lambda])?);
        }
        reports.insert(name.clone(), by_lambda);
    }
    if reports.is_empty() {
        return Err(bad_input(format!("--protocol mixer: {} has no mixer with a mask", recipe.file)));
    }
    Ok(reports)
}

fn has_mask(session: &mut Session, dataset: &Dataset, mixer: &str) -> Result<bool> {
    let batch = dataset.clean_batch(Split::Test, 0, 2.min(dataset.len(Split::Test)))?;
    let images = batch.images;
    let partner: Vec<i64> = (0..images.size()[0]).rev().collect();
    let plan = session.plan_for(mixer, &images, 0.5, &partner, &mut samples::draws(0, mixer))?;
    Ok(session.mix(mixer, &images, &batch.labels, &plan)?.mask.is_some())
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
            let figures =
                [r.mask_std, r.mean_gap, r.worst_gap, r.loss_mixed, r.loss_mixup].map(|v| format!("{v:.4}"));
            [
                vec![mixer.clone(), lambda.to_string()],
                figures.to_vec(),
                vec![output::thousands(r.pairs as u64)],
            ]
            .concat()
        };
        rows.extend(by_lambda.iter().map(|(lambda, report)| row(lambda, report)));
        rows.push(row("all", &mean(by_lambda)));
    }
    output::table(&rows)
}

fn mean(reports: &BTreeMap<String, MixerReport>) -> MixerReport {
    let of = |value: fn(&MixerReport) -> f64| {
        reports.values().map(value).sum::<f64>() / reports.len().max(1) as f64
    };
    MixerReport {
        mask_std: of(|r| r.mask_std),
        mean_gap: of(|r| r.mean_gap),
        worst_gap: reports.values().map(|r| r.worst_gap).fold(0.0, f64::max),
        loss_mixed: of(|r| r.loss_mixed),
        loss_mixup: of(|r| r.loss_mixup),
        pairs: reports.values().map(|r| r.pairs).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_of_a_mixer_is_over_all_lambdas() {
        let report = |std: f64, worst_gap: f64| MixerReport {
            mask_std: std,
            mean_gap: 0.1,
            worst_gap,
            loss_mixed: 1.0,
            loss_mixup: 2.0,
            pairs: 1000,
        };
        let by_lambda = BTreeMap::from([("0.1".into(), report(0.1, 0.3)), ("0.5".into(), report(0.3, 0.2))]);
        let text = mixer_table(&Reports::from([("amix".into(), by_lambda)]));
        let last: Vec<&str> = text.lines().last().expect("a row").split_whitespace().collect();
        assert_eq!(last, ["amix", "all", "0.2000", "0.1000", "0.3000", "1.0000", "2.0000", "2,000"]);
    }
}
