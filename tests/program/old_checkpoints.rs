//! Run folders of an earlier commit, `tests/fixtures/<commit>/<recipe>`: the program still reads them and goes on as that
//! commit did.
//!
//! Beside each run, which stopped after 8 steps, is the checkpoint that the same commit wrote after 10. Bits differ from CPU
//! to CPU, so values are compared with a tolerance.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::{Place, files_below, repository};

const COMMIT: &str = "f81cd28";
/// The largest difference of two values that are of order 1.
const TOLERANCE: f64 = 1e-3;

fn fixture(recipe: &str) -> PathBuf {
    repository().join("tests/fixtures").join(COMMIT).join(recipe)
}

/// A copy of the run, which may be changed.
fn place(recipe: &str) -> Place {
    let (place, folder) = (Place::new(), fixture(recipe));
    for file in files_below(&folder.join("run")) {
        let name = file.strip_prefix(&folder).expect("below the fixture").to_str().expect("UTF-8");
        place.write(name, std::fs::read(&file).expect("a file"));
    }
    place
}

/// Data type, shape and values of every tensor.
fn tensors(file: &Path) -> BTreeMap<String, (Dtype, Vec<usize>, Vec<f64>)> {
    let bytes = std::fs::read(file).expect("a checkpoint");
    let all = SafeTensors::deserialize(&bytes).expect("safetensors").tensors();
    all.into_iter()
        .map(|(name, view)| {
            let data = view.data();
            let values: Vec<f64> = match view.dtype() {
                Dtype::F32 => {
                    data.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
                }
                Dtype::I64 => {
                    data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes) as f64).collect()
                }
                other => panic!("{name} is of {other:?}"),
            };
            (name, (view.dtype(), view.shape().to_vec(), values))
        })
        .collect()
}

/// Accuracies and losses of the run as `admix eval` tells them.
fn evaluated(place: &Place, flags: &[&str]) -> Value {
    let outcome = place.compute(&[&["eval", "run", "--format", "json"], flags].concat()).good();
    let told: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!(told["step"], 8, "{told}");
    told["heads"].clone()
}

/// Fails unless a head has this accuracy (in percent, but for one image) and loss.
#[track_caller]
fn is_near(heads: &Value, head: &str, top1: f64, loss: f64) {
    let number = |name: &str| heads[head][name].as_f64().unwrap_or_else(|| panic!("{head}: {heads}"));
    assert!((number("top1") - top1).abs() <= 100.0 / number("images") + TOLERANCE, "{head}: {heads}");
    assert!((number("loss") - loss).abs() <= TOLERANCE, "{head}: {heads}");
}

/// Resumes the run for two steps and compares the state with that of the earlier commit.
fn goes_on_as_before(place: &Place, recipe: &str) {
    // The bundled script may have got settings since, whose defaults change nothing. AMix had one lambda for a batch then.
    let per = ["--set", "mixers.amix.per=Batch"];
    let go_on = [&["--resume", "--allow-changed-script", "--max-steps", "10"], &per[..]].concat();
    place.compute(&[&["run", "run/recipe.ron", "--out", "run"], &go_on[..]].concat()).good();
    let now = tensors(&place.path("run/checkpoints/step-00000010.safetensors"));
    let before = tensors(&fixture(recipe).join("step-00000010.safetensors"));
    assert!(now.keys().eq(before.keys()), "{:?}\n{:?}", now.keys(), before.keys());
    let start = tensors(&fixture(recipe).join("run/checkpoints/step-00000008.safetensors"));
    let mut moved = 0;
    for (name, (dtype, shape, values)) in &before {
        let (dtype_now, shape_now, values_now) = &now[name];
        assert_eq!((dtype_now, shape_now), (dtype, shape), "{name}");
        let far = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(far(values, values_now) <= TOLERANCE, "{name} is off by {}", far(values, values_now));
        moved += usize::from(far(&start[name].2, values) > 10.0 * TOLERANCE);
    }
    // Or a run that does nothing would pass.
    assert!(moved > before.len() / 4, "{moved} of {} tensors moved", before.len());
}

#[test]
fn an_old_run_with_a_trained_mixer_and_a_momentum_pair_loads_and_goes_on() {
    let place = place("amix");
    let heads = evaluated(&place, &[]);
    is_near(&heads, "mix_k", 28.125, 1.384535);
    is_near(&heads, "mix_q", 50.0, 1.209023);
    is_near(&heads, "one_k", 53.125, 1.378995);
    is_near(&heads, "one_q", 59.375, 1.084658);
    goes_on_as_before(&place, "amix");
}

#[test]
fn an_old_run_with_a_queue_and_clusters_loads_and_goes_on() {
    let place = place("amix_c");
    is_near(&evaluated(&place, &["--protocol", "knn"]), "knn_q", 100.0, 0.250067);
    goes_on_as_before(&place, "amix_c");
}
