//! The limits of a measurement: figures of programs, by each other, and the verdict.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::measure::{Side, median, range};

/// Which of a side's figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figure {
    Milliseconds,
    /// Until the host has asked for everything.
    HostMilliseconds,
    /// The most memory of the device at once.
    Memory,
    /// Operations in a step that make the host wait.
    Syncs,
    /// Whether CUDA's own watch saw a step wait: 1 or 0.
    Waited,
    /// Loss of each step: how far the two sides are apart, at most.
    Losses,
    /// Steps that were replayed as captured.
    Replayed,
    /// Different works that were captured.
    Variants,
}

/// What a figure may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    Most(f64),
    Least(f64),
    Told,
}

/// One line of the verdict: a figure of a side, by that of another.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    pub what: String,
    pub figure: Figure,
    pub of: usize,
    pub over: Option<usize>,
    pub limit: Limit,
}

impl Figure {
    /// Where it is in what a side printed.
    fn field(self) -> &'static str {
        match self {
            Self::Milliseconds => "/ms_per_step",
            Self::HostMilliseconds => "/host_ms",
            Self::Memory => "/cuda_peak_bytes",
            Self::Syncs => "/host_syncs_per_step",
            Self::Waited => "/cuda_watch/failed",
            Self::Losses => "/losses",
            Self::Replayed => "/capture/replayed_steps",
            Self::Variants => "/capture/variants",
        }
    }
}

impl Limit {
    fn met(self, value: f64) -> bool {
        match self {
            Self::Most(most) => value <= most,
            Self::Least(least) => value >= least,
            Self::Told => true,
        }
    }

    fn verdict(self, value: f64) -> String {
        let text = match self {
            Self::Most(most) => format!("at most {most}"),
            Self::Least(least) => format!("at least {least}"),
            Self::Told => return "told".into(),
        };
        format!("{text}: {}", if self.met(value) { "met" } else { "MISSED" })
    }
}

/// The tables, and whether every limit is met. A figure that a side does not tell (the memory of a device that there is
/// not) is a miss.
pub fn report(sides: &[Side], checks: &[Check], found: &[Vec<Value>]) -> Result<(String, bool)> {
    let figures = |side: usize, figure: Figure| -> Option<Vec<f64>> {
        found[side].iter().map(|facts| facts.pointer(figure.field())?.as_f64()).collect()
    };
    let mut text = format!("{:<58}{:>12}{:>12}{:>12}\n", "program", "median ms", "min ms", "max ms");
    for (side, Side { name, .. }) in sides.iter().enumerate() {
        let times =
            figures(side, Figure::Milliseconds).with_context(|| format!("{name}: no `ms_per_step`"))?;
        let (low, high) = range(&times);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<58}{:>12.3}{low:>12.3}{high:>12.3}", median(&times));
    }
    text.push('\n');
    let mut all_met = true;
    for Check { what, figure, of, over, limit } in checks {
        let by_round = match over {
            Some(over) if *figure == Figure::Losses => found[*of]
                .iter()
                .zip(&found[*over])
                .map(|(of, over)| apart(of.pointer(figure.field())?, over.pointer(figure.field())?))
                .collect(),
            None => figures(*of, *figure),
            Some(over) => figures(*of, *figure)
                .zip(figures(*over, *figure))
                .map(|(of, over)| of.iter().zip(over).map(|(of, over)| of / over).collect()),
        };
        let Some(by_round) = by_round else {
            all_met &= *limit == Limit::Told;
            let _ = writeln!(text, "{what}: `{}` was not told: MISSED", figure.field());
            continue;
        };
        let value = median(&by_round);
        let (low, high) = range(&by_round);
        all_met &= limit.met(value);
        let _ =
            writeln!(text, "{what}: {value:.4} (by round {low:.4} to {high:.4}); {}", limit.verdict(value));
    }
    Ok((text, all_met))
}

/// The largest relative difference of two lists of losses of one length.
fn apart(of: &Value, over: &Value) -> Option<f64> {
    let (of, over) = (of.as_array()?, over.as_array()?);
    let distance = |(a, b): (&Value, &Value)| Some((a.as_f64()? / b.as_f64()? - 1.0).abs());
    let all: Vec<f64> = of.iter().zip(over).map(distance).collect::<Option<_>>()?;
    // What is no number is told by no limit.
    (of.len() == over.len() && all.iter().all(|far| far.is_finite()))
        .then(|| all.into_iter().fold(0.0, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Libtorch;

    fn side(name: &str) -> Side {
        Side { name: name.into(), command: Vec::new(), libtorch: Libtorch::Own }
    }

    fn check(figure: Figure, over: Option<usize>, limit: Limit) -> Check {
        Check { what: "amix".into(), figure, of: 0, over, limit }
    }

    #[test]
    fn every_limit_is_judged_by_the_median_over_rounds() {
        let ours = [2.0, 1.0, 1.0]
            .map(|ms| serde_json::json!({"ms_per_step": ms, "losses": [2.0, 4.0], "host_ms": 0.05}));
        let theirs = [3.0, 3.0, 9.0].map(|ms| serde_json::json!({"ms_per_step": ms, "losses": [2.001, 4.0]}));
        let (sides, found) = ([side("admix"), side("pytorch")], [ours.to_vec(), theirs.to_vec()]);
        let met = |check: Check| report(&sides, &[check], &found).unwrap();
        let (text, ok) = met(check(Figure::Milliseconds, Some(1), Limit::Most(0.4)));
        assert!(ok && text.contains("amix: 0.3333 (by round 0.1111 to 0.6667); at most 0.4: met"), "{text}");
        assert!(!met(check(Figure::Milliseconds, Some(1), Limit::Least(0.4))).1);
        assert!(met(check(Figure::Losses, Some(1), Limit::Most(1e-3))).1);
        assert!(!met(check(Figure::Losses, Some(1), Limit::Most(4e-4))).1);
        assert!(met(check(Figure::HostMilliseconds, None, Limit::Most(0.1))).1);
    }

    #[test]
    fn a_figure_that_is_not_told_is_a_miss() {
        let found = [vec![serde_json::json!({"ms_per_step": 1.0, "cuda_peak_bytes": null})]];
        let (text, met) =
            report(&[side("admix")], &[check(Figure::Memory, None, Limit::Most(1.0))], &found).unwrap();
        assert!(!met && text.contains("`/cuda_peak_bytes` was not told: MISSED"), "{text}");
        let losses = |list: Value| [vec![serde_json::json!({"ms_per_step": 1.0, "losses": list})]];
        for (ours, theirs) in [("[1.0]", "[1.0, 2.0]"), ("[null]", "[1.0]"), ("[0.0]", "[0.0]")] {
            let [ours, theirs] = [ours, theirs].map(|list| losses(serde_json::from_str(list).unwrap()));
            let check = check(Figure::Losses, Some(1), Limit::Most(9.0));
            let (text, met) =
                report(&[side("admix"), side("pytorch")], &[check], &[ours, theirs].concat()).unwrap();
            assert!(!met && text.contains("`/losses` was not told: MISSED"), "{text}");
        }
        let told = check(Figure::Memory, None, Limit::Told);
        assert!(report(&[side("admix")], &[told], &found).unwrap().1);
    }
}
