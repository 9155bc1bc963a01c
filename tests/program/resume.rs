//! Runs that are killed, stopped, starved of disk or damaged, and what comes of going on with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use admix_engine::Checkpoint;
use admix_torch::{Device, Kind, Tensor};
use serde_json::Value;

use super::{Outcome, Place, TINY, finish};

fn checkpoint(path: &Path) -> Checkpoint {
    Checkpoint::read(path, Device::Cpu).unwrap_or_else(|error| panic!("{error}"))
}

/// The checkpoint of a step.
pub fn file_of(place: &Place, run: &str, step: u64) -> PathBuf {
    place.path(run).join(format!("checkpoints/step-{step:08}.safetensors"))
}

fn bits(tensor: &Tensor) -> Vec<u8> {
    let bytes = tensor.contiguous().reshape([-1]).view_dtype(Kind::Uint8);
    Vec::try_from(bytes).expect("bytes")
}

/// Fails unless two checkpoints hold the same state, bit for bit, and the same results.
#[track_caller]
pub fn same_state(a: &Path, b: &Path) {
    let (a, b) = (checkpoint(a), checkpoint(b));
    assert!(a.tensors.len() > 20, "{:?}", a.tensors.keys());
    assert_eq!(a.tensors.keys().collect::<Vec<_>>(), b.tensors.keys().collect::<Vec<_>>());
    for (name, tensor) in &a.tensors {
        let other = &b.tensors[name];
        assert_eq!((tensor.kind(), tensor.size()), (other.kind(), other.size()), "{name}");
        assert!(bits(tensor) == bits(other), "{name} differs");
    }
    assert_eq!((a.header.clock, a.header.batch_in_epoch), (b.header.clock, b.header.batch_in_epoch));
    let results = |c: &Checkpoint| {
        let history = c.header.history.clone();
        (history.evaluations, history.images, history.skipped)
    };
    assert_eq!(results(&a), results(&b));
}

/// The lines of metrics by event and step, without what the clock on the wall decides. Fails if one is there twice.
#[track_caller]
fn metrics(run: &Path) -> BTreeMap<(String, u64), Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let mut row: Value = serde_json::from_str(line).expect(line);
        for by_the_clock in ["images_per_s", "time"] {
            row.as_object_mut().expect("an object").remove(by_the_clock);
        }
        let key =
            (row["event"].as_str().expect("an event").to_string(), row["step"].as_u64().expect("a step"));
        assert!(all.insert(key, row).is_none(), "twice: {line}");
    }
    all
}

/// The step that a start said it goes on from.
fn resumed_at(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("resumed from "))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Name and content of every file of a folder.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    super::files_below(folder)
        .into_iter()
        .map(|file| (file.clone(), fs::read(file).expect("a file")))
        .collect()
}

/// Numbers that are the same in every run of these tests.
struct Moments(u64);

impl Moments {
    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A running program whose lines are read as they come.
pub struct Watched {
    pub child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    pub said: String,
}

impl Watched {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { child, lines, said: String::new() }
    }

    /// Reads until a line has passed this test. False if the program ended first.
    pub fn until(&mut self, enough: impl Fn(&str) -> bool) -> bool {
        for line in self.lines.by_ref() {
            let line = line.expect("a line");
            self.said.push_str(&line);
            self.said.push('\n');
            if enough(&line) {
                return true;
            }
        }
        false
    }

    /// Sends a signal, waits for the end and returns all that was said.
    pub fn signal(mut self, name: &str) -> Outcome {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh runs").success());
        while self.until(|_| false) {}
        let outcome = finish(self.child);
        Outcome { stdout: self.said + outcome.stdout.as_str(), ..outcome }
    }
}

/// The optimiser step of a progress line.
pub fn step_of(line: &str) -> Option<u64> {
    line.split_once("  step ")?.1.split('/').next()?.parse().ok()
}

const STEPS_PER_EPOCH: u64 = 30;

