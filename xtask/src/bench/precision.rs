//! The part `precision` of `bench gpu`: losses in bf16 are those in float32, but for what another seed does to them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::limits::{Limit, Row};
use crate::clock::Clock;
use crate::measure::range;
use crate::metrics;
use crate::parallel;
use crate::repo::Repo;
use crate::training::{self, Run};

/// Runs of each precision.
const SEEDS: u64 = 3;
/// The most that the precisions may be apart, in the spread of seeds.
const MOST: f64 = 1.0;

/// What is trained.
#[derive(Debug)]
pub struct Ask {
    pub recipe: &'static str,
    /// Overrides of the recipe, as `path=value`.
    pub overrides: Vec<String>,
    /// The two precisions: a name, and the flags of `admix run`.
    pub sides: [(&'static str, Vec<String>); 2],
    pub out: PathBuf,
}

/// Mean loss of each term, by epoch.
type Curves = BTreeMap<String, BTreeMap<u64, f64>>;

/// Trains what is not trained yet, so many runs at a time: a table, and how far the precisions are apart in each loss.
///
/// # Errors
/// A run fails or is out of time, or its folder cannot be read.
pub fn measure(
    repo: &Repo,
    admix: &Path,
    ask: &Ask,
    jobs: usize,
    clock: Clock,
) -> Result<(String, Vec<Row>)> {
    let wanted: Vec<(usize, u64)> = (1..=SEEDS).flat_map(|seed| [(0, seed), (1, seed)]).collect();
    let trained = parallel::each(&wanted, jobs, |(side, seed)| {
        let (name, flags) = &ask.sides[*side];
        let name = format!("{name}_{seed}");
        let overrides = ask.overrides.iter().cloned().chain([format!("seed={seed}")]).collect();
        let run = Run { name: &name, recipe: ask.recipe.into(), overrides };
        training::train(repo, admix, &run, &ask.out, flags, clock)?;
        let file = ask.out.join(&name).join("metrics.jsonl");
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    });
    let mut found = [Vec::new(), Vec::new()];
    for ((side, _), text) in wanted.iter().zip(trained) {
        found[*side].push(text?);
    }
    let (text, rows) = report([ask.sides[0].0, ask.sides[1].0], &found)?;
    Ok((format!("precision: {}, {SEEDS} seeds\n{text}", ask.recipe), rows))
}

/// The losses in the lines of a `metrics.jsonl`. Of a step that a resumed run wrote again, the later line counts.
fn curves(lines: &str) -> Curves {
    let mut steps = BTreeMap::new();
    for line in lines.lines() {
        let Ok(record) = serde_json::from_str::<Value>(line) else { continue };
        let (Some(step), Some(epoch)) = (record["step"].as_u64(), record["epoch"].as_u64()) else { continue };
        if let Some(losses) = record["losses"].as_object().filter(|_| record["event"] == "train") {
            steps.insert(step, (epoch, losses.clone()));
        }
    }
    let mut sums: BTreeMap<String, BTreeMap<u64, (f64, f64)>> = BTreeMap::new();
    for (epoch, losses) in steps.into_values() {
        for (term, loss) in losses {
            let (sum, count) = sums.entry(term).or_default().entry(epoch).or_default();
            // What is no number stays none.
            *sum += loss.as_f64().unwrap_or(f64::NAN);
            *count += 1.0;
        }
    }
    let means = |epochs: BTreeMap<u64, (f64, f64)>| {
        epochs.into_iter().map(|(epoch, (sum, count))| (epoch, sum / count)).collect()
    };
    sums.into_iter().map(|(term, epochs)| (term, means(epochs))).collect()
}

/// Tables of the losses and accuracies of both precisions, given the `metrics.jsonl` of their runs, and how far they are
/// apart: by epoch, in the spread of seeds.
fn report(names: [&str; 2], runs: &[Vec<String>; 2]) -> Result<(String, Vec<Row>)> {
    let losses = runs.each_ref().map(|runs| runs.iter().map(|text| curves(text)).collect::<Vec<_>>());
    let terms: Vec<&String> = losses[0].first().map(|run| run.keys().collect()).unwrap_or_default();
    ensure!(!terms.is_empty(), "the runs told no losses");
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let mut text =
        format!("{:<12}{:>8}{:>14}{:>14}{:>18}\n", "loss", "epoch", names[0], names[1], "apart / spread");
    let mut rows = Vec::new();
    for term in terms {
        let mut ratios = Vec::new();
        for epoch in losses[0][0][term].keys() {
            let of = |side: usize| -> Result<Vec<f64>> {
                let value = |run: &Curves| run.get(term)?.get(epoch).copied();
                let values: Option<Vec<f64>> = losses[side].iter().map(value).collect();
                values.with_context(|| format!("a run in {} has no `{term}` of epoch {epoch}", names[side]))
            };
            let both = [of(0)?, of(1)?];
            let apart = (mean(&both[0]) - mean(&both[1])).abs();
            let spread =
                both.iter().map(|values| range(values)).map(|(low, high)| high - low).fold(0.0, f64::max);
            // No number where a loss is none: then no limit is met.
            let ratio = if apart == 0.0 { 0.0 } else { apart / spread };
            ratios.push(ratio);
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{term:<12}{epoch:>8}{:>14.4}{:>14.4}{ratio:>18.3}",
                mean(&both[0]),
                mean(&both[1])
            );
        }
        // Of no number none is made: then the limit is missed.
        let values = if ratios.iter().any(|ratio| ratio.is_nan()) { Vec::new() } else { ratios };
        let what = format!("{term}, {} and {} apart, in the spread of seeds", names[0], names[1]);
        rows.push(Row { what, values, limit: Limit::Most(MOST) });
    }
    for (name, runs) in names.iter().zip(runs) {
        let last = |text: &String| -> BTreeMap<String, f64> {
            let last = |epochs: BTreeMap<u64, f64>| epochs.into_values().next_back();
            metrics::curves(text)
                .into_iter()
                .filter_map(|(head, epochs)| Some((head, last(epochs)?)))
                .collect()
        };
        let each: Vec<BTreeMap<String, f64>> = runs.iter().map(last).collect();
        for head in each.first().map(|run| run.keys().collect::<Vec<_>>()).unwrap_or_default() {
            let values: Vec<String> =
                each.iter().filter_map(|run| Some(format!("{:.2}", run.get(head)?))).collect();
            let _ = writeln!(
                text,
                "{name}: top-1 of {head} after the last epoch, by seed: {}",
                values.join(", ")
            );
        }
    }
    Ok((text, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two epochs of two lines each, `one` as given and a little more.
    fn run(one: [f64; 2]) -> String {
        let line = |step: u64, loss: f64| {
            let epoch = step / 2;
            format!(
                "{{\"event\":\"train\",\"step\":{step},\"epoch\":{epoch},\"losses\":{{\"one\":{loss}}}}}\n\
                 {{\"event\":\"evaluated\",\"step\":{step},\"epoch\":{},\"heads\":{{\"one_q\":{{\"top1\":{step}}}}}}}\n",
                epoch + 1
            )
        };
        (0..4).map(|step| line(step, one[step as usize / 2] + 0.1 * (step % 2) as f64)).collect()
    }

    #[test]
    fn losses_are_averaged_by_epoch_and_a_later_line_of_a_step_counts() {
        let again = "{\"event\":\"train\",\"step\":3,\"epoch\":1,\"losses\":{\"one\":3.0}}\n{\"event\":\"tr";
        let found = curves(&(run([2.0, 1.0]) + again));
        assert_eq!(found.len(), 1);
        assert!(
            (found["one"][&0] - 2.05).abs() < 1e-12 && (found["one"][&1] - 2.0).abs() < 1e-12,
            "{found:?}"
        );
    }

    #[test]
    fn precisions_agree_within_the_spread_of_seeds_and_not_beyond() {
        let exact = vec![run([2.0, 1.0]), run([2.2, 1.1]), run([2.1, 1.3])];
        let close = vec![run([2.1, 1.1]), run([2.2, 1.2]), run([2.1, 1.3])];
        let far = vec![run([2.5, 1.5]), run([2.6, 1.6]), run([2.7, 1.7])];
        let report = |runs: [Vec<String>; 2]| {
            report(["fp32", "bf16"], &runs).map(|(text, rows)| (text, rows.iter().all(Row::met)))
        };
        let (text, met) = report([exact.clone(), close]).unwrap();
        assert!(
            met && text.contains("bf16: top-1 of one_q after the last epoch, by seed: 3.00, 3.00, 3.00"),
            "{text}"
        );
        assert!(!report([exact.clone(), far]).unwrap().1);
        // The same losses agree, however small the spread is.
        assert!(report([vec![exact[0].clone()], vec![exact[0].clone()]]).unwrap().1);
        assert!(report([vec![String::new()], vec![String::new()]]).is_err());
        let broken = exact[0].replace("\"one\":2}", "\"one\":null}");
        assert_ne!(broken, exact[0]);
        assert!(!report([vec![exact[0].clone()], vec![broken]]).unwrap().1);
    }
}
