//! Plugins with one vice each: the right promise is told broken, and no other is hidden.

mod bad_loss;
mod bad_mixer;
mod hidden;
mod losses;
mod mixers;

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value as Json, json};

use super::mixes::{HIDDEN, MAPS, WEIGHTS};
use super::{Outcome, Verdict, check, table};
use crate::Entry;

/// libtorch has one generator for the process, so plugins that draw from it and checks that watch it take turns.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn broken(verdicts: &[Verdict]) -> Vec<&'static str> {
    verdicts.iter().filter(|verdict| verdict.is_broken()).map(|verdict| verdict.promise).collect()
}

/// The promises of an entry that cannot be judged with these settings, but for hidden mixes and weights of sources: those have
/// plugins of their own.
fn idle(verdicts: &[Verdict]) -> Vec<&'static str> {
    let none = |verdict: &&Verdict| {
        ![HIDDEN, MAPS, WEIGHTS].contains(&verdict.promise)
            && matches!(verdict.outcome, Outcome::NotApplicable { .. })
    };
    verdicts.iter().filter(none).map(|verdict| verdict.promise).collect()
}

/// One row of a table of vices: settings, the promise they break, texts of what was seen and of the case that shows it,
/// and how many promises have nothing left to look at.
type Row<'a> = (Json, &'a str, &'a str, &'a str, usize);

/// Holds that each row breaks its promise alone and hides no other; tells of all rows that do not.
fn breaks(entry: &Entry, rows: &[Row<'_>]) {
    let _alone = alone();
    let mut wrong = Vec::new();
    for (settings, promise, message, reproduce, unjudged) in rows {
        let verdicts = check(entry, std::slice::from_ref(settings));
        let (found, hidden) = (broken(&verdicts), idle(&verdicts));
        let told = verdicts.iter().any(|verdict| match &verdict.outcome {
            Outcome::Broken { message: seen, reproduce: with, broken, cases } => {
                let lines = [seen, with].iter().all(|text| !text.contains('\n'));
                lines && seen.contains(message) && with.contains(reproduce) && (1..=*cases).contains(broken)
            }
            _ => false,
        });
        if found != [*promise] || hidden.len() != *unjudged || !told {
            let of =
                format!("{settings}: wanted {promise:?}, {message:?}, {reproduce:?}, {unjudged} unjudged");
            let told: Vec<_> = verdicts.iter().filter(|verdict| verdict.is_broken()).collect();
            wrong.push(format!("{of}\n  found {told:?}\n  {} unjudged: {hidden:?}\n", hidden.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[test]
fn verdicts_are_a_table_and_json() {
    let verdicts = [
        Verdict { promise: "is kind", outcome: Outcome::Kept { cases: 12 } },
        Verdict {
            promise: "is never late",
            outcome: Outcome::Broken { message: "late".into(), reproduce: "{}".into(), broken: 1, cases: 2 },
        },
        Verdict { promise: "pays", outcome: Outcome::NotApplicable { why: "is free".into() } },
    ];
    let wanted = "is kind        kept       12\n\
                  is never late  BROKEN      2  (1 broken)\n\
                  pays           -              is free\n\
                  \nBROKEN: is never late\n  seen  late\n  with  {}\n";
    assert_eq!(table(&verdicts), wanted);
    assert_eq!(
        json!(verdicts),
        json!([
            {"promise": "is kind", "outcome": "kept", "cases": 12},
            {"promise": "is never late", "outcome": "broken", "message": "late", "reproduce": "{}", "broken": 1, "cases": 2},
            {"promise": "pays", "outcome": "not_applicable", "why": "is free"},
        ])
    );
    assert_eq!(table(&[]), "");
}