/// The bundled quickstart, small: two epochs of thirty steps, a checkpoint every second step.
const QUICKSTART: [&str; 18] = [
    "run",
    "quickstart",
    "--set",
    "epochs=2",
    "--set",
    "batch=8",
    "--set",
    "data.per_class=24",
    "--set",
    "model.width=0.015625",
    "--set",
    "checkpoint.every_steps=2",
    "--set",
    "evaluate.reestimate_batches=2",
    "--set",
    "log_every=1",
    "--out",
    "run",
];

#[test]
fn a_run_killed_five_times_ends_with_the_bits_of_one_that_was_not() {
    let (whole, killed) = (Place::new(), Place::new());
    let cpu = ["--device", "cpu", "--threads", "1"];
    let reference = whole.command(&[&QUICKSTART[..], &cpu].concat()).spawn().expect("the program starts");

    let mut moments = Moments(5);
    // Where each start after a kill went on.
    let mut resumed: Vec<u64> = Vec::new();
    let (mut kills, mut done, mut was_killed) = (0, None, false);
    while kills < 5 {
        let target = done.unwrap_or(0) + 3 + moments.below(3);
        // A slow machine may miss the moment; then the run stops by itself a little later, and that is no kill.
        let most = (target + 4).to_string();
        let resume: &[&str] = if done.is_some() { &["--resume"] } else { &[] };
        let mut program = Watched::start(
            killed.command(&[&QUICKSTART[..], &cpu, resume, &["--max-steps", &most]].concat()),
        );
        if done.is_some() {
            assert!(
                program.until(|line| line.starts_with("resumed from ")),
                "{}",
                finish(program.child).stderr
            );
            done = resumed_at(&program.said);
            resumed.extend(done.filter(|_| was_killed));
        }
        assert!(program.until(|line| step_of(line).is_some_and(|step| step >= target)), "{}", program.said);
        std::thread::sleep(Duration::from_millis(moments.below(25)));
        // SIGKILL: nothing of the program runs any more.
        program.child.kill().expect("killed");
        was_killed = finish(program.child).signal == Some(9);
        kills += usize::from(was_killed);
        done = Some(done.unwrap_or(0));
    }
    let last = killed.admix(&[&QUICKSTART[..], &cpu, &["--resume"]].concat()).good();
    resumed.extend(resumed_at(&last.stdout));
    assert_eq!(resumed.len(), 5, "{resumed:?}");
    let in_an_epoch = resumed.iter().filter(|step| *step % STEPS_PER_EPOCH != 0).count();
    assert!(in_an_epoch >= 3 && resumed.iter().all(|step| *step > 0) && resumed.is_sorted(), "{resumed:?}");
    assert!(last.stdout.contains("done: 2 epochs, 60 steps"), "{}", last.stdout);

    finish(reference).good();
    let end = 2 * STEPS_PER_EPOCH;
    same_state(&file_of(&whole, "run", end), &file_of(&killed, "run", end));
    let best = |place: &Place| place.path("run/checkpoints/best.safetensors");
    same_state(&best(&whole), &best(&killed));

    let (wanted, got) = (metrics(&whole.path("run")), metrics(&killed.path("run")));
    let trained: BTreeSet<u64> =
        got.keys().filter(|(event, _)| event == "train").map(|(_, step)| *step).collect();
    assert_eq!(trained, (1..=end).collect());
    assert_eq!(got, wanted);
}

/// A folder with a recipe, and the flags that run it into `run`.
fn tiny() -> (Place, Vec<&'static str>) {
    let place = Place::new();
    place.write("tiny.ron", TINY);
    (place, vec!["run", "tiny.ron", "--out", "run"])
}

fn with<'a>(flags: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [flags, more].concat()
}

