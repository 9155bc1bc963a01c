//! Runs that are killed or stopped at any moment and resumed end with the bits of one that was not.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Attack;
use super::dice::Dice;
use super::ring::{Finding, Ring, differ, newest};
use super::tamper::pictures;

pub const ATTACK: Attack = Attack {
    name: "kills",
    does: "SIGKILL, SIGTERM, SIGINT and SIGHUP at any moment, then --resume",
    strike,
};

/// How often a run is killed at most.
const MOST: u64 = 4;

fn strike(ring: &Ring<'_>, dice: &mut Dice) -> Result<Option<Finding>> {
    let (recipe, mut sets) = ring.recipe_of_a_method(dice)?;
    let mut storage = "resident";
    if dice.once_in(3) && sets.iter().any(|set| set.contains("channels: 3")) {
        // Streamed from files, by as many workers as it likes.
        let classes =
            sets.iter().find_map(|set| set.strip_prefix("data.toy.classes=")?.parse().ok()).unwrap_or(10);
        if classes <= 10 {
            sets = pictures(ring, classes, sets)?;
            storage = "streamed";
        }
    }
    let base = ["run", recipe.as_str(), "--device", "cpu", "--threads", "1", "--out"];
    let words = |out: &'static str, more: &[&'static str]| [&base[..], &[out], more].concat();
    let begin = Instant::now();
    let whole = ring.end("", &words("whole", &[]), &sets)?;
    if let Some(finding) = whole.judge(&[0]) {
        return Ok(Some(finding));
    }
    let full = begin.elapsed().as_millis() as u64;
    for kill in 0..=MOST {
        let resumed = ring.path("killed").exists();
        let more: &[&'static str] = if resumed { &["--resume"] } else { &[] };
        if kill == MOST {
            if let Some(finding) = ring.end("", &words("killed", more), &sets)?.judge(&[0]) {
                return Ok(Some(finding));
            }
            break;
        }
        let seen = newest(&ring.path("killed"));
        let mut child = ring.command("", &words("killed", more), &sets).quiet().spawn()?;
        sleep(Duration::from_millis(dice.below(full + full / 4)));
        let signal = dice.one(&["KILL", "KILL", "TERM", "INT", "HUP"]);
        // `timeout` leads a process group of its own: all of it gets the signal.
        let group = format!("-{}", child.id());
        let sent = Command::new("kill").args(["-s", signal, "--", &group]).stderr(Stdio::null()).status();
        sent.context("kill")?;
        let ended = child.wait()?;
        // One that came after the end is none.
        if signal == "KILL" && ended.signal() == Some(9) {
            let learns =
                if sets.iter().any(|set| set == "data.views=2") { "unsupervised" } else { "supervised" };
            let moved = newest(&ring.path("killed")) != seen;
            let when = if moved { "after a checkpoint of its own" } else { "before one" };
            ring.tally.count(format!("SIGKILL of {}, {learns}, {storage}, {when}", ring.method(&recipe)?));
        }
    }
    if newest(&ring.path("killed")).is_none() {
        return Ok(Some(Finding(format!("{recipe}: no checkpoint after the last resume"))));
    }
    let found = differ(&ring.path("whole"), &ring.path("killed"))?;
    Ok(found.map(|Finding(what)| Finding(format!("{recipe}, killed and resumed: {what}"))))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::tally::Tally;
    use super::*;
    use crate::repo::Repo;

    #[test]
    fn kills_reach_every_method_that_comes_with_the_program() {
        let repo = Repo::find().expect("the repository");
        let tally = Tally::default();
        let nowhere = std::path::Path::new("nowhere");
        let ring = Ring::new(&repo, nowhere, nowhere, &tally).expect("the recipes can be read");
        let drawn: BTreeSet<String> = (0..200)
            .map(|case| {
                let (recipe, _) = ring.recipe_of_a_method(&mut Dice::new(1, case)).expect("a recipe");
                ring.method(&recipe).expect("its method")
            })
            .collect();
        assert_eq!(drawn, ring.methods());
        let scripts = std::fs::read_dir(repo.root().join("scripts")).expect("scripts").flatten();
        let names = scripts.map(|entry| entry.path()).filter(|path| path.extension().is_some());
        let known: BTreeSet<String> =
            names.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
        assert!(!known.is_empty());
        assert_eq!(known.difference(&drawn).collect::<Vec<_>>(), Vec::<&String>::new());
    }
}
