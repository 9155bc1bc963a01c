//! Programs that run alternately, so that all see the same machine, and how far the first may be behind each other one.
//!
//! Each side is a command that runs some training steps and prints, as its last line, a JSON object with
//! `ms_per_step`. A different side starts each round. What is compared are medians.

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use crate::measure::{self, Options, Side, median, range};
use crate::repo::Repo;

/// How far ours may be behind another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Difference of the medians.
    Milliseconds(f64),
    /// Ratio of the medians.
    Ratio(f64),
}

/// A program and its rivals.
#[derive(Debug)]
pub struct Contest {
    /// What tables call it.
    pub title: String,
    /// Ours.
    pub ours: Side,
    /// The others, at least one, each with what is expected of ours beside it.
    pub rivals: Vec<(Side, Limit)>,
}

/// Runs them all and prints each result.
///
/// # Errors
/// A program fails, or with `--strict` a limit is missed.
pub fn run(repo: &Repo, contests: Vec<Contest>, options: &Options) -> Result<()> {
    let mut missed = Vec::new();
    for contest in contests {
        println!("\n{} ({} rounds of {} steps)", contest.title, options.rounds, options.steps);
        let sides: Vec<&Side> =
            std::iter::once(&contest.ours).chain(contest.rivals.iter().map(|(side, _)| side)).collect();
        let times =
            alternate(
                options.rounds,
                sides.len(),
                |side| Ok(measure::times(repo, sides[side], &[])?.median),
            )?;
        print!("{}", table(&sides, &times));
        let mut all_met = true;
        for ((rival, limit), own) in contest.rivals.iter().zip(&times[1..]) {
            let (text, met) = compare([&contest.ours.name, &rival.name], [&times[0], own], *limit);
            print!("{text}");
            all_met &= met;
        }
        if !all_met {
            missed.push(contest.title);
        }
    }
    ensure!(missed.is_empty() || !options.strict, "limit missed: {}", missed.join("; "));
    Ok(())
}

/// Times of all sides, by round. The side that goes first changes every round: what the first one warms up
/// or wears out would else count for one side only.
fn alternate(
    rounds: usize,
    sides: usize,
    mut time: impl FnMut(usize) -> Result<f64>,
) -> Result<Vec<Vec<f64>>> {
    let mut times = vec![Vec::new(); sides];
    for round in 0..rounds {
        for turn in 0..sides {
            let side = (round + turn) % sides;
            times[side].push(time(side)?);
        }
    }
    Ok(times)
}

/// The times of every side, as text.
fn table(sides: &[&Side], times: &[Vec<f64>]) -> String {
    let width = 2 + sides.iter().map(|side| side.name.len()).max().unwrap_or(0).max(8);
    let mut text =
        format!("{:<width$}{:>12}{:>12}{:>12}{:>9}\n", "", "median ms", "min ms", "max ms", "spread");
    for (side, values) in sides.iter().zip(times) {
        let (low, high) = range(values);
        let middle = median(values);
        let spread = 100.0 * (high - low) / middle;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<width$}{middle:>12.3}{low:>12.3}{high:>12.3}{spread:>8.1}%", side.name);
    }
    text
}

/// Ours beside another, as text, and whether it is within the limit.
fn compare(names: [&str; 2], times: [&[f64]; 2], limit: Limit) -> (String, bool) {
    let mut text = String::new();
    let medians = [median(times[0]), median(times[1])];
    let ratio = medians[0] / medians[1];
    let difference = medians[0] - medians[1];
    // What the machine does changes slowly: both sides of a round see the same.
    let pairs: Vec<f64> = times[0].iter().zip(times[1]).map(|(a, b)| a - b).collect();
    let paired = median(&pairs);
    // Standard error of a median, from the median deviation: 1.2533 * 1.4826 * MAD / sqrt(n).
    let deviations: Vec<f64> = pairs.iter().map(|pair| (pair - paired).abs()).collect();
    let error = 1.858 * median(&deviations) / (pairs.len() as f64).sqrt();
    let ratios: Vec<f64> = times[0].iter().zip(times[1]).map(|(a, b)| a / b).collect();
    let (low, high) = range(&ratios);
    let (met, wanted) = match limit {
        Limit::Milliseconds(most) => (difference <= most, format!("difference at most {most} ms")),
        Limit::Ratio(most) => (ratio <= most, format!("ratio at most {most}")),
    };
    let _ = writeln!(
        text,
        "{} / {}: ratio {ratio:.4} (by round {low:.4} to {high:.4}), difference {difference:+.3} ms, by round \
         {paired:+.3} +- {error:.3} ms; {wanted}: {}",
        names[0],
        names[1],
        if met { "met" } else { "MISSED" }
    );
    (text, met)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_take_turns_and_the_first_changes() {
        let mut order = Vec::new();
        let times = alternate(3, 2, |side| {
            order.push(side);
            Ok(order.len() as f64)
        });
        assert_eq!(times.unwrap(), [vec![1.0, 4.0, 5.0], vec![2.0, 3.0, 6.0]]);
        assert_eq!(order, [0, 1, 1, 0, 0, 1]);
        order.clear();
        alternate(3, 3, |side| {
            order.push(side);
            Ok(1.0)
        })
        .unwrap();
        assert_eq!(order, [0, 1, 2, 1, 2, 0, 2, 0, 1]);
    }

    #[test]
    fn the_report_compares_medians_with_the_limit() {
        let times = [vec![11.0, 10.2, 30.0], vec![10.0, 10.0, 12.0]];
        let times = [times[0].as_slice(), times[1].as_slice()];
        let (text, met) = compare(["a", "b"], times, Limit::Ratio(1.05));
        assert!(!met);
        assert!(text.contains("ratio 1.1000 (by round 1.0200 to 2.5000), difference +1.000 ms"), "{text}");
        assert!(text.ends_with("ratio at most 1.05: MISSED\n"), "{text}");
        assert!(compare(["a", "b"], times, Limit::Milliseconds(1.0)).1);
        assert!(!compare(["a", "b"], times, Limit::Milliseconds(0.3)).1);
    }
}