#[test]
fn a_run_killed_before_its_first_checkpoint_begins_again_and_says_so() {
    let (place, flags) = tiny();
    let long = with(
        &flags,
        &["--set", "checkpoint.every_steps=None", "--set", "log_every=1", "--set", "data.toy.train=6400"],
    );
    let mut program = Watched::start(place.command(&with(&long, &["--device", "cpu", "--threads", "1"])));
    assert!(program.until(|line| step_of(line).is_some()), "{}", program.said);
    program.child.kill().expect("killed");
    assert_eq!(finish(program.child).signal, Some(9));
    assert_eq!(fs::read_dir(place.path("run/checkpoints")).expect("a folder").count(), 0);

    let before = snapshot(&place.path("run"));
    place
        .compute(&long)
        .refused(2, &["run holds a run already", "before its first checkpoint", "--resume", "--out"]);
    assert_eq!(snapshot(&place.path("run")), before);
    for resume in [&["--resume"][..], &["--resume", "run"]] {
        let outcome = place.compute(&[&long[..], resume, &["--max-steps", "3"]].concat()).good();
        let says = "warning: run holds no checkpoint: starting from the beginning";
        assert!(outcome.stderr.contains(says), "{}", outcome.stderr);
        let steps: Vec<u64> = metrics(&place.path("run")).into_keys().map(|(_, step)| step).collect();
        assert_eq!(steps, [1, 2, 3]);
        fs::remove_file(file_of(&place, "run", 3)).expect("removed");
    }
}

#[test]
fn a_run_stopped_by_a_signal_saves_and_goes_on_with_the_same_bits() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let (place, flags) = tiny();
        let flags = with(&flags, &["--set", "data.toy.train=6400", "--set", "checkpoint.every_steps=None"]);
        let all = with(&flags, &["--set", "log_every=1", "--device", "cpu", "--threads", "1"]);
        // Under `nohup`, say, SIGHUP is ignored, and programs inherit that.
        let heeded = ["env", "--default-signal=HUP"];
        let mut program = Watched::start(place.command_through(&heeded, &all));
        assert!(program.until(|line| step_of(line) == Some(3)), "{}", program.said);
        let outcome = program.signal(signal);
        assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
        let files = super::files_below(&place.path("run/checkpoints"));
        let [saved] = &files[..] else { panic!("{files:?}") };
        let step = checkpoint(saved).header.clock.step;
        assert!(step >= 3, "{step}");
        let says =
            format!("the state is saved in run/checkpoints/step-{step:08}.safetensors: resume with --resume");
        assert!(outcome.stderr.contains(&says), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("error"), "{}", outcome.stderr);
        // The step of the signal was finished and told.
        assert_eq!(metrics(&place.path("run")).into_keys().map(|(_, step)| step).max(), Some(step));

        let end = (step + 3).to_string();
        let outcome = place.admix(&with(&all, &["--resume", "--max-steps", &end])).good();
        assert_eq!(resumed_at(&outcome.stdout), Some(step));
        let mut whole = all.clone();
        whole[3] = "whole";
        place.admix(&with(&whole, &["--max-steps", &end])).good();
        same_state(&file_of(&place, "run", step + 3), &file_of(&place, "whole", step + 3));
    }
}

#[test]
fn a_second_signal_ends_a_run_within_a_step() {
    for (second, code) in [("INT", 130), ("TERM", 143)] {
        let (place, flags) = tiny();
        // The step after the third takes seconds.
        let busy = "let x = t.images; for i in 0..1500 { x = blur(x, 15); }";
        let (method, _) = admix_engine::bundled::script("amix").expect("a bundled script");
        place.write(
            "busy.rhai",
            method.replace("fn step(t) {", &format!("fn step(t) {{ if t.step > 2 {{ {busy} }}")),
        );
        let more = ["--script", "busy.rhai", "--set", "data.toy.train=6400", "--set", "batch=128"];
        let all = with(&with(&flags, &more), &["--set", "log_every=1", "--device", "cpu", "--threads", "1"]);
        let mut program = Watched::start(place.command(&all));
        assert!(program.until(|line| step_of(line) == Some(3)), "{}", program.said);
        let pid = program.child.id();
        let kill = format!("kill -TERM {pid}; sleep 0.1; kill -{second} {pid}");
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh runs").success());
        while program.until(|_| false) {}
        let outcome = finish(program.child);
        assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains("a second signal ends the program without saving"),
            "{}",
            outcome.stderr
        );
        assert!(!outcome.stderr.contains("the state is saved"), "{}", outcome.stderr);
    }
}

