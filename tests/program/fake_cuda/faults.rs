//! The fake device notices what it is there to notice: faults done on purpose, each next to the same without the fault.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use serde_json::Value;

use super::device::{faults, libraries};
use crate::program::Place;

/// Each fault, and a part of what says so.
const FAULTS: [(&str, &str); 9] = [
    ("cpu_index", "Expected all tensors to be on the same device"),
    ("host_read", "the host touches device memory"),
    ("missing_wait", "race: mul.Tensor uses what another stream writes"),
    ("early_free", "memory is freed while another stream may use it"),
    ("early_write", "the device got what the host wrote later"),
    ("baked_scalar", "a replay took the number of the capture"),
    ("sync_in_capture", "operation not permitted when stream is capturing"),
    ("stale_pointer", "a result that was kept is not there any more"),
    ("unwritten", "fresh memory holds no numbers"),
];

/// All that a fault or its right counterpart makes the device or the program say, and whether it ended well.
fn said(fault: &str, right: bool) -> (String, bool) {
    let place = Place::new();
    let stats = place.path("seen.json");
    let mut command = Command::new(faults());
    command.arg(fault).args(right.then_some("--right")).current_dir(place.path(""));
    let output = command
        .env("LD_LIBRARY_PATH", libraries())
        .env("FAKE_CUDA_STATS", &stats)
        .output()
        .expect("it starts");
    assert!(
        output.status.code().is_some_and(|code| code != 2),
        "{fault}: {output:?} {:?}",
        output.status.signal()
    );
    let mut text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    if let Ok(seen) = fs::read_to_string(stats) {
        let seen: Value = serde_json::from_str(&seen).unwrap_or_else(|error| panic!("{error}: {seen}"));
        text += &seen["faults"].as_object().expect("faults").keys().cloned().collect::<Vec<_>>().join("\n");
    }
    (text, output.status.success())
}

#[test]
fn planted_faults_are_noticed_and_the_same_without_the_fault_is_not() {
    for (fault, part) in FAULTS {
        let (text, _) = said(fault, false);
        assert!(text.contains(part), "{fault}: `{part}` is not in: {text}");
        let (text, well) = said(fault, true);
        assert!(well && FAULTS.iter().all(|(_, part)| !text.contains(part)), "{fault} --right: {text}");
    }
}
