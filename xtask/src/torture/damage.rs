//! Checkpoints that are cut short or have a bit flipped: one message, and the good ones stay whole.

use std::fs;

use anyhow::{Context, Result};

use super::Attack;
use super::dice::Dice;
use super::ring::{Finding, Ring, differ, newest};

pub const ATTACK: Attack =
    Attack { name: "damage", does: "checkpoints cut at 4 KB boundaries or with a flipped bit", strike };

/// How many damages are tried on one run.
const TRIES: u64 = 6;

fn strike(ring: &Ring<'_>, dice: &mut Dice) -> Result<Option<Finding>> {
    let (recipe, sets) = ring.recipe(dice)?;
    let base = ["run", recipe.as_str(), "--device", "cpu", "--threads", "1", "--out"];
    let words = |out: &'static str, more: &[&'static str]| [&base[..], &[out], more].concat();
    for (out, more) in [("whole", &[][..]), ("part", &["--max-steps", "4"])] {
        if let Some(finding) = ring.end("", &words(out, more), &sets)?.judge(&[0]) {
            return Ok(Some(finding));
        }
    }
    let file = newest(&ring.path("part")).context("a checkpoint")?;
    let good = fs::read(&file)?;
    for _ in 0..TRIES {
        let mut bad = good.clone();
        let what = if dice.once_in(2) {
            let cut = dice.below(good.len() as u64 / 4096 + 1) as usize * 4096;
            bad.truncate(cut.min(good.len() - 1));
            format!("cut to {} bytes", bad.len())
        } else {
            let at = dice.below(good.len() as u64) as usize;
            bad[at] ^= 1 << dice.below(8);
            format!("byte {at} flipped")
        };
        fs::write(&file, &bad)?;
        let named = file.to_string_lossy().into_owned();
        let eval = ring.end("", &["eval", &named, "--device", "cpu"], &[])?;
        if let Some(Finding(said)) = eval.judge(&[2]) {
            return Ok(Some(Finding(format!("eval of a checkpoint that is {what}: {said}"))));
        }
        let _ = fs::remove_dir_all(ring.path("again"));
        copy(&ring.path("part"), &ring.path("again"))?;
        let resumed = ring.end("", &words("again", &["--resume"]), &sets)?;
        let older = fs::read_dir(ring.path("part").join("checkpoints"))?.count() > 1;
        if let Some(Finding(said)) = resumed.judge(if older { &[0] } else { &[0, 2] }) {
            return Ok(Some(Finding(format!("--resume from a checkpoint that is {what}: {said}"))));
        }
        if resumed.code() == Some(0)
            && let Some(Finding(found)) = differ(&ring.path("whole"), &ring.path("again"))?
        {
            return Ok(Some(Finding(format!("{recipe}, resumed past a checkpoint that is {what}: {found}"))));
        }
    }
    Ok(None)
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    let copied = crate::process::Cmd::new("cp").arg("-a").arg(from).arg(to);
    copied.run()
}
