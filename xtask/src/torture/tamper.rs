//! Data that change under a run: removed, cut short, written anew. No crash, and no training on what is not there.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Attack;
use super::dice::Dice;
use super::ring::{Ended, Finding, Ring};

pub const ATTACK: Attack =
    Attack { name: "tamper", does: "data that change, shrink or vanish under a run", strike };

/// Sides of the pictures.
const SIDE: usize = 16;

fn strike(ring: &Ring<'_>, dice: &mut Dice) -> Result<Option<Finding>> {
    let sets =
        ["batch=4", "epochs=40", "model.width=0.125", "checkpoint.every_steps=50"].map(String::from).to_vec();
    let is_packed = dice.once_in(2);
    let mut sets = pictures(ring, 2, sets)?;
    if is_packed {
        let import = ring.end("", &["data", "import", "pictures", "--name", "packed", "--root", "."], &[])?;
        if let Some(finding) = import.judge(&[0]) {
            return Ok(Some(finding));
        }
        sets.retain(|set| !set.starts_with("data="));
        sets.push("data=(name: \"packed\", root: \".\")".into());
    }
    let words = ["run", "cifar10/r18/mixup", "--device", "cpu", "--threads", "1", "--out", "run"];
    let command = ring.command("", &words, &sets);
    let line = command.line();
    let child = command.piped().spawn()?;
    sleep(Duration::from_millis(300 + dice.below(3000)));
    let what = if is_packed {
        tampered(&ring.path("packed.admix"), dice)?
    } else {
        let name = format!("pictures/train/0/{}.bmp", dice.below(PER_CLASS as u64));
        tampered(&ring.path(&name), dice)?
    };
    let ended = Ended::of(line, child.wait_with_output()?);
    // A file that was read before it changed, or that came back alike, harms nothing.
    let found = ended.judge(&[0, 1, 2]).or_else(|| {
        let is_named =
            ended.code() == Some(0) || ended.errors().contains(if is_packed { "packed" } else { "pictures" });
        (!is_named).then(|| Finding(format!("the data are not named: {}", ended.errors())))
    });
    Ok(found.map(|Finding(said)| Finding(format!("data {what}: {said}"))))
}

/// Does something to a file, and says what.
fn tampered(file: &Path, dice: &mut Dice) -> Result<&'static str> {
    let all = fs::read(file).with_context(|| file.display().to_string())?;
    let what = match dice.below(4) {
        0 => {
            fs::remove_file(file)?;
            "removed"
        }
        1 => {
            fs::write(file, &all[..dice.below(all.len() as u64) as usize])?;
            "cut short"
        }
        2 => {
            fs::write(file, vec![0; all.len()])?;
            "written over with zeros"
        }
        _ => {
            fs::write(file, b"another file")?;
            "replaced"
        }
    };
    Ok(what)
}

const PER_CLASS: usize = 10;

/// Makes a folder of small pictures, and settings that read it.
pub fn pictures(ring: &Ring<'_>, classes: usize, mut sets: Vec<String>) -> Result<Vec<String>> {
    for split in ["train", "val"] {
        for class in 0..classes {
            let folder = ring.path(&format!("pictures/{split}/{class}"));
            fs::create_dir_all(&folder)?;
            for image in 0..PER_CLASS {
                fs::write(folder.join(format!("{image}.bmp")), bitmap(class * 31 + image * 7))?;
            }
        }
    }
    sets.retain(|set| !set.starts_with("data") || set.starts_with("data.views"));
    let crop = format!("ResizedCrop(size: {SIDE})");
    let mut grouped = false;
    for groups in sets.iter_mut().filter(|set| set.starts_with("data.views=[")) {
        // What is streamed is cropped.
        *groups = groups.replace("Shift", &crop).replace("AugMix()", &format!("AugMix(crop: {crop})"));
        grouped = true;
    }
    let made = match sets.iter().any(|set| set == "data.views=2") {
        _ if grouped => String::new(),
        true => format!(", augment: Moco(size: {SIDE}), views: 2"),
        false => format!(", augment: {crop}, views: 1"),
    };
    sets.insert(0, format!("data=(name: \"pictures\", root: \".\"{made})"));
    Ok(sets)
}

/// A picture as an uncompressed bitmap of 24 bits.
fn bitmap(seed: usize) -> Vec<u8> {
    let pixels: Vec<u8> = (0..SIDE * SIDE * 3).map(|at| (at * 5 + at * at * seed) as u8).collect();
    let mut file = b"BM".to_vec();
    for number in [54 + pixels.len() as u32, 0, 54, 40, SIDE as u32, SIDE as u32] {
        file.extend(number.to_le_bytes());
    }
    file.extend([1u16, 24].map(u16::to_le_bytes).as_flattened());
    for number in [0, pixels.len() as u32, 2835, 2835, 0, 0] {
        file.extend(number.to_le_bytes());
    }
    file.extend(pixels);
    file
}
