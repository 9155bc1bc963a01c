//! Other CPUs: the same run with the instructions of older ones and with more threads. It must run, and learn the same but for
//! rounding.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Attack;
use super::dice::Dice;
use super::ring::{Finding, Ring, differ};

pub const ATTACK: Attack =
    Attack { name: "cpus", does: "the instructions of older CPUs and other numbers of threads", strike };

/// The instructions that oneDNN and libtorch may use; as many as there are where nothing is set.
const INSTRUCTIONS: [(&str, &str); 3] = [
    ("all", ""),
    ("AVX2", "export ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2"),
    ("SSE4.1", "export ONEDNN_MAX_CPU_ISA=SSE41 ATEN_CPU_CAPABILITY=default"),
];
const THREADS: [&str; 3] = ["1", "2", "4"];
/// How far the losses of the first step may be apart, relative to the larger. Later ones may differ more, as a mixer's
/// choice between two nearly equal patches may fall otherwise.
const TOLERANCE: f64 = 1e-3;

fn strike(ring: &Ring<'_>, dice: &mut Dice) -> Result<Option<Finding>> {
    let (recipe, mut sets) = ring.recipe_of_a_method(dice)?;
    sets.push("log_every=1".into());
    for (name, instructions) in INSTRUCTIONS {
        for threads in THREADS {
            let out = format!("{name}-{threads}");
            let words =
                ["run", &recipe, "--device", "cpu", "--threads", threads, "--max-steps", "4", "--out", &out];
            // The cases are run with one OpenMP thread else.
            let limits = format!("{instructions}\nexport OMP_NUM_THREADS={threads}");
            let ended = ring.end(&limits, &words, &sets)?;
            let what = format!("{recipe} with {name} instructions and {threads} threads");
            if let Some(Finding(said)) = ended.judge(&[0]) {
                return Ok(Some(Finding(format!("{what}: {said}"))));
            }
            let (base, own) = (ring.path("all-1"), ring.path(&out));
            if own == base {
                continue;
            }
            let (first, last) = (apart(&base, &own, 0)?, apart(&base, &own, 3)?);
            let bits = if differ(&base, &own)?.is_some() { "other bits" } else { "same bits" };
            ring.tally.note(
                format!("{name} instructions, {threads} threads, {bits}; losses of step 4 apart"),
                last,
            );
            ring.tally.note(format!("{name} instructions, {threads} threads: losses of step 1 apart"), first);
            if first > TOLERANCE {
                return Ok(Some(Finding(format!("{what}: losses of step 1 are {first:.1e} apart"))));
            }
        }
    }
    Ok(None)
}

/// How far the losses of two runs are apart at a step: the largest difference, relative to the larger value or to 1.
fn apart(base: &Path, own: &Path, step: usize) -> Result<f64> {
    let losses = |run: &Path| -> Result<Vec<f64>> {
        let text = fs::read_to_string(run.join("metrics.jsonl")).context("metrics.jsonl")?;
        let events = text.lines().map(|line| Ok(serde_json::from_str::<Value>(line)?));
        let events: Vec<Value> = events.collect::<Result<_>>()?;
        let steps = events.iter().filter(|event| event["event"] == "train");
        let step =
            steps.clone().nth(step).or(steps.clone().next_back()).context("a step in metrics.jsonl")?;
        let losses = step["losses"].as_object().context("losses in metrics.jsonl")?;
        Ok(losses.values().map(|loss| loss.as_f64().unwrap_or(f64::NAN)).collect())
    };
    let (base, own) = (losses(base)?, losses(own)?);
    anyhow::ensure!(base.len() == own.len(), "{} losses and {}", base.len(), own.len());
    let far = |(a, b): (&f64, &f64)| (a - b).abs() / a.abs().max(b.abs()).max(1.0);
    // A loss that is no number is as far apart as can be.
    let far = base.iter().zip(&own).map(far).map(|far| if far.is_nan() { f64::INFINITY } else { far });
    Ok(far.fold(0.0, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_of_losses_is_that_of_the_farthest_term() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = |name: &str, one: &str, mix: &str| {
            let run = folder.path().join(name);
            fs::create_dir_all(&run).expect("a folder");
            let line = format!("{{\"event\":\"train\",\"losses\":{{\"one\":{one},\"mix\":{mix}}}}}\n");
            fs::write(run.join("metrics.jsonl"), line).expect("written");
            run
        };
        let base = run("base", "4.0", "0.5");
        assert_eq!(apart(&base, &run("same", "4.0", "0.5"), 0).expect("losses"), 0.0);
        assert_eq!(apart(&base, &run("far", "3.0", "0.25"), 3).expect("losses"), 0.25);
        assert_eq!(apart(&base, &run("none", "null", "0.5"), 0).expect("losses"), f64::INFINITY);
    }
}
