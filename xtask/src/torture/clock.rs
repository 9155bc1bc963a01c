//! The time of day jumps by hours under a run, and its files seem to come from the future or from long ago.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Attack;
use super::dice::Dice;
use super::ring::{Finding, Ring, differ, newest};
use crate::process::Cmd;

pub const ATTACK: Attack =
    Attack { name: "clock", does: "a time of day that jumps by hours, files of another time", strike };

/// What is preloaded.
const SOURCE: &str = include_str!("jumping_clock.c");
const JUMPS: &str = "export LD_PRELOAD=\"$PWD/jumping_clock.so\"";

fn strike(ring: &Ring<'_>, dice: &mut Dice) -> Result<Option<Finding>> {
    let source = ring.path("jumping_clock.c");
    fs::write(&source, SOURCE).context("jumping_clock.c")?;
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let object = ring.path("jumping_clock.so");
    Cmd::new(compiler).args(["-O1", "-shared", "-fPIC", "-o"]).arg(&object).arg(&source).run()?;

    let (recipe, sets) = ring.recipe_of_a_method(dice)?;
    let base = ["run", recipe.as_str(), "--device", "cpu", "--threads", "1", "--out"];
    let words = |out: &'static str, more: &[&'static str]| [&base[..], &[out], more].concat();
    let begin = Instant::now();
    if let Some(finding) = ring.end("", &words("whole", &[]), &sets)?.judge(&[0]) {
        return Ok(Some(finding));
    }
    let full = begin.elapsed().as_millis() as u64;
    let mut child = ring.command(JUMPS, &words("jumped", &[]), &sets).quiet().spawn()?;
    sleep(Duration::from_millis(dice.below(full)));
    let group = format!("-{}", child.id());
    let sent = Command::new("kill").args(["-s", "KILL", "--", &group]).stderr(Stdio::null()).status();
    sent.context("kill")?;
    child.wait()?;
    let resumed = ring.path("jumped").exists();
    if resumed {
        restamp(&ring.path("jumped"), dice)?;
    }
    let more: &[&'static str] = if resumed { &["--resume"] } else { &[] };
    if let Some(Finding(said)) = ring.end(JUMPS, &words("jumped", more), &sets)?.judge(&[0]) {
        return Ok(Some(Finding(format!("{recipe}, with a clock that jumps: {said}"))));
    }
    if newest(&ring.path("jumped")).is_none() {
        return Ok(Some(Finding(format!("{recipe}, with a clock that jumps: no checkpoint"))));
    }
    let found = differ(&ring.path("whole"), &ring.path("jumped"))?.or(unread(&ring.path("jumped"))?);
    ring.tally.count(format!("jumping clock under {}", ring.method(&recipe)?));
    Ok(found.map(|Finding(what)| Finding(format!("{recipe}, with a clock that jumps: {what}"))))
}

/// Lets each file seem to come from some time within thirty years before or after now.
fn restamp(folder: &Path, dice: &mut Dice) -> Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<std::io::Result<_>>()?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            restamp(&path, dice)?;
            continue;
        }
        let by = Duration::from_secs(3600 * dice.below(30 * 365 * 24));
        let time = if dice.once_in(2) { SystemTime::now() + by } else { SystemTime::now() - by };
        let file = File::options().append(true).open(&path).with_context(|| path.display().to_string())?;
        file.set_times(FileTimes::new().set_modified(time).set_accessed(time))?;
    }
    Ok(())
}

/// What is wrong with the metrics of a run: a line that is none, a step that comes again, a figure of time that is none.
fn unread(run: &Path) -> Result<Option<Finding>> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).context("metrics.jsonl")?;
    let mut steps: BTreeMap<u64, usize> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let bad = |what: &str| Some(Finding(format!("line {} of metrics.jsonl {what}: {line}", number + 1)));
        let Ok(Value::Object(fields)) = serde_json::from_str(line) else {
            return Ok(bad("is no JSON object"));
        };
        let of_time = ["seconds", "images_per_s", "data_wait"];
        let figures = of_time.iter().filter_map(|name| fields.get(*name));
        if figures.filter_map(Value::as_f64).any(|figure| !(0.0..=1e9).contains(&figure)) {
            return Ok(bad("has a time that cannot be"));
        }
        if fields.get("event").and_then(Value::as_str) == Some("train")
            && let Some(step) = fields.get("step").and_then(Value::as_u64)
            && steps.insert(step, number).is_some()
        {
            return Ok(bad("is about a step that came before"));
        }
    }
    Ok(steps.is_empty().then(|| Finding("metrics.jsonl has no step".into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_with_broken_lines_steps_that_come_again_or_odd_times_are_findings() {
        let folder = tempfile::tempdir().expect("a folder");
        let found = |text: &str| {
            fs::write(folder.path().join("metrics.jsonl"), text).expect("written");
            unread(folder.path()).expect("read").map(|finding| finding.0)
        };
        let step =
            |n: u64, rate: f64| format!("{{\"event\":\"train\",\"step\":{n},\"images_per_s\":{rate}}}\n");
        assert_eq!(found(&(step(1, 2.0) + &step(2, 2.0))), None);
        for (text, said) in [
            (step(1, 2.0) + "{\"event\":", "line 2 of metrics.jsonl is no JSON object"),
            (step(1, 2.0) + &step(1, 2.0), "line 2 of metrics.jsonl is about a step"),
            (step(1, -2.0), "line 1 of metrics.jsonl has a time"),
            (String::new(), "no step"),
        ] {
            assert!(found(&text).is_some_and(|finding| finding.contains(said)), "{said}");
        }
    }
}
