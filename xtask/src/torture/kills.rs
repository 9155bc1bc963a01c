//! Runs that are killed or stopped at any moment and resumed end with the bits of one that was not.

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
    let (recipe, mut sets) = ring.recipe(dice)?;
    if dice.once_in(3) && sets.iter().any(|set| set.contains("channels: 3")) {
        // Streamed from files, by as many workers as it likes.
        let classes =
            sets.iter().find_map(|set| set.strip_prefix("data.toy.classes=")?.parse().ok()).unwrap_or(10);
        if classes <= 10 {
            sets = pictures(ring, classes, sets)?;
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
        let mut child = ring.command("", &words("killed", more), &sets).quiet().spawn()?;
        sleep(Duration::from_millis(dice.below(full + full / 4)));
        let signal = dice.one(&["KILL", "KILL", "TERM", "INT", "HUP"]);
        // `timeout` leads a process group of its own: all of it gets the signal.
        let group = format!("-{}", child.id());
        let sent = Command::new("kill").args(["-s", signal, "--", &group]).stderr(Stdio::null()).status();
        sent.context("kill")?;
        child.wait()?;
    }
    if newest(&ring.path("killed")).is_none() {
        return Ok(Some(Finding(format!("{recipe}: no checkpoint after the last resume"))));
    }
    let found = differ(&ring.path("whole"), &ring.path("killed"))?;
    Ok(found.map(|Finding(what)| Finding(format!("{recipe}, killed and resumed: {what}"))))
}