/// AMix-C on generated images: everything that a run without labels keeps from step to step, and every kind of draw.
const WITHOUT_LABELS: &str = r#"(
    epochs: 9, batch: 8, log_every: 1,
    data: (name: "toy", views: 2, augment: Moco(), toy: (train: 160, test: 32, classes: 4, size: 16)),
    model: ConvNet(widths: [8, 8, 8], strides: [2, 2, 2]), heads: [], neck: Mlp(hidden: 16, out: 8), bn_groups: 2,
    embedding_heads: {"online": (), "offline": ()},
    queues: {"keys": (length: 56)},
    pairs: [
        (from: "q", to: "k", when: BeforeStep, momentum: 0.9),
        (from: "online", to: "offline", when: BeforeStep, copy: true),
    ],
    method: "amix_c",
    mixers: {"amix": AMix(stage: 2, per: Sample, adjust: 0.5, partner: Derangement)},
    losses: {"cluster": CrossEntropy(class_weight: WeightedMean)},
    clusterers: {"odc": Odc(k: 6, every: 3, min_size: 20)},
    optimizer: Sgd(lr: 0.1),
    evaluate: (probes: [Knn]),
    checkpoint: (every_steps: Some(3), keep: 30),
)"#;

#[test]
fn a_run_without_labels_killed_in_an_epoch_ends_with_the_bits_of_one_that_was_not() {
    let place = Place::new();
    place.write("r.ron", WITHOUT_LABELS);
    let flags = ["run", "r.ron", "--device", "cpu", "--threads", "1", "--out"];
    let mut program = Watched::start(place.command(&with(&flags, &["parts"])));
    assert!(program.until(|line| step_of(line).is_some_and(|step| step >= 8)), "{}", program.said);
    program.child.kill().expect("killed");
    assert_eq!(finish(program.child).signal, Some(9));
    // In the middle of the first epoch, of the second, of the third; 20 steps each.
    let mut resumed = Vec::new();
    for end in ["27", "47"] {
        let outcome = place.admix(&with(&flags, &["parts", "--resume", "--max-steps", end])).good();
        resumed.extend(resumed_at(&outcome.stdout));
    }
    assert!(resumed.len() == 2 && (6..20).contains(&resumed[0]) && resumed[1] == 27, "{resumed:?}");
    place.admix(&with(&flags, &["whole", "--max-steps", "47"])).good();
    let (whole, parts) = (file_of(&place, "whole", 47), file_of(&place, "parts", 47));
    same_state(&whole, &parts);
    assert_eq!(metrics(&place.path("whole")), metrics(&place.path("parts")));

    // All of it is in the checkpoint, and has moved since the run was last stopped.
    let (before, after) = (checkpoint(&file_of(&place, "parts", 27)), checkpoint(&whole));
    for name in [
        "queue.keys.entries",
        "queue.keys.pointer",
        "bank.odc.features",
        "bank.odc.labels",
        "bank.odc.centroids",
        "head.online.fc.weight",
        "head.offline.fc.weight",
        "net.q.neck.fc1.weight",
        "net.k.neck.fc1.weight",
        "net.k.backbone.bn3.running_mean",
        "mixer.amix.value.fc1.weight",
        "optimizer.momentum.head.online.fc.weight",
        "optimizer.momentum.mixer.amix.value.fc1.weight",
    ] {
        assert!(!before.tensors[name].equal(&after.tensors[name]), "{name} did not move");
    }
}

