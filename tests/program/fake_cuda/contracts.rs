//! Every mixer and every loss of the program keeps its contract on the fake device, and so do scripts and libraries.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use serde_json::Value;

use super::device::on_fake;
use crate::libraries::library;
use crate::libraries::rust::smooth_mix;
use crate::program::{Place, repository};

/// The settings that the bundled plugins' own test tries beside the defaults.
const SETTINGS: &str = include_str!("../../../plugins/contract_settings.json");

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_string()
}

/// Mixers and losses, each with the settings that are tried: those of the list, or the defaults.
fn all(place: &Place) -> Vec<(String, Vec<String>)> {
    let listed = place.admix(&["plugins", "--format", "json"]).good().stdout;
    let listed: Vec<Value> = serde_json::from_str(&listed).expect("JSON");
    let more: BTreeMap<String, Vec<Value>> = serde_json::from_str(SETTINGS).expect("JSON");
    let named =
        listed.iter().filter(|entry| ["mixer", "loss"].contains(&entry["kind"].as_str().unwrap_or("")));
    // `Script` is a file's, which stand below.
    let names = named.map(|entry| entry["name"].as_str().expect("a name")).filter(|name| *name != "script");
    let mut all: Vec<(String, Vec<String>)> = names
        .map(|name| {
            // A choice is none without settings.
            let defaults = (name != "choice").then(|| "{}".to_string());
            let more = more.get(name).into_iter().flatten().map(Value::to_string);
            (name.to_string(), defaults.into_iter().chain(more).collect())
        })
        .collect();
    for script in ["mixers/stripes", "losses/focal"] {
        all.push((text(&repository().join(format!("scripts/{script}.rhai"))), vec!["{}".into()]));
    }
    // Their defaults and each alternative are tried.
    let cpp = ["examples/plugin_cpp/grid_mix.cpp", "examples/plugin_cpp/soft_grid.cpp"].map(library);
    all.extend([smooth_mix()].into_iter().chain(cpp).map(|library| (text(library), Vec::new())));
    all
}

/// What is wrong with a plugin on the device, if anything.
fn fault(place: &Place, name: &str, settings: &[String]) -> Option<String> {
    let settings = settings.iter().flat_map(|settings| ["--settings", settings]);
    let arguments: Vec<&str> =
        ["plugin", "check", name, "--device", "cuda"].into_iter().chain(settings).collect();
    let (outcome, seen) = on_fake(place, &arguments, &[("OMP_NUM_THREADS", "1")]);
    let seen = seen.expect("what the device saw");
    let used = seen.kernels.values().sum::<u64>() > 100 || name == "choice";
    (outcome.code != Some(0) || !seen.faults.is_empty() || !used)
        .then(|| format!("{name}: {:?} {}\n{}", seen.faults, outcome.stderr, outcome.stdout))
}

#[test]
fn every_mixer_and_every_loss_keeps_its_contract_on_the_device() {
    let place = Place::new();
    let left = Mutex::new(all(&place));
    let count = left.lock().expect("no panic").len();
    assert!(count >= 20, "{count}");
    let faults = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let place = Place::new();
                while let Some((name, settings)) = { left.lock().expect("no panic").pop() } {
                    faults.lock().expect("no panic").extend(fault(&place, &name, &settings));
                }
            });
        }
    });
    let faults = faults.into_inner().expect("no panic");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn entries_of_other_kinds_are_checked_on_the_cpu_and_say_so() {
    let (outcome, _) = on_fake(&Place::new(), &["plugin", "check", "odc", "--device", "cuda"], &[]);
    outcome.refused(2, &["--device", "odc", "only be checked on the CPU"]);
}
