//! `admix sweep`, `table`, `runs` and `diff`: grids of runs, whatever happens to their processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::resume::Watched;
use super::{Outcome, Place, TINY, browser, files_below, finish};

/// Two policies, two seeds each; every run has some milliseconds of steps.
const TWO: &str = r#"
    fn experiment() { #{ title: "Two weights.", seeds: 2, gain: "mixed" } }
    fn runs(x) {
        x.run("plain", "tiny.ron", #{ set: ["weights.mix=0.0"], column: "toy", paper: 50 });
        x.run("mixed", "tiny.ron", #{ column: "toy", paper: 60.5 });
        x.waits(#{ row: "later", column: "toy", paper: 70 }, "a plugin");
    }
"#;

fn place(script: &str) -> Place {
    let place = Place::new();
    place.write("tiny.ron", TINY);
    place.write("two.rhai", script);
    place
}

const SWEEP: [&str; 6] = ["sweep", "two.rhai", "--devices", "cpu", "--threads", "1"];

fn sweep(place: &Place, more: &[&str]) -> Outcome {
    place.admix(&[&SWEEP[..], more].concat())
}

/// The run folders, sorted.
fn folders(place: &Place) -> Vec<PathBuf> {
    let of =
        |path: PathBuf| path.ends_with("run.json").then(|| path.parent().expect("a folder").to_path_buf());
    files_below(&place.path("runs")).into_iter().filter_map(of).collect()
}

fn facts(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("run.json")).expect("a file")).expect("JSON")
}

/// Puts this figure of the reported head in place of the real one.
fn set_figure(folder: &Path, median: Value) {
    let mut facts = facts(folder);
    facts["summary"]["heads"]["mix_k"]["median_last_10"] = median;
    fs::write(folder.join("run.json"), facts.to_string()).expect("written");
}

fn table(place: &Place, more: &[&str]) -> Value {
    let told = place.admix(&[&["table", "two.rhai", "--format", "json"], more].concat()).good();
    serde_json::from_str(&told.stdout).expect("JSON")
}

/// The cell of a row: mean, deviation, note.
fn cell(table: &Value, row: &str) -> (Option<f64>, Option<f64>, Option<String>) {
    let cell = table["cells"].as_array().expect("cells").iter().find(|cell| cell["row"] == row).expect(row);
    (cell["mean"].as_f64(), cell["deviation"].as_f64(), cell["note"].as_str().map(str::to_owned))
}

#[test]
fn a_sweep_trains_each_run_once_and_the_table_has_its_figures() {
    let place = place(TWO);
    assert_eq!(cell(&table(&place, &[]), "mixed"), (None, None, Some("not run".into())));
    let told = sweep(&place, &[]).good();
    assert!(told.stdout.contains("4 of 4 runs are done"), "{}", told.stdout);
    let all = folders(&place);
    assert_eq!(all.len(), 4);
    // Worked by hand: mean 60 and deviation sqrt(2) of 59 and 61; 55 alone beside a run without a figure.
    let of = |policy: &str, seed: u64| {
        let is = |folder: &&PathBuf| {
            let text = fs::read_to_string(folder.join("recipe.ron")).expect("a recipe");
            text.contains("weights") == (policy == "plain") && folder.ends_with(format!("seed-{seed}"))
        };
        all.iter().find(is).expect("a run").as_path()
    };
    // Found before any is removed: the folders are named by hashes, in no known order.
    let (plain, mixed) = ([of("plain", 0), of("plain", 1)], [of("mixed", 0), of("mixed", 1)]);
    set_figure(mixed[0], 59.0.into());
    set_figure(mixed[1], 61.0.into());
    set_figure(plain[0], 55.0.into());
    set_figure(plain[1], Value::Null);
    let first = table(&place, &[]);
    let (mean, deviation, note) = cell(&first, "mixed");
    assert_eq!((mean, note), (Some(60.0), None));
    assert!((deviation.expect("two seeds") - 2.0_f64.sqrt()).abs() < 1e-12);
    assert_eq!(cell(&first, "plain"), (Some(55.0), None, Some("1 of 2 seeds: 1 without a figure".into())));
    assert_eq!(cell(&first, "later").2.as_deref(), Some("waits for a plugin"));
    assert_eq!((&first["gain"]["ours"][0], &first["gain"]["paper"][0]), (&5.0.into(), &(-9.5).into()));
    for (format, part) in [
        ("text", "60.00 ± 1.41* | 60.50 | -0.50"),
        ("markdown", "| mixed | **60.00 ± 1.41** (60.50, -0.50) |"),
        ("latex", "mixed & \\textbf{60.00 $\\pm$ 1.41} (60.50) \\\\"),
        ("csv", "mixed,toy,60,1.4142135623730951,2,60.5,-0.5,"),
    ] {
        let told = place.admix(&["table", "two.rhai", "--format", format]).good();
        assert!(told.stdout.contains(part), "{format}: {}", told.stdout);
    }
    // A run that was stopped, one whose folder is gone, one that failed.
    let mut stopped = facts(plain[0]);
    stopped["status"] = "stopped".into();
    fs::write(plain[0].join("run.json"), stopped.to_string()).expect("written");
    fs::remove_dir_all(mixed[1]).expect("removed");
    let mut failed = facts(plain[1]);
    failed["status"] = "failed".into();
    fs::write(plain[1].join("run.json"), failed.to_string()).expect("written");
    let second = table(&place, &[]);
    assert_eq!(cell(&second, "mixed"), (Some(59.0), None, Some("1 of 2 seeds: 1 not run".into())));
    assert_eq!(cell(&second, "plain"), (None, None, Some("1 failed, 1 not finished".into())));
    // More seeds, another length: other runs, and the title says so.
    assert_eq!(
        cell(&table(&place, &["--seeds", "3"]), "mixed").2.as_deref(),
        Some("1 of 3 seeds: 2 not run")
    );
    let longer = table(&place, &["--set", "epochs=3"]);
    assert_eq!(longer["title"], "Two weights. At 3 epochs instead of 2.");
    assert_eq!(cell(&longer, "mixed").2.as_deref(), Some("not run"));
}

#[test]
fn finished_runs_are_passed_over_and_interrupted_ones_go_on() {
    let place = place(TWO);
    let told = sweep(&place, &["--only", "mix*", "--seeds", "1"]).good();
    assert!(told.stdout.contains("1 of 1 runs are done"), "{}", told.stdout);
    let folder = folders(&place).remove(0);
    let before = fs::read(folder.join("metrics.jsonl")).expect("a file");
    let told = sweep(&place, &["--at-most", "1"]).good();
    assert!(told.stdout.contains("2 of 4 runs are done, 2 are left"), "{}", told.stdout);
    sweep(&place, &[]).good();
    assert_eq!(fs::read(folder.join("metrics.jsonl")).expect("a file"), before, "trained once");
    assert_eq!(folders(&place).len(), 4);
    let left = files_below(&place.path("runs"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "claim"));
    assert_eq!(left.count(), 0);
    // The settings of the reported runs, and what differs between two.
    let listed = place.admix(&["runs", "--format", "json"]).good();
    let listed: Vec<Value> = serde_json::from_str(&listed.stdout).expect("JSON");
    assert!(
        listed.len() == 4 && listed.iter().all(|run| run["state"] == "done" && run["epoch"] == 2),
        "{listed:?}"
    );
    let names: Vec<&str> = listed.iter().map(|run| run["folder"].as_str().expect("a name")).collect();
    let same_key = |name: &str| names.iter().position(|other| *other == name).expect("a run") / 2;
    let (a, b) = (names[0], names.iter().find(|name| same_key(name) != same_key(names[0])).expect("another"));
    let told = place.admix(&["diff", a, b]).good().stdout;
    assert!(told.contains("weights.mix") && !told.contains("optimizer"), "{told}");
    let told = place.admix(&[&["table"], &names[..]].concat()).good().stdout;
    assert!(told.contains("mean and standard deviation over 2 seeds"), "{told}");
}

#[test]
fn a_run_that_fails_ends_alone_and_is_named() {
    let place = place(
        r#"
        fn experiment() { #{ title: "Failures." } }
        fn runs(x) {
            x.run("missing", "tiny.ron", #{ set: ["data.name=\"cifar10\""] });
            x.run("diverges", "tiny.ron", #{ set: ["optimizer.lr=1e30", "max_bad_steps=1"] });
            x.run("follows", "tiny.ron", #{ init: "diverges" });
            x.run("good", "tiny.ron", #{});
        }
    "#,
    );
    let told = sweep(&place, &[]);
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    assert!(told.stderr.contains("error: 2 of 4 runs failed"), "{}", told.stderr);
    for part in [
        "failed: missing, seed 0: ",
        "`cifar10`",
        "failed: diverges, seed 0: ",
        "1 of 4 runs are done, 1 are left",
    ] {
        assert!(told.stdout.contains(part), "{part}: {}", told.stdout);
    }
    let rows = table(&place, &[]);
    assert_eq!(cell(&rows, "missing").2.as_deref(), Some("1 failed"));
    assert!(cell(&rows, "good").0.is_some());
    // Another sweep tries the failed ones again.
    let again = sweep(&place, &[]);
    assert_eq!(again.code, Some(1));
    assert_eq!(again.stdout.matches(": train on cpu").count(), 2, "{}", again.stdout);
}

#[test]
fn a_full_disk_ends_one_run_alone() {
    let place = place(TWO);
    // A limit of each process: no checkpoint fits, every small file does.
    let starter = ["sh", "-c", "ulimit -f 8; exec \"$0\" \"$@\""];
    let told = finish(
        place.command_through(&starter, &[&SWEEP[..], &["--seeds", "1"]].concat()).spawn().expect("sh"),
    );
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    assert_eq!(
        told.stdout.matches("ulimit -f").count(),
        4,
        "each is told when it happens and at the end: {}",
        told.stdout
    );
    assert!(sweep(&place, &["--seeds", "1"]).good().stdout.contains("2 of 2 runs are done"));
}

#[test]
fn two_workers_share_a_sweep_and_each_run_is_trained_once() {
    let place = place(TWO);
    let start = || {
        place.command(&[&SWEEP[..], &["--format", "json", "--seeds", "3"]].concat()).spawn().expect("started")
    };
    let (first, second) = (start(), start());
    let (first, second) = (finish(first).good(), finish(second).good());
    let started = |told: &Outcome| told.stdout.matches(r#""event":"started","run":"#).count();
    let told =
        |outcome: &Outcome| outcome.stdout.lines().filter(|line| line.contains(r#""what":"train""#)).count();
    assert_eq!(told(&first) + told(&second), 6, "{}\n{}", first.stdout, second.stdout);
    assert!(started(&first) > 0 && started(&second) > 0, "{}\n{}", first.stdout, second.stdout);
    assert_eq!(folders(&place).len(), 6);
}

#[test]
fn a_worker_that_is_killed_leaves_its_run_to_another_which_ends_with_the_same_bits() {
    let script = r#"
        fn experiment() { #{ title: "One." } }
        fn runs(x) { x.run("one", "tiny.ron", #{ set: ["epochs=60", "checkpoint.every_steps=Some(5)"] }); }
    "#;
    let (whole, killed) = (place(script), place(script));
    sweep(&whole, &[]).good();
    let mut worker = Watched::start(killed.command(&[&SWEEP[..], &["--format", "json"]].concat()));
    assert!(worker.until(|line| line.contains("\"evaluated\"")), "it trains");
    let mut told = worker.signal("KILL");
    assert_eq!(told.signal, Some(9));
    // Its process hears of that and saves its state; another worker may find it still at work.
    told = sweep(&killed, &[]).good();
    assert!(told.stdout.contains("taken over from a worker that is gone"), "{}", told.stdout);
    let folder = |place: &Place| folders(place).remove(0);
    let last = |place: &Place| {
        let all = files_below(&folder(place).join("checkpoints"));
        let steps = all.into_iter().filter(|path| path.to_string_lossy().contains("step-"));
        safetensors_of(&steps.max().expect("a checkpoint"))
    };
    assert_eq!(last(&whole), last(&killed));
}

/// The tensors of a checkpoint, without the header that has times.
fn safetensors_of(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).expect("a file");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    bytes[8 + header..].to_vec()
}

#[test]
fn a_signal_saves_every_run_and_the_sweep_goes_on_later() {
    let script = r#"
        fn experiment() { #{ title: "One." } }
        fn runs(x) { x.run("one", "tiny.ron", #{ set: ["epochs=200"] }); }
    "#;
    let place = place(script);
    let mut worker = Watched::start(place.command(&[&SWEEP[..], &["--format", "json"]].concat()));
    assert!(worker.until(|line| line.contains("\"evaluated\"")), "it trains");
    let told = worker.signal("INT");
    assert_eq!(told.code, Some(130), "{}", told.stderr);
    assert!(
        told.stderr.contains("the state of every run is saved: go on with `admix sweep two.rhai`"),
        "{}",
        told.stderr
    );
    assert!(told.stdout.contains(r#""state":"stopped""#), "{}", told.stdout);
    let text = place.admix(&["table", "two.rhai"]).good().stdout;
    assert!(text.contains("1 not finished"), "{text}");
    let dry = place.admix(&["sweep", "two.rhai", "--dry-run", "--devices", "cpu"]).good().stdout;
    assert!(dry.contains("interrupted") && dry.contains("1,600"), "{dry}");
    let printed = place.admix(&["sweep", "two.rhai", "--print", "--devices", "cpu"]).good().stdout;
    assert!(printed.contains("--resume --out runs/tiny-"), "{printed}");
}

#[test]
fn what_is_printed_is_what_a_scheduler_can_run() {
    let script = r#"
        fn experiment() { #{ title: "Two." } }
        fn runs(x) {
            x.run("a b", "tiny.ron", #{ measure: #{ protocol: "knn", k: 5 }, cells: [#{ row: "a", column: "knn" }] });
            x.run("b", "tiny.ron", #{ init: "a b", set: ["log_every=7"], cells: [#{ row: "b" }] });
        }
    "#;
    let place = place(script);
    let printed =
        place.admix(&["sweep", "two.rhai", "--print", "--devices", "cpu", "--threads", "1"]).good().stdout;
    assert_eq!(printed.lines().count(), 3, "{printed}");
    for line in printed.lines() {
        let line = line.replacen("admix", env!("CARGO_BIN_EXE_admix"), 1);
        let told = finish(place.set_up(Command::new("sh"), &["-c", &line]).spawn().expect("sh"));
        told.good();
    }
    assert_eq!(place.admix(&["sweep", "two.rhai", "--print"]).good().stdout.trim(), "");
    let told = sweep(&place, &[]).good();
    assert!(
        told.stdout.contains("2 of 2 runs are done") && !told.stdout.contains("train on"),
        "{}",
        told.stdout
    );
    let rows = table(&place, &[]);
    assert!(cell(&rows, "a").0.is_some() && cell(&rows, "b").0.is_some(), "{rows}");
    let slurm = ["sweep", "two.rhai", "--launcher", "slurm", "--no-submit", "--partition", "gpu"];
    let slurm = [&slurm[..], &["--set", "epochs=3", "--jobs", "4"]].concat();
    place.admix(&slurm).good();
    let text = fs::read_to_string(place.path("runs/two.sbatch")).expect("a script");
    for part in [
        "#SBATCH --array=1-2%4\n",
        "#SBATCH --partition=gpu\n",
        "--set epochs=3",
        "--at-most 1",
        "scontrol requeue",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn what_is_wrong_in_an_experiment_is_told_before_anything_starts() {
    let with = |body: &str| format!("fn experiment() {{ #{{ title: \"T\" }} }}\nfn runs(x) {{\n{body}\n}}");
    let cases = [
        (with(r#"x.run("a", "tiny.ron", #{ set: ["epoch=3"] });"#), "two.rhai:3:3: the run `a`"),
        (with(r#"x.run("a", "tinny.ron", #{});"#), "no recipe `tinny.ron`"),
        (with(r#"x.run("a", "tiny.ron", #{ colum: "b" });"#), "Did you mean `column`?"),
        (with(r#"x.run("a", "tiny.ron", #{}); x.run("a", "tiny.ron", #{ row: "b" });"#), "is there twice"),
        (
            with(r#"x.run("a", "tiny.ron", #{}); x.run("b", "tiny.ron", #{ row: "a" });"#),
            "is filled by `a` already",
        ),
        (
            with(r#"x.run("a", "tiny.ron", #{ cells: [#{ report: "one_q" }, #{ report: "one_k" }] });"#),
            "`cells` names row `a`, column `accuracy` twice",
        ),
        (with(r#"x.run("a", "tiny.ron", #{ init: "b" });"#), "`init` names the run `b`"),
        (with(r#"x.run("a", "tiny.ron", #{ set: ["epochs"] });"#), "`epochs` is not path=value"),
        (with(r#"x.run("a", "tiny.ron", #{ paper: "x" });"#), "`paper` is x, expected a number"),
        (with(""), "`runs` names no run"),
        ("fn runs(x) {}".into(), "needs a function `experiment()`"),
        (with(r#"x.rum("a", "tiny.ron", #{});"#), "Did you mean `run`?"),
        (with("loop {}"), "operations in one call"),
        (with(r#"x.run("a", "tiny.ron", #{ set: ["seed=3"] });"#), "numbers its seeds from 0"),
        (with(r#"x.run("a", "tiny.ron", #{ set: ["params.bogus=1"] });"#), "has no parameter `bogus`"),
        (
            with(r#"x.run("a", "tiny.ron", #{ report: "mix_kk" });"#),
            "`report` is `mix_kk`, which the run does not measure; it measures one_q",
        ),
        (
            with(r#"x.run("a", "tiny.ron", #{ cells: [#{ row: "a", report: "mix" }] });"#),
            "`report` is `mix`, which the run does not measure",
        ),
        (with(r#"x.run("a", "tiny.ron", #{ measure: "lineer" });"#), "Did you mean `linear`?"),
        (
            with(r#"x.run("a", "tiny.ron", #{ measure: #{ protocol: "knn", k: 0 } });"#),
            "`measure`: k is 0, expected a whole number from 1",
        ),
        (
            with(r#"x.run("a", "tiny.ron", #{ measure: #{ protocol: "linear", lr: 1.0 / 0.0 } });"#),
            "`measure`: `lr` is inf, expected a finite number",
        ),
        (
            with(r#"x.run("a", "tiny.ron", #{ measure: #{ protocol: "linear", preset: "fast" } });"#),
            "`preset` is `fast`, expected paper or code",
        ),
        (
            with(r#"x.run("a", "tiny.ron", #{ measure: #{ protocol: "knn", net: "kk" } });"#),
            "`measure` names the network `kk`; the run has q",
        ),
        (with(r#"x.run("a", "tiny.ron", #{ measure: #{ protocol: "linear", k: 3 } });"#), "no setting `k`"),
        (
            with(r#"x.run("a", "tiny.ron", #{}); x.run("b", "tiny.ron", #{ init: "a", seeds: 2 });"#),
            "has 2 seeds, but the run that it starts from has 1",
        ),
    ];
    for (script, part) in cases {
        let place = place(&script);
        sweep(&place, &[]).refused(2, &["two.rhai", part]);
        assert!(!place.path("runs").exists(), "nothing was started: {script}");
    }
    let place = place(TWO);
    sweep(&place, &["--only", "miksed"]).refused(2, &["--only miksed", "Did you mean `mixed`?"]);
    place.admix(&["table", "thre"]).refused(2, &["no experiment `thre`"]);
    place.admix(&["sweep", "tiny.ron"]).refused(2, &["tiny.ron is a recipe", "admix run"]);
    place.admix(&["table", "."]).refused(2, &[". is a folder", "admix runs"]);
    sweep(&place, &["--max-hours", "0"]).bad_flag(&["--max-hours"]);
    sweep(&place, &["--set", "seed=3"]).refused(2, &["--seeds"]);
    sweep(&place, &["--partition", "gpu"]).refused(2, &["--partition belongs to --launcher slurm"]);
    place.admix(&["table", "two.rhai", "--rule", "best"]).refused(2, &["--rule belongs to run folders"]);
    place.admix(&["runs", "nowhere"]).refused(2, &["there is no folder nowhere"]);
}

#[test]
#[allow(clippy::print_stderr, reason = "a part of a test that is skipped says so")]
fn recipes_and_scripts_beside_an_experiment_are_found_and_the_report_and_the_figure_have_its_runs() {
    let place = Place::new();
    place.write("grid/tiny.ron", TINY.replace("epochs: 2", "epochs: 2, loggers: [JsonLines()]"));
    let method = fs::read_to_string(super::repository().join("scripts/amix.rhai")).expect("a script");
    place.write("grid/mine.rhai", method);
    place.write(
        "grid/two.rhai",
        r#"
        fn experiment() { #{ title: "Two <b>runs</b>", seeds: 2, figure: "bars" } }
        fn runs(x) {
            x.run("plain & simple", "tiny.ron", #{ script: "mine.rhai", set: ["weights.mix=0.0"] });
            x.run("mixed", "tiny.ron", #{ paper: 60 });
        }
    "#,
    );
    let told = place.admix(&["sweep", "grid/two.rhai", "--devices", "cpu", "--threads", "1"]).good();
    assert!(told.stdout.contains("4 of 4 runs are done"), "{}", told.stdout);
    place.admix(&["report", "grid/two.rhai", "-o", "report.html"]).good();
    let page = fs::read_to_string(place.path("report.html")).expect("a page");
    for part in [
        "<h1>Two &lt;b&gt;runs&lt;/b&gt;</h1>",
        "plain &amp; simple, seed 1",
        "published 60.00",
        "weights.mix",
        "Learning rate",
        "data:image/png;base64,",
        "mixup_cross_entropy",
    ] {
        assert!(page.contains(part), "{part}");
    }
    // Nothing is fetched, and nothing is executed.
    for part in ["<script", "<link", "@import", "url(", "src=\"http", "href=\"http"] {
        assert!(!page.contains(part), "{part}");
    }
    // Who cannot see it hears what each picture is, and the parts follow each other.
    assert_eq!(page.matches("<img ").count(), page.matches("<img alt=\"Mixed samples").count());
    assert_eq!(page.matches("<svg ").count(), page.matches("<svg role=\"img\" aria-label=").count());
    assert!(
        page.contains("<html lang=\"en\">")
            && page.matches("<h1>").count() == 1
            && page.contains("<main id=\"main\">")
    );
    match browser::shown(&place.path("report.html")) {
        Some((dom, console)) => {
            assert_eq!(console, Vec::<String>::new());
            assert_eq!(dom.matches("<section").count(), page.matches("<section").count());
        }
        None => eprintln!("the page was not looked at: no Chromium is found; Debian's package is `chromium`"),
    }
    for name in ["figure.svg", "figure.png"] {
        place.admix(&["plot", "grid/two.rhai", "-o", name]).good();
    }
    let svg = fs::read_to_string(place.path("figure.svg")).expect("a figure");
    assert!(svg.contains("plain &amp; simple") && svg.contains("mixed"));
    image::open(place.path("figure.png")).expect("a PNG");
    place.admix(&["plot", "grid/two.rhai", "-o", "figure.gif"]).refused(2, &["NAME.svg or NAME.png"]);
    place
        .admix(&["plot", "grid/two.rhai", "-o", "x.svg", "--kind", "lines"])
        .refused(2, &["holds no number"]);
}

#[test]
fn a_table_of_folders_counts_a_seed_once_and_tells_scripts_apart() {
    let place = Place::new();
    place.write("r.ron", super::TINY);
    let focal = include_str!("../../scripts/losses/focal.rhai");
    for (out, text) in [("first", focal.to_string()), ("second", focal.replace("-mean(", "-0.5 * mean("))] {
        place.write("focal.rhai", text);
        let loss = "losses.cross_entropy=Script(\"focal.rhai\")";
        place.compute(&["run", "r.ron", "--out", out, "--set", loss]).good();
    }
    let told = place.admix(&["diff", "first", "second"]).good().stdout;
    assert!(told.contains("losses/cross_entropy.rhai"), "{told}");
    let table = place.admix(&["table", "first", "second", "./first", "second", "--format", "json"]).good();
    let cells: Value = serde_json::from_str(&table.stdout).expect("JSON");
    assert_eq!(cells["cells"].as_array().map(Vec::len), Some(2), "{}", table.stdout);
    assert!(table.stderr.contains("./first has the settings and the seed of first"), "{}", table.stderr);
    assert!(table.stderr.contains("second has the settings and the seed of second"), "{}", table.stderr);
}
