//! Verdicts as text.

use super::verdict::{Outcome, Verdict};

/// The verdicts as a table: promise, `kept`, `BROKEN` or `-`, and the number of cases. Below it stand the broken
/// promises, each with what was seen and how to see it again.
pub fn table(verdicts: &[Verdict]) -> String {
    let width = verdicts.iter().map(|verdict| verdict.promise.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for Verdict { promise, outcome } in verdicts {
        let (word, rest) = match outcome {
            Outcome::Kept { cases } => ("kept", format!("{cases:>5}")),
            Outcome::Broken { broken, cases, .. } => ("BROKEN", format!("{cases:>5}  ({broken} broken)")),
            Outcome::NotApplicable { why } => ("-", format!("       {why}")),
        };
        text.push_str(&format!("{promise:<width$}  {word:<6}  {rest}\n"));
    }
    for Verdict { promise, outcome } in verdicts {
        if let Outcome::Broken { message, reproduce, .. } = outcome {
            text.push_str(&format!("\nBROKEN: {promise}\n  seen  {message}\n  with  {reproduce}\n"));
        }
    }
    text
}
