//! Memory, files, file sizes and disks that end: one message, and what was saved before stays whole.

use std::fs;

use anyhow::Result;

use super::Attack;
use super::dice::Dice;
use super::ring::{Finding, Ring, differ, newest};

pub const ATTACK: Attack = Attack {
    name: "starve",
    does: "too little memory, too few open files, full and read-only disks",
    strike,
};

fn strike(ring: &Ring<'_>, dice: &mut Dice) -> Result<Option<Finding>> {
    let (recipe, sets) = ring.recipe(dice)?;
    let base = ["run", recipe.as_str(), "--device", "cpu", "--threads", "1", "--out"];
    let words = |out: &'static str, more: &[&'static str]| [&base[..], &[out], more].concat();
    if let Some(finding) = ring.end("", &words("whole", &[]), &sets)?.judge(&[0]) {
        return Ok(Some(finding));
    }
    if let Some(finding) = ring.end("", &words("starved", &["--max-steps", "4"]), &sets)?.judge(&[0]) {
        return Ok(Some(finding));
    }
    let saved = newest(&ring.path("starved"));
    let checkpoint = saved.as_ref().and_then(|file| fs::metadata(file).ok()).map_or(0, |data| data.len());
    let limits = match dice.below(4) {
        // libtorch alone maps about 1 GB.
        0 => format!("ulimit -v {}", 400_000 + dice.below(3_000_000)),
        1 => format!("ulimit -n {}", 4 + dice.below(40)),
        2 => format!("ulimit -f {}", dice.below(checkpoint / 1024 + 8)),
        _ => "chmod -w starved starved/checkpoints".into(),
    };
    let what = format!("{recipe} under `{limits}`");
    let starved = ring.end(&limits, &words("starved", &["--resume"]), &sets)?;
    let restored =
        ring.end("chmod +w starved starved/checkpoints", &words("starved", &["--resume"]), &sets)?;
    if let Some(Finding(said)) = starved.judge(&[0, 1, 2]) {
        // The loader of the system speaks before the program begins.
        let is_loader = said.contains("error while loading shared libraries");
        if !is_loader {
            return Ok(Some(Finding(format!("{what}: {said}"))));
        }
    }
    if let Some(Finding(said)) = restored.judge(&[0]) {
        return Ok(Some(Finding(format!("{what}, then resumed: {said}"))));
    }
    let found = differ(&ring.path("whole"), &ring.path("starved"))?;
    Ok(found.map(|Finding(found)| Finding(format!("{what}, then resumed: {found}"))))
}
