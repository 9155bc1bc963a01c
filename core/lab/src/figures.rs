//! The figures of one run, and of the runs of a cell.

use std::collections::BTreeMap;

use crate::experiment::{Cell, Variant};
use crate::plan::{Plan, Planned};
use crate::rule::Rule;
use crate::status::Progress;
use admix_engine::{Accuracy, HeadAccuracy};

/// What the runs of a cell came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figures {
    /// Top-1 in percent by seed, of runs that are done.
    pub values: BTreeMap<u64, f64>,
    /// Runs that the experiment asks for.
    pub wanted: u64,
    /// Runs whose networks are not finite, or that have no such head.
    pub without: u64,
    /// Runs that are under way or were interrupted.
    pub begun: u64,
    /// Runs that failed.
    pub failed: u64,
}

impl Figures {
    fn spread(&self) -> Option<(f64, Option<f64>)> {
        spread(&self.values.values().copied().collect::<Vec<_>>())
    }

    /// The mean over seeds.
    pub fn mean(&self) -> Option<f64> {
        self.spread().map(|(mean, _)| mean)
    }

    /// The standard deviation of a sample: of two seeds and more.
    pub fn deviation(&self) -> Option<f64> {
        self.spread()?.1
    }

    /// Of a cell of a plan.
    pub fn of(plan: &Plan, variant: usize, cell: &Cell) -> Self {
        let mut figures = Self::default();
        let asked = &plan.experiment.runs[variant];
        let rule = cell.rule.unwrap_or(plan.experiment.rule);
        let reported = plan.resolved[variant].recipe.reported();
        for run in plan.of_variant(variant) {
            figures.wanted += 1;
            match run.progress(asked.evaluation.as_ref()) {
                Progress::Done(facts) => {
                    let of_run = |head: &str| facts.summary.heads.get(head).map(|head| rule.read(head));
                    let figure = match &asked.evaluation {
                        Some(_) => measured(run, asked, cell, reported.as_ref()),
                        None => cell.report.clone().or(reported.clone()).and_then(|head| of_run(&head)),
                    };
                    match figure.filter(|value| value.is_finite()) {
                        Some(value) => drop(figures.values.insert(run.seed, value)),
                        None => figures.without += 1,
                    }
                }
                Progress::Failed(_) => figures.failed += 1,
                Progress::Missing => {}
                Progress::Running | Progress::Interrupted | Progress::Trained => figures.begun += 1,
            }
        }
        figures
    }
}

/// What `admix eval` told: of the head that the cell or the recipe names, or of the only one.
fn measured(run: &Planned, asked: &Variant, cell: &Cell, reported: Option<&String>) -> Option<f64> {
    let told = run.measured(asked.evaluation.as_ref()?)?;
    if cell.rule == Some(Rule::Best)
        && let Some(best) = told.get("best_top1")
    {
        return best.as_f64();
    }
    let heads: BTreeMap<String, Accuracy> = serde_json::from_value(told.get("heads")?.clone()).ok()?;
    let named = cell.report.as_ref().or(reported.filter(|name| heads.contains_key(*name)));
    let head = named.map_or_else(|| heads.values().next(), |name| heads.get(name));
    head.map(|accuracy| accuracy.top1)
}

/// Mean and standard deviation of a sample; the deviation of one value is none.
pub(crate) fn spread(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (!values.is_empty()).then(|| (mean, (count > 1.0).then(|| (squares / (count - 1.0)).sqrt())))
}

/// The figure of a run outside of an experiment.
pub fn of_head(head: &HeadAccuracy, rule: Rule) -> Option<f64> {
    Some(rule.read(head)).filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_are_those_of_a_sample() {
        let of = |values: &[f64]| Figures {
            values: values.iter().enumerate().map(|(seed, value)| (seed as u64, *value)).collect(),
            ..Figures::default()
        };
        // By hand: mean 70, squares 1 + 0 + 1, over two.
        let three = of(&[69.0, 70.0, 71.0]);
        assert_eq!((three.mean(), three.deviation()), (Some(70.0), Some(1.0)));
        assert_eq!((of(&[5.5]).mean(), of(&[5.5]).deviation()), (Some(5.5), None));
        assert_eq!((of(&[]).mean(), of(&[]).deviation()), (None, None));
    }
}
