//! Run folders: one run at a time writes there, and what no run made is never touched.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::process::{Child, ChildStdout, Command};
use std::time::SystemTime;

use super::resume::same_state;
use super::{Outcome, Place, TINY, files_below, finish};

/// A run that goes on until it is ended.
const ENDLESS: [&str; 8] = [
    "--set",
    "epochs=100000",
    "--set",
    "log_every=1",
    "--set",
    "evaluate.every=100000",
    "--set",
    "checkpoint.every_steps=2",
];
const CPU: [&str; 4] = ["--device", "cpu", "--threads", "1"];

fn place() -> Place {
    let place = Place::new();
    place.write("tiny.ron", TINY);
    place
}

/// A run in a folder, and its output, which must be kept or the run ends.
struct Live {
    child: Child,
    output: ChildStdout,
}

impl Live {
    /// Starts a run and waits until it has the folder and trains.
    fn start(place: &Place, flags: &[&str]) -> Self {
        let mut child = place
            .command(&[&["run", "tiny.ron", "--format", "json"], flags, &ENDLESS, &CPU].concat())
            .spawn()
            .expect("the program starts");
        let mut output = child.stdout.take().expect("its output");
        let mut said = Vec::new();
        let mut byte = [0];
        while !said.ends_with(b"\"saved\"") {
            assert_eq!(output.read(&mut byte).expect("a byte"), 1, "{}", finish(child).stderr);
            said.push(byte[0]);
        }
        Self { child, output }
    }

