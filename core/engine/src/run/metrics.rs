//! What a run reports: a history that checkpoints carry, a summary at the end.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::run::Broken;
use serde::{Deserialize, Serialize};

use crate::run::accuracy::{Accuracy, HeadAccuracy};

/// Results so far; travels in checkpoints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Test accuracies of each evaluation: epoch, then by head.
    pub evaluations: Vec<(u64, BTreeMap<String, Accuracy>)>,
    /// Steps whose update was skipped.
    pub skipped: u64,
    /// Seconds of wall time spent training, evaluations included.
    pub seconds: f64,
    /// Images used for training.
    pub images: u64,
    /// Seconds of wall time that training waited for streamed images.
    #[serde(default)]
    pub waited: f64,
    /// Files of a streamed folder that were found broken.
    // Left out where there are none, so that the checksums of earlier files hold.
    #[serde(default, skip_serializing_if = "Broken::is_empty")]
    pub broken: Broken,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// By head and network: best, last, median of the last ten epochs.
    pub heads: BTreeMap<String, HeadAccuracy>,
    /// The head that is reported first.
    pub report: Option<String>,
    /// Optimiser steps done.
    pub step: u64,
    /// Epochs done.
    pub epoch: u64,
    /// Whether all epochs are done.
    pub finished: bool,
    /// Seconds of wall time, over all parts of a resumed run.
    pub seconds: f64,
    /// Steps whose update was skipped.
    pub skipped: u64,
    /// The run folder.
    pub folder: PathBuf,
}

impl History {
    /// Best, last and median of the last ten evaluations of every head.
    pub fn heads(&self) -> BTreeMap<String, HeadAccuracy> {
        let mut by_head: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let mut last: BTreeMap<String, Accuracy> = BTreeMap::new();
        for (_, heads) in &self.evaluations {
            for (name, accuracy) in heads {
                by_head.entry(name.clone()).or_default().push(accuracy.top1);
                last.insert(name.clone(), accuracy.clone());
            }
        }
        by_head
            .into_iter()
            .filter_map(|(name, values)| {
                let last = last.get(&name)?.clone();
                let tail = &values[values.len().saturating_sub(10)..];
                // `max` passes over what is not a number.
                let best = values.iter().copied().fold(f64::NAN, f64::max);
                Some((
                    name,
                    HeadAccuracy { best, last: last.top1, median_last_10: median(tail), top5: last.top5 },
                ))
            })
            .collect()
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    // What is not a number comes first.
    let key = |value: &f64| if value.is_nan() { f64::NEG_INFINITY } else { *value };
    sorted.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reported_figure_is_the_median_of_the_last_ten_epochs() {
        let at = |epoch: u64, top1: f64| {
            (
                epoch,
                BTreeMap::from([("one_q".to_string(), Accuracy { top1, top5: 1.0, loss: 0.0, images: 1 })]),
            )
        };
        let mut history = History::default();
        history.evaluations.push(at(1, 99.0));
        history.evaluations.extend((2..=11).map(|e| at(e, e as f64)));
        let head = &history.heads()["one_q"];
        assert_eq!((head.best, head.last, head.median_last_10), (99.0, 11.0, 6.5));
        // Four without an accuracy: the best stays, they count as the worst of the last ten (6 to 15).
        history.evaluations.extend((12..=15).map(|epoch| at(epoch, f64::NAN)));
        let head = &history.heads()["one_q"];
        assert_eq!((head.best, head.median_last_10), (99.0, 6.5));
        assert!(head.last.is_nan());
        history.evaluations.drain(..11);
        let head = &history.heads()["one_q"];
        assert!(head.best.is_nan() && head.median_last_10.is_nan());
    }
}