/// What is done to a checkpoint's bytes, and in words.
fn damages(whole: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let header = u64::from_le_bytes(whole[..8].try_into().expect("eight bytes")) as usize;
    let at = |part: &[u8]| {
        whole.windows(part.len()).position(|window| window == part).expect("a part of the header")
    };
    let checksum = at(b"\\\"checksum\\\":\\\"") + 20;
    let flipped = |place: usize, bit: u8| {
        let mut bytes = whole.to_vec();
        bytes[place] ^= 1 << bit;
        bytes
    };
    vec![
        ("cut in the tensors", whole[..whole.len() - 100].to_vec()),
        ("cut in the header", whole[..header / 2].to_vec()),
        ("cut in the length", whole[..5].to_vec()),
        ("empty", Vec::new()),
        ("one byte more", [whole, &[0]].concat()),
        ("a bit of the header's length", flipped(0, 3)),
        ("a high bit of the header's length", flipped(7, 6)),
        ("a bit of the first brace", flipped(8, 0)),
        ("a bit of a tensor's name", flipped(at(b"conv"), 1)),
        ("a bit of a tensor's shape", flipped(at(b"\"shape\":[") + 9, 0)),
        ("a bit of the step", flipped(at(b"\\\"step\\\":") + 9, 0)),
        ("a bit of the script", flipped(at(b"fn step"), 2)),
        ("a bit of the checksum", flipped(checksum, 0)),
        ("the first bit of the tensors", flipped(8 + header, 0)),
        ("a bit in the middle of the tensors", flipped((8 + header + whole.len()) / 2, 5)),
        ("the last bit", flipped(whole.len() - 1, 7)),
    ]
}

#[test]
fn a_damaged_checkpoint_is_told_and_the_one_before_is_used() {
    let (place, flags) = tiny();
    place.compute(&with(&flags, &["--max-steps", "6"])).good();
    let newest = file_of(&place, "run", 6);
    let whole = fs::read(&newest).expect("a checkpoint");
    let damages = damages(&whole);
    for (what, bytes) in &damages {
        fs::write(&newest, bytes).expect("written");
        let error = Checkpoint::read(&newest, Device::Cpu).expect_err(what).to_string();
        assert!(error.contains("step-00000006.safetensors") && !error.contains('\n'), "{what}: {error}");
    }
    let through_the_program = ["cut in the tensors", "a bit of the header's length", "a bit of the checksum"];
    for (what, bytes) in damages.iter().filter(|(what, _)| through_the_program.contains(what)) {
        fs::write(&newest, bytes).expect("written");
        let outcome = place.compute(&with(&flags, &["--resume", "--max-steps", "4"])).good();
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        assert!(
            matches!(lines[..], [line] if line.starts_with("warning: checkpoint run/checkpoints/step-00000006.safetensors")
                && line.contains("damaged") && line.ends_with("trying the one before")),
            "{what}: {lines:?}"
        );
        assert_eq!(resumed_at(&outcome.stdout), Some(4), "{what}");
        assert!(newest.exists(), "nothing is deleted before there is a better one");
    }
    // The run that goes on takes the place of the damaged file, and ends as if nothing had been.
    let outcome = place.compute(&with(&flags, &["--resume", "--max-steps", "5"])).good();
    assert_eq!(resumed_at(&outcome.stdout), Some(4));
    assert!(!newest.exists() && file_of(&place, "run", 5).exists(), "the newest good one must be the newest");
    let outcome = place.compute(&with(&flags, &["--resume", "--max-steps", "6"])).good();
    assert_eq!(resumed_at(&outcome.stdout), Some(5));
    place.write("whole", whole);
    same_state(&newest, &place.path("whole"));
}

#[test]
fn a_run_whose_checkpoints_are_all_damaged_stops_and_changes_nothing() {
    let (place, flags) = tiny();
    place.compute(&with(&flags, &["--max-steps", "6"])).good();
    for step in [4, 6] {
        let path = file_of(&place, "run", step);
        let bytes = fs::read(&path).expect("a checkpoint");
        fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
    }
    let before = snapshot(&place.path("run"));
    let outcome = place.compute(&with(&flags, &["--resume"]));
    let outcome =
        outcome.refused(2, &["run/checkpoints", "none of the 2 there is whole", "step-00000004", "--out"]);
    assert!(outcome.stderr.contains("step-00000006.safetensors"), "{}", outcome.stderr);
    assert_eq!(snapshot(&place.path("run")), before);
}