    /// Stops it where it is: its files stay as they are, and its lock is held.
    fn pause(&self) {
        let kill = format!("kill -STOP {}", self.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh runs").success());
    }

    fn id(&self) -> String {
        self.child.id().to_string()
    }

    /// SIGKILL: nothing of the program runs any more.
    fn kill(mut self) -> Outcome {
        self.child.kill().expect("killed");
        let outcome = finish(self.child);
        drop(self.output);
        outcome
    }
}

/// What the lock says of who writes there.
fn owner(place: &Place, run: &str) -> Vec<String> {
    let text = fs::read_to_string(place.path(run).join("lock")).expect("a lock");
    text.lines().skip(1).map(String::from).collect()
}

#[test]
fn a_live_run_keeps_others_out_and_lets_them_read() {
    let place = place();
    let live = Live::start(&place, &["--out", "run"]);
    live.pause();
    let lines = owner(&place, "run");
    let [host, process, start] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(process, &format!("process: {}", live.id()));
    let [host, start] =
        [(host, "host: "), (start, "start: ")].map(|(line, name)| line.strip_prefix(name).expect(name));
    assert!(!host.is_empty() && start.ends_with(" UTC"), "{lines:?}");
    let told = format!("run is in use by process {} on {host}, started {start}", live.id());
    for flags in [&["--out", "run"][..], &["--out", "run", "--resume"], &["--resume", "run"]] {
        let outcome = place.compute(&[&["run", "tiny.ron"], flags].concat());
        outcome.refused(2, &[&told, "another folder with --out"]);
    }
    assert_eq!(owner(&place, "run"), lines, "a refusal changes nothing");
    place.compute(&["eval", "run"]).good();
    place.compute(&["mix", "--checkpoint", "run", "--mixer", "amix", "--count", "1", "-o", "x.png"]).good();

    // Killed, it leaves the lock to the next one, which says so.
    assert_eq!(live.kill().signal, Some(9));
    let flags = ["run", "tiny.ron", "--out", "run", "--resume", "--set", "epochs=100000", "--max-steps", "1"];
    let outcome = place.compute(&flags).good();
    let warning =
        format!("warning: run was in use by {}, which has ended", &told["run is in use by ".len()..]);
    assert!(outcome.stderr.contains(&warning), "{}", outcome.stderr);
    // One that ended by itself leaves nothing to say.
    assert!(owner(&place, "run").is_empty());
    let outcome = place.compute(&flags).good();
    assert!(!outcome.stderr.contains("in use"), "{}", outcome.stderr);
}

#[test]
fn of_runs_that_start_at_once_in_one_folder_one_trains() {
    for resume in [false, true] {
        let place = place();
        let mut flags = vec!["run", "tiny.ron", "--out", "run", "--device", "cpu", "--threads", "1"];
        if resume {
            place.admix(&[&flags[..], &["--max-steps", "1"]].concat()).good();
            flags.push("--resume");
        }
        flags.extend(ENDLESS);
        let mut children: Vec<Child> =
            (0..4).map(|_| place.command(&flags).spawn().expect("the program starts")).collect();
        // All but one end by themselves.
        let mut ended = Vec::new();
        let begin = SystemTime::now();
        while ended.len() < 3 {
            assert!(begin.elapsed().expect("a clock").as_secs() < 300, "two runs share a folder");
            for (number, child) in children.iter_mut().enumerate() {
                if !ended.contains(&number) && child.try_wait().expect("a child").is_some() {
                    ended.push(number);
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let last = (0..4).find(|number| !ended.contains(number)).expect("one trains");
        children[last].kill().expect("it trained until now");
        for (number, child) in children.into_iter().enumerate() {
            let outcome = finish(child);
            if number == last {
                assert_eq!(outcome.signal, Some(9), "{}", outcome.stderr);
            } else {
                outcome.refused(2, &["run ", "--out"]);
            }
        }
    }
}

#[test]
fn runs_that_start_at_once_without_a_folder_get_one_each() {
    let place = place();
    let children: Vec<Child> = (0..5)
        .map(|_| {
            let flags = [&["run", "tiny.ron", "--max-steps", "2"], &CPU[..]].concat();
            place.command(&flags).spawn().expect("the program starts")
        })
        .collect();
    let folders: BTreeSet<String> = children
        .into_iter()
        .map(|child| {
            let said = finish(child).good().stdout;
            said.lines().find_map(|line| line.strip_prefix("run folder: ")).expect("a folder").to_string()
        })
        .collect();
    let wanted = ["runs/tiny", "runs/tiny-2", "runs/tiny-3", "runs/tiny-4", "runs/tiny-5"];
    assert_eq!(folders, wanted.map(String::from).into());
    for folder in wanted {
        let lines = fs::read_to_string(place.path(folder).join("metrics.jsonl")).expect("metrics");
        assert!(
            lines.lines().count() >= 1 && place.path(folder).join("run.json").is_file(),
            "{folder}: {lines}"
        );
    }
}

#[test]
fn a_folder_with_files_of_others_is_refused_and_stays_byte_for_byte() {
    let place = place();
    for (folder, file) in [
        ("a", "recipe.ron"),
        ("b", "method.rhai"),
        ("c", "metrics.jsonl"),
        ("d", "run.json"),
        ("e", "lock"),
        ("f", "checkpoints/step-00000001.safetensors"),
        ("g", "samples/holiday.png"),
        ("h", ".hidden"),
    ] {
        let file = format!("{folder}/{file}");
        place.write(&file, "mine\n");
        let name = file[2..].split('/').next().expect("a name");
        let outcome = place.compute(&["run", "tiny.ron", "--out", folder]);
        outcome.refused(2, &[folder, &format!("such as `{name}`"), "--out"]);
        for flags in [&["--out", folder, "--resume"][..], &["--resume", folder]] {
            place
                .compute(&[&["run", "tiny.ron"], flags].concat())
                .refused(2, &["--resume", folder, "holds no run"]);
        }
        assert_eq!(files_below(&place.path(folder)), [place.path(&file)]);
        assert_eq!(fs::read(place.path(&file)).expect("a file"), b"mine\n");
    }
    // A folder that is there and empty is free.
    fs::create_dir(place.path("empty")).expect("a folder");
    place.compute(&["run", "tiny.ron", "--out", "empty", "--max-steps", "1"]).good();
    // A name in runs/ that is taken by anything is passed over.
    place.write("runs/tiny/notes", "mine\n");
    let outcome = place.compute(&["run", "tiny.ron", "--max-steps", "1"]).good();
    assert!(outcome.stdout.contains("run folder: runs/tiny-2"), "{}", outcome.stdout);
    assert_eq!(files_below(&place.path("runs/tiny")), [place.path("runs/tiny/notes")]);
}

#[test]
fn a_run_without_a_lock_goes_on_as_one_with_a_lock() {
    let place = place();
    place.compute(&["run", "tiny.ron", "--out", "run", "--max-steps", "2"]).good();
    fs::remove_file(place.path("run/lock")).expect("removed");
    place.compute(&["run", "tiny.ron", "--out", "run"]).refused(2, &["run holds a run already", "--resume"]);
    place.compute(&["run", "tiny.ron", "--out", "run", "--resume", "--max-steps", "4"]).good();
    assert!(place.path("run/lock").is_file() && owner(&place, "run").is_empty());
}

#[test]
fn a_picture_is_replaced_only_when_it_is_asked_for() {
    let place = Place::new();
    place.write("own.png", "mine\n");
    place.write("own.png.partial", "mine too\n");
    let mix = ["mix", "--mixer", "mixup", "--data", "toy", "--count", "1", "-o", "own.png"];
    place.compute(&mix).refused(2, &["own.png exists already", "--force"]);
    assert_eq!(fs::read(place.path("own.png")).expect("a file"), b"mine\n");
    place.compute(&[&mix[..], &["--force"]].concat()).good();
    assert!(fs::read(place.path("own.png")).expect("a file").starts_with(b"\x89PNG"));
    assert_eq!(fs::read(place.path("own.png.partial")).expect("a file"), b"mine too\n");
    assert_eq!(files_below(&place.path("")).len(), 2);
}

#[test]
fn what_is_in_the_way_of_a_file_of_the_run_is_told_before_it_trains() {
    for name in ["run.json", "metrics.jsonl"] {
        let place = place();
        let run = ["run", "tiny.ron", "--out", "run"];
        place.compute(&[&run[..], &["--max-steps", "2"]].concat()).good();
        let file = place.path("run").join(name);
        fs::remove_file(&file).expect("removed");
        fs::create_dir(&file).expect("a folder");
        let outcome = place.compute(&[&run[..], &["--resume"]].concat());
        outcome.refused(2, &[&format!("run/{name} is a folder"), "--out"]);
    }
}

#[test]
fn a_run_folder_whose_name_is_not_utf_8_is_refused_before_training() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = place();
    let mut command = place.command(&["run", "tiny.ron"]);
    command.args(CPU).arg("--out").arg(OsStr::from_bytes(b"run\xff"));
    finish(command.spawn().expect("the program starts")).refused(2, &["--out", "is not UTF-8"]);
    assert_eq!(fs::read_dir(place.path("")).expect("a folder").count(), 1);
}

#[test]
fn scripts_whose_names_differ_in_a_sign_alone_have_files_of_their_own() {
    let place = Place::new();
    let mixers = "mixers: {\"a/b\": Script(\"one.rhai\"), \"a_b\": Script(\"two.rhai\"), ";
    place.write("tiny.ron", TINY.replace("mixers: {", mixers));
    for name in ["one", "two"] {
        place.write(&format!("{name}.rhai"), format!("// {name}\nfn mix(m) {{ #{{ images: m.images }} }}"));
    }
    place.compute(&["run", "tiny.ron", "--out", "run", "--max-steps", "1"]).good();
    for (file, script) in [("a%2Fb", "one"), ("a_b", "two")] {
        let text = fs::read_to_string(place.path(format!("run/mixers/{file}.rhai"))).expect(file);
        assert!(text.starts_with(&format!("// {script}")), "{text}");
    }
}

#[test]
fn the_recipe_of_a_run_folder_trains_what_the_run_trained_wherever_its_scripts_were() {
    let place = Place::new();
    let mixers = "mixers: {\"own\": Script(\"blend.rhai\"), \"other\": Script(file: \"sub/blend.rhai\"), ";
    place.write("tiny.ron", TINY.replace("mixers: {", mixers));
    place.write("blend.rhai", "fn mix(m) { #{ images: m.images } }");
    fs::create_dir(place.path("sub")).expect("a folder");
    place.write("sub/blend.rhai", "// another\nfn mix(m) { #{ images: m.partners } }");
    let amix = fs::read_to_string(super::repository().join("scripts/amix.rhai")).expect("a script");
    place.write("mine.rhai", format!("// mine\n{amix}"));
    let run = ["run", "tiny.ron", "--out", "run", "--script", "mine.rhai"];
    place.compute(&[&run[..], &["--max-steps", "2"]].concat()).good();
    let all = ["blend.rhai", "sub/blend.rhai", "mine.rhai", "tiny.ron"];
    all.iter().for_each(|file| fs::remove_file(place.path(file)).expect("removed"));
    // A file of the same name in the working folder is not the run's.
    place.write("method.rhai", "not a script");
    place.compute(&["run", "run/recipe.ron", "--out", "again", "--max-steps", "2"]).good();
    let state = |run: &str| place.path(format!("{run}/checkpoints/step-00000002.safetensors"));
    same_state(&state("run"), &state("again"));
    for file in ["method.rhai", "mixers/own.rhai", "mixers/other.rhai"] {
        let text = |run: &str| fs::read_to_string(place.path(format!("{run}/{file}"))).expect(file);
        assert_eq!(text("run"), text("again"), "{file}");
    }
    let resumed =
        place.compute(&["run", "run/recipe.ron", "--out", "run", "--resume", "--max-steps", "3"]).good();
    assert!(!resumed.stderr.contains("differs"), "{}", resumed.stderr);
    let bundled = place.compute(&[
        "run",
        "run/recipe.ron",
        "--set",
        "method=\"amix\"",
        "--out",
        "plain",
        "--max-steps",
        "1",
    ]);
    bundled.good();
    assert!(
        fs::read_to_string(place.path("plain/recipe.ron")).expect("a recipe").contains("method: \"amix\"")
    );
}

#[test]
fn a_byte_order_mark_before_a_recipe_and_a_script_is_passed_over() {
    let place = Place::new();
    place.write("tiny.ron", format!("\u{feff}{TINY}"));
    let own = fs::read_to_string(super::repository().join("scripts/amix.rhai")).expect("a script");
    place.write("own.rhai", format!("\u{feff}{own}"));
    let run = ["run", "tiny.ron", "--out", "run", "--script", "own.rhai"];
    place.compute(&[&run[..], &["--max-steps", "2"]].concat()).good();
    place.compute(&[&run[..], &["--max-steps", "3", "--resume"]].concat()).good();
}

#[test]
fn a_full_standard_output_is_named() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let place = Place::new();
    let child = place.command(&["plugins"]).stdout(full).spawn().expect("the program starts");
    finish(child).refused(1, &["cannot write to the standard output", "No space left"]);
}
