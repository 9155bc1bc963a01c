//! The limits of a measurement: figures of programs, by each other, and the verdict.

use std::fmt::Write as _;

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
    /// Whether batch normalisation, residual and ReLU were one operation: 1 or 0.
    Fused,
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
            Self::Fused => "/fused",
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

    fn told(self) -> String {
        match self {
            Self::Most(most) => format!("at most {most}"),
            Self::Least(least) => format!("at least {least}"),
            Self::Told => String::new(),
        }
    }
}

/// A line of the verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub what: String,
    /// By round. Nothing where a program did not end well or did not tell the figure.
    pub values: Vec<f64>,
    pub limit: Limit,
}

impl Row {
    /// Whether its limit is met; one without values misses it.
    pub fn met(&self) -> bool {
        match self.values.is_empty() {
            true => self.limit == Limit::Told,
            false => self.limit.met(median(&self.values)),
        }
    }
}

/// All verdicts as a table.
pub fn table(rows: &[Row]) -> String {
    let mut text = format!("{:<64}{:>12}{:>26}  limit\n", "what", "median", "by round");
    for row in rows {
        let Row { what, values, limit } = row;
        let (middle, span) = match values.is_empty() {
            true => ("none".into(), String::new()),
            false => {
                let (low, high) = range(values);
                (format!("{:.4}", median(values)), format!("{low:.4} to {high:.4}"))
            }
        };
        let verdict = match (limit, row.met()) {
            (Limit::Told, _) => "told".into(),
            (_, true) => format!("{}: met", limit.told()),
            (_, false) => format!("{}: MISSED", limit.told()),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{what:<64}{middle:>12}{span:>26}  {verdict}");
    }
    text
}

/// The times of all programs as a table.
pub fn times(sides: &[Side], found: &[Vec<Value>]) -> String {
    let mut text = format!("{:<64}{:>12}{:>12}{:>12}\n", "program", "median ms", "min ms", "max ms");
    for (Side { name, .. }, facts) in sides.iter().zip(found) {
        // Writing to a string cannot fail.
        let _ = match figures(facts, Figure::Milliseconds).filter(|times| !times.is_empty()) {
            Some(times) => {
                let (low, high) = range(&times);
                writeln!(text, "{name:<64}{:>12.3}{low:>12.3}{high:>12.3}", median(&times))
            }
            None => writeln!(text, "{name:<64}{:>12}", "none"),
        };
    }
    text
}

/// The verdict on every check. A figure that a side does not tell (the memory of a device that there is not) has no
/// values.
pub fn judge(checks: &[Check], found: &[Vec<Value>]) -> Vec<Row> {
    let values = |check: &Check| -> Option<Vec<f64>> {
        let of = &found[check.of];
        match check.over.map(|over| &found[over]) {
            None => figures(of, check.figure),
            Some(over) if check.figure == Figure::Losses => {
                let field = check.figure.field();
                of.iter()
                    .zip(over)
                    .map(|(of, over)| apart(of.pointer(field)?, over.pointer(field)?))
                    .collect()
            }
            Some(over) => {
                let over = figures(over, check.figure)?;
                Some(figures(of, check.figure)?.iter().zip(over).map(|(of, over)| of / over).collect())
            }
        }
    };
    let row = |check: &Check| Row {
        what: check.what.clone(),
        values: values(check).unwrap_or_default(),
        limit: check.limit,
    };
    checks.iter().map(row).collect()
}

fn figures(facts: &[Value], figure: Figure) -> Option<Vec<f64>> {
    let number = |value: &Value| value.as_f64().or(value.as_bool().map(|yes| f64::from(u8::from(yes))));
    facts.iter().map(|facts| number(facts.pointer(figure.field())?)).collect()
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

    fn check(figure: Figure, over: Option<usize>, limit: Limit) -> Check {
        Check { what: "amix".into(), figure, of: 0, over, limit }
    }

    #[test]
    fn every_limit_is_judged_by_the_median_over_rounds() {
        let ours = [2.0, 1.0, 1.0]
            .map(|ms| serde_json::json!({"ms_per_step": ms, "losses": [2.0, 4.0], "host_ms": 0.05}));
        let theirs = [3.0, 3.0, 9.0].map(|ms| serde_json::json!({"ms_per_step": ms, "losses": [2.001, 4.0]}));
        let found = [ours.to_vec(), theirs.to_vec()];
        let met = |check: Check| {
            let rows = judge(&[check], &found);
            (table(&rows), rows[0].met())
        };
        let (text, ok) = met(check(Figure::Milliseconds, Some(1), Limit::Most(0.4)));
        let line = text.lines().last().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(ok && line == "amix 0.3333 0.1111 to 0.6667 at most 0.4: met", "{text}");
        assert!(!met(check(Figure::Milliseconds, Some(1), Limit::Least(0.4))).1);
        assert!(met(check(Figure::Losses, Some(1), Limit::Most(1e-3))).1);
        assert!(!met(check(Figure::Losses, Some(1), Limit::Most(4e-4))).1);
        assert!(met(check(Figure::HostMilliseconds, None, Limit::Most(0.1))).1);
    }

    #[test]
    fn a_figure_that_is_not_told_is_a_miss_and_so_is_a_program_that_did_not_run() {
        let one = [vec![serde_json::json!({"ms_per_step": 1.0, "cuda_peak_bytes": null})]];
        for found in [one.to_vec(), vec![vec![]]] {
            let rows = judge(&[check(Figure::Memory, None, Limit::Most(1.0))], &found);
            let text = table(&rows);
            assert!(!rows[0].met() && text.contains("none") && text.contains("at most 1: MISSED"), "{text}");
            assert!(judge(&[check(Figure::Memory, None, Limit::Told)], &found)[0].met());
        }
        let losses = |list: &str| {
            vec![
                serde_json::json!({"ms_per_step": 1.0, "losses": serde_json::from_str::<Value>(list).unwrap()}),
            ]
        };
        for (ours, theirs) in [("[1.0]", "[1.0, 2.0]"), ("[null]", "[1.0]"), ("[0.0]", "[0.0]")] {
            let found = [losses(ours), losses(theirs)];
            assert!(!judge(&[check(Figure::Losses, Some(1), Limit::Most(9.0))], &found)[0].met());
        }
    }

    #[test]
    fn times_are_told_of_every_program() {
        let side = |name: &str| Side { name: name.into(), command: Vec::new(), libtorch: Libtorch::Own };
        let found = [vec![serde_json::json!({"ms_per_step": 1.5})], vec![]];
        let text = times(&[side("admix"), side("pytorch")], &found);
        let words: Vec<&str> = text.lines().skip(1).flat_map(str::split_whitespace).collect();
        assert_eq!(words, ["admix", "1.500", "1.500", "1.500", "pytorch", "none"]);
    }
}