#[test]
fn a_best_checkpoint_is_offered_when_the_others_are_damaged_and_can_be_gone_on_from() {
    let (place, flags) = tiny();
    place.compute(&flags).good();
    for step in [14, 16] {
        fs::write(file_of(&place, "run", step), "").expect("written");
    }
    let best = "run/checkpoints/best.safetensors";
    place.compute(&with(&flags, &["--resume"])).refused(2, &[&format!("--resume {best}")]);
    let step = checkpoint(&place.path(best)).header.clock.step;
    let end = (step + 1).to_string();
    let outcome = place
        .compute(&["run", "tiny.ron", "--resume", best, "--set", "epochs=3", "--max-steps", &end])
        .good();
    assert_eq!(resumed_at(&outcome.stdout), Some(step));
    assert_eq!(checkpoint(&file_of(&place, "run", step + 1)).header.clock.step, step + 1);
    // What was written after the best one belongs to a run that was given up.
    let newest = place.compute(&with(&flags, &["--resume", "--set", "epochs=3", "--max-steps", "1"])).good();
    assert_eq!(resumed_at(&newest.stdout), Some(step + 1), "{}", newest.stderr);
}

/// Two old checkpoints, of steps 2 and 4, and the flags of the run that shall go on.
fn two_checkpoints() -> (Place, Vec<&'static str>, BTreeMap<PathBuf, Vec<u8>>) {
    let (place, flags) = tiny();
    place.compute(&with(&flags, &["--max-steps", "4"])).good();
    let before = snapshot(&place.path("run/checkpoints"));
    assert_eq!(before.len(), 2);
    let flags = with(&flags, &["--resume", "--device", "cpu", "--threads", "1"]);
    (place, flags, before)
}

/// Fails unless the old checkpoints are what they were, nothing half-written lies beside them, and a run goes on.
#[track_caller]
fn intact(place: &Place, flags: &[&str], before: &BTreeMap<PathBuf, Vec<u8>>) {
    assert_eq!(snapshot(&place.path("run/checkpoints")), *before);
    let outcome = place.admix(&with(flags, &["--max-steps", "6"])).good();
    assert_eq!(resumed_at(&outcome.stdout), Some(4));
    assert_eq!(checkpoint(&file_of(place, "run", 6)).header.clock.step, 6);
}

#[test]
fn a_full_disk_ends_a_run_with_its_old_checkpoints_intact() {
    let (place, flags, before) = two_checkpoints();
    // Writing there says what a full disk says.
    let partial = place.path("run/checkpoints/step-00000006.safetensors.partial");
    symlink("/dev/full", &partial).expect("a link");
    let parts =
        ["cannot write the checkpoint", "step-00000006.safetensors", "No space left", "Free some space"];
    place.admix(&flags).refused(1, &parts);
    intact(&place, &flags, &before);
}

#[test]
fn a_file_size_limit_ends_a_run_with_its_old_checkpoints_intact() {
    let (place, flags, before) = two_checkpoints();
    // In blocks of 512 or 1,024 bytes: less than a checkpoint, more than the small files.
    let starter = ["sh", "-c", "ulimit -f 12; exec \"$0\" \"$@\""];
    let outcome = finish(place.command_through(&starter, &flags).spawn().expect("sh runs"));
    outcome.refused(
        1,
        &["cannot write the checkpoint", "step-00000006.safetensors", "File too large", "ulimit -f"],
    );
    intact(&place, &flags, &before);
}

#[test]
fn metrics_that_cannot_be_written_end_a_run_with_its_old_checkpoints_intact() {
    let (place, flags, before) = two_checkpoints();
    let metrics = place.path("run/metrics.jsonl");
    let text = fs::read(&metrics).expect("metrics");
    fs::remove_file(&metrics).expect("removed");
    fs::create_dir(&metrics).expect("a folder");
    place.admix(&flags).refused(2, &["run/metrics.jsonl is a folder", "--out"]);
    fs::remove_dir(&metrics).expect("removed");
    fs::write(&metrics, text).expect("written");
    intact(&place, &flags, &before);
}

