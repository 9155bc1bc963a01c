//! What `cargo xtask bench gpu --bundle` packs measures on a machine without cargo: here on the fake device.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::device::libraries;
use crate::libraries::built;
use crate::program::{Place, files_below, repository};

/// What `run.sh` needs of the machine, beside Python where its torch is looked for.
const NEEDED: [&str; 6] = ["c++", "date", "dirname", "gzip", "sh", "timeout"];

fn run(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{command:?}\n{stdout}\n{stderr}");
    stdout
}

/// The folder, packed from the programs that were built with these tests.
fn packed(place: &Place) -> PathBuf {
    for program in ["xtask", "admix-bench"] {
        let there = built().join(program).is_file();
        assert!(
            there,
            "there is no {program}: `cargo xtask fake-cuda` and `cargo xtask test` build it first"
        );
    }
    let shared = place.path("shared");
    fs::create_dir_all(shared.join("peer")).expect("a folder");
    fs::write(shared.join("peer/torch_steps.py"), "raise SystemExit('needs PyTorch')\n").expect("a file");
    let bundle = place.path("bundle");
    let mut pack = Command::new(built().join("xtask"));
    pack.args(["bench", "gpu", "--admix", env!("CARGO_BIN_EXE_admix"), "--bundle"]).arg(&bundle);
    let said = run(pack.current_dir(repository()).env("ADMIX_SHARED", &shared));
    assert!(said.contains("without CIFAR-10"), "{said}");
    bundle
}

#[test]
fn the_bundle_for_a_gpu_is_small_and_its_rehearsal_measures_everything_without_cargo() {
    let place = Place::new();
    let bundle = packed(&place);
    let bytes: u64 = files_below(&bundle).iter().map(|file| file.metadata().expect("a file").len()).sum();
    assert!(bytes < 60_000_000, "{bytes}");
    let programs = place.path("programs");
    fs::create_dir(&programs).expect("a folder");
    for name in NEEDED {
        let path = run(Command::new("sh").args(["-c", &format!("command -v {name}")]));
        symlink(path.trim(), programs.join(name)).expect("a link");
    }
    let torch = libraries().parent().expect("the folder of libtorch");
    let out = place.path("out");
    let mut rehearsal = Command::new(bundle.join("run.sh"));
    rehearsal.arg("--rehearse").current_dir(place.path("")).env_clear().env("PATH", &programs);
    let said = run(rehearsal.env("LIBTORCH", torch).env("OUT", &out).env("OMP_NUM_THREADS", "1"));
    let results = fs::read_to_string(out.join("results.txt")).expect("results");
    assert!(said.trim_end().ends_with(results.trim_end()), "the results come last: {said}");
    for part in [
        "amix_c in float32, captured",
        "amix_c, losses captured and direct, relative difference",
        "late_cutmix, variants captured",
        "vanilla, losses streamed and resident",
        "precision: configs/bench/vanilla.ron, 3 seeds",
        "ResNet-18, width 1/8, 16 px: puzzlemix",
        "amix, peak memory of vanilla's",
        "amix at 224 px, peak memory in bytes",
        "passes of vanilla: captured",
        "amix_i, step by its passes",
    ] {
        assert!(results.contains(part), "{part}: {results}");
    }
    // Ratios of times say nothing here; what is counted does.
    let counted = [
        "by CUDA's own watch",
        "relative difference",
        "variants captured",
        "steps replayed",
        "host syncs",
        "agree with plain ones",
    ];
    let (mut checked, mut missed) = (0, Vec::new());
    for line in results.lines().filter(|line| counted.iter().any(|part| line.contains(part))) {
        checked += 1;
        missed.extend((!line.ends_with(": met")).then_some(line));
    }
    assert!(checked > 35 && missed.is_empty(), "{checked}: {missed:#?}");
    let facts = fs::read_to_string(out.join("facts.jsonl")).expect("facts");
    let facts: Vec<Value> = facts.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(facts.iter().all(|facts| facts["said"]["device"] == "cuda(0)"), "{facts:?}");
}

#[test]
fn what_the_rehearsal_does_not_know_is_refused() {
    let script = repository().join("xtask/src/bench/gpu/run.sh");
    let output = Command::new(script).arg("--rehearsal").output().expect("sh");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--rehearsal: expected correctness, speed or --rehearse"), "{said}");
}
