//! Two programs that run alternately, so that both see the same machine, and how far one may be behind the other.
//!
//! Each side is a command that runs some training steps and prints, as its last line, a JSON object with
//! `ms_per_step`. A different side starts each round. What is compared are medians.

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use crate::measure::{self, Options, Side, median, range};
use crate::repo::Repo;

/// How far the first side may be behind the second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Difference of the medians.
    Milliseconds(f64),
    /// Ratio of the medians.
    Ratio(f64),
}

/// Two programs and what is expected of the first.
#[derive(Debug)]
pub struct Contest {
    /// What tables call it.
    pub title: String,
    /// The programs.
    pub sides: [Side; 2],
    /// What is expected.
    pub limit: Limit,
}

/// Runs them all and prints each result.
///
/// # Errors
/// A program fails, or with `--strict` a limit is missed.
pub fn run(repo: &Repo, contests: Vec<Contest>, options: &Options) -> Result<()> {
    let mut missed = Vec::new();
    for contest in contests {
        println!("\n{} ({} rounds of {} steps)", contest.title, options.rounds, options.steps);
        let times =
            alternate(options.rounds, |side| Ok(measure::times(repo, &contest.sides[side], &[])?.median))?;
        let names = [contest.sides[0].name.as_str(), contest.sides[1].name.as_str()];
        let (text, met) = report(names, &times, contest.limit);
        print!("{text}");
        if !met {
            missed.push(contest.title);
        }
    }
    ensure!(missed.is_empty() || !options.strict, "limit missed: {}", missed.join("; "));
    Ok(())
}

/// Times of both sides, by round. The side that goes first changes every round: what the first one warms up
/// or wears out would else count for one side only.
fn alternate(rounds: usize, mut time: impl FnMut(usize) -> Result<f64>) -> Result<[Vec<f64>; 2]> {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for turn in 0..2 {
            let side = (round + turn) % 2;
            times[side].push(time(side)?);
        }
    }
    Ok(times)
}

/// The result as text, and whether the first side is within the limit.
fn report(names: [&str; 2], times: &[Vec<f64>; 2], limit: Limit) -> (String, bool) {
    let mut text = format!("{:<10}{:>12}{:>12}{:>12}{:>9}\n", "", "median ms", "min ms", "max ms", "spread");
    for (name, values) in names.iter().zip(times) {
        let (low, high) = range(values);
        let middle = median(values);
        let spread = 100.0 * (high - low) / middle;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<10}{middle:>12.3}{low:>12.3}{high:>12.3}{spread:>8.1}%");
    }
    let medians = [median(&times[0]), median(&times[1])];
    let ratio = medians[0] / medians[1];
    let difference = medians[0] - medians[1];
    // What the machine does changes slowly: both sides of a round see the same.
    let pairs: Vec<f64> = times[0].iter().zip(&times[1]).map(|(a, b)| a - b).collect();
    let paired = median(&pairs);
    // Standard error of a median, from the median deviation: 1.2533 * 1.4826 * MAD / sqrt(n).
    let deviations: Vec<f64> = pairs.iter().map(|pair| (pair - paired).abs()).collect();
    let error = 1.858 * median(&deviations) / (pairs.len() as f64).sqrt();
    let ratios: Vec<f64> = times[0].iter().zip(&times[1]).map(|(a, b)| a / b).collect();
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
        let times = alternate(3, |side| {
            order.push(side);
            Ok(order.len() as f64)
        });
        assert_eq!(times.unwrap(), [vec![1.0, 4.0, 5.0], vec![2.0, 3.0, 6.0]]);
        assert_eq!(order, [0, 1, 1, 0, 0, 1]);
    }

    #[test]
    fn the_report_compares_medians_with_the_limit() {
        let times = [vec![11.0, 10.2, 30.0], vec![10.0, 10.0, 12.0]];
        let (text, met) = report(["a", "b"], &times, Limit::Ratio(1.05));
        assert!(!met);
        assert!(text.contains("ratio 1.1000 (by round 1.0200 to 2.5000), difference +1.000 ms"), "{text}");
        assert!(text.ends_with("ratio at most 1.05: MISSED\n"), "{text}");
        assert!(report(["a", "b"], &times, Limit::Milliseconds(1.0)).1);
        assert!(!report(["a", "b"], &times, Limit::Milliseconds(0.3)).1);
    }
}