#[test]
fn a_read_only_disk_ends_a_run_with_its_old_checkpoints_intact() {
    let (place, flags, before) = two_checkpoints();
    let mount = "mount --bind run run 2>/dev/null && mount -o remount,bind,ro run 2>/dev/null || exit 77";
    let starter = ["unshare", "-m", "sh", "-c", &format!("{mount}; exec \"$0\" \"$@\"")];
    let Ok(child) = place.command_through(&starter, &flags).spawn() else { return };
    let outcome = finish(child);
    if outcome.code == Some(77) || outcome.stderr.starts_with("unshare:") {
        // Only root may mount; the other ways to fail are tested above.
        return;
    }
    outcome.refused(1, &["cannot write run/", "Read-only file system", "Choose another folder with --out"]);
    intact(&place, &flags, &before);
}

#[test]
fn a_run_folder_that_cannot_be_made_is_told_with_a_way_out() {
    let (place, _) = tiny();
    place.write("file", "not a folder");
    for out in ["file", "file/run"] {
        let outcome = place.compute(&["run", "tiny.ron", "--out", out]);
        outcome.refused(
            1,
            &[&format!("the folder {out}: "), "Not a directory", "Choose another folder with --out"],
        );
    }
    assert_eq!(fs::read_to_string(place.path("file")).expect("a file"), "not a folder");
}

#[test]
fn a_changed_script_is_refused_unless_it_is_accepted() {
    let (place, mut flags) = tiny();
    let (script, _) = admix_engine::bundled::script("amix").expect("the bundled script");
    place.write("own.rhai", script);
    flags.extend(["--script", "own.rhai"]);
    place.compute(&with(&flags, &["--max-steps", "2"])).good();
    place.write("own.rhai", format!("{script}// changed\n"));
    let more = ["--resume", "--max-steps", "3"];
    let parts = ["own.rhai", "step-00000002.safetensors", "--allow-changed-script"];
    place.compute(&with(&flags, &more)).refused(2, &parts);
    assert!(!file_of(&place, "run", 3).exists());
    let outcome = place.compute(&[&flags[..], &more, &["--allow-changed-script"]].concat()).good();
    assert!(outcome.stderr.contains("own.rhai differs from the one that"), "{}", outcome.stderr);
    assert_eq!(resumed_at(&outcome.stdout), Some(2));
    place.compute(&with(&flags, &["--allow-changed-script"])).bad_flag(&["--resume"]);
}

#[test]
fn a_changed_scripted_mixer_or_loss_is_refused_unless_it_is_accepted() {
    let place = Place::new();
    let recipe = TINY
        .replace("method: \"amix\"", "method: \"own.rhai\"")
        .replace(r#"heads: ["one", "mix"]"#, r#"heads: ["one"]"#)
        .replace("\"amix\": AMix(alpha: 2.0)", "\"mix\": Script(\"cut.rhai\")")
        .replace(
            "\"mask\": Mask(margin: 0.1)",
            "\"focal\": Script(file: \"focal.rhai\", params: {\"gamma\": 1})",
        );
    place.write("recipes/tiny.ron", &recipe);
    let (method, _) = admix_engine::bundled::script("mixup").expect("a bundled script");
    place.write("recipes/own.rhai", method.replace("mixup_cross_entropy", "focal"));
    let (cut, _) = admix_engine::bundled::part("mixers/cutmix").expect("a bundled script");
    let (focal, _) = admix_engine::bundled::part("losses/focal").expect("a bundled script");
    place.write("recipes/cut.rhai", cut);
    place.write("recipes/focal.rhai", focal);
    let flags = ["run", "recipes/tiny.ron", "--out", "run"];
    let outcome = place.compute(&[&flags[..], &["--max-steps", "2"]].concat());
    outcome.good();
    assert_eq!(fs::read_to_string(place.path("run/mixers/mix.rhai")).expect("a copy"), cut);
    assert_eq!(fs::read_to_string(place.path("run/losses/focal.rhai")).expect("a copy"), focal);
    // The same scripts go on.
    place.compute(&[&flags[..], &["--resume", "--max-steps", "3"]].concat()).good();
    for (file, text) in [("cut.rhai", cut), ("focal.rhai", focal)] {
        place.write(&format!("recipes/{file}"), format!("{text}// changed\n"));
        let more = ["--resume", "--max-steps", "4"];
        let parts = [file, "step-00000003.safetensors", "--allow-changed-script"];
        place.compute(&[&flags[..], &more].concat()).refused(2, &parts);
        place.write(&format!("recipes/{file}"), text);
    }
    // What a checkpoint was trained with is measured with its own scripts, wherever the files are now.
    fs::remove_file(place.path("recipes/cut.rhai")).expect("removed");
    place.compute(&["eval", "run"]).good();
    place.write("recipes/cut.rhai", format!("{cut}// changed\n"));
    let more = ["--resume", "--allow-changed-script"];
    let outcome = place.compute(&[&flags[..], &more].concat()).good();
    assert!(outcome.stderr.contains("cut.rhai differs from the one that"), "{}", outcome.stderr);
    // Changes from the command line reach the settings of a script in either form.
    let more = ["--dry-run", "--set", "mixers.mix.alpha=0.5", "--set", "losses.focal.params.gamma=0.0"];
    place.compute(&[&flags[..2], &more].concat()).good();
    let more = ["--dry-run", "--set", "losses.focal.params.gama=0.0"];
    place.compute(&[&flags[..2], &more].concat()).refused(2, &["`gama`", "Did you mean `gamma`?"]);
    place.write("recipes/cut.rhai", "fn mix(m) {\n  #{ images: m.image }\n}");
    place
        .compute(&[&flags[..2], &["--dry-run"]].concat())
        .refused(2, &["cut.rhai:2:", "Did you mean `images`?"]);
    place.write("recipes/cut.rhai", "fn mix(m) {\n  #{ images: m.images \n}");
    let parts = ["tiny.ron:9:", "`mixers.mix` is refused", "cut.rhai:3:"];
    place.compute(&[&flags[..2], &["--dry-run"]].concat()).refused(2, &parts);
}

#[test]
fn a_resumed_run_takes_its_length_from_the_recipe_and_its_steps_per_epoch_stay() {
    let (place, flags) = tiny();
    place.compute(&with(&flags, &["--set", "epochs=1"])).good();
    let outcome = place.compute(&with(&flags, &["--resume"])).good();
    assert_eq!(resumed_at(&outcome.stdout), Some(8));
    assert!(outcome.stderr.contains("differs from the recipe"), "{}", outcome.stderr);
    let clock = checkpoint(&file_of(&place, "run", 16)).header.clock;
    assert_eq!((clock.step, clock.steps, clock.epoch, clock.epochs), (16, 16, 2, 2));
    let outcome = place.compute(&with(&flags, &["--resume", "--set", "batch=16"]));
    outcome.refused(2, &["4 steps an epoch", "8", "`batch`", "--out"]);
    // A run that is done says so again.
    let outcome = place.compute(&with(&flags, &["--resume"])).good();
    assert!(outcome.stdout.contains("done: 2 epochs, 16 steps"), "{}", outcome.stdout);
}

#[test]
fn a_folder_that_holds_a_run_is_not_written_to_and_one_that_holds_none_is_not_resumed() {
    let (place, flags) = tiny();
    for resume in [&["--out", "run", "--resume"][..], &["--resume"]] {
        let outcome = place.compute(&[&["run", "tiny.ron"], resume].concat());
        outcome.refused(2, &["--resume", "nothing to resume"]);
        assert!(!place.path("run").exists() && !place.path("runs").exists());
    }
    place.compute(&["run", "tiny.ron", "--resume", "nowhere"]).refused(2, &["--resume nowhere", "no such"]);
    fs::create_dir(place.path("empty")).expect("a folder");
    place.compute(&["run", "tiny.ron", "--resume", "empty"]).refused(2, &["--resume: empty holds no run"]);
    assert_eq!(fs::read_dir(place.path("empty")).expect("a folder").count(), 0);

    place.compute(&with(&flags, &["--max-steps", "2"])).good();
    let before = snapshot(&place.path("run"));
    place.compute(&flags).refused(2, &["run holds a run already", "--resume", "--out"]);
    assert_eq!(snapshot(&place.path("run")), before);
}
