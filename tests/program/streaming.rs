//! Runs on folders of images that are read as they are needed.

use std::fs;
use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};
use serde_json::Value;

use super::resume::{file_of, same_state};
use super::{Place, finish};

/// Two epochs of five steps; every step calls the method twice.
const RECIPE: &str = r#"(
    epochs: 2,
    batch: 4,
    accumulate: 2,
    data: (name: "pictures", views: 2, augment: Moco(size: 16), test_resize: Some(18)),
    model: ConvNet(widths: [8, 8, 8], strides: [2, 2, 2]),
    heads: ["one", "mix"],
    pairs: [(from: "q", to: "k", momentum: 0.99)],
    method: "amix",
    mixers: {"amix": AMix(alpha: 2.0)},
    losses: {"mask": Mask(margin: 0.1)},
    optimizer: Sgd(lr: 0.1),
    evaluate: (batch: 3, reestimate_batches: 2, probes: [Knn]),
    checkpoint: (every_steps: Some(2)),
    log_every: 2,
)"#;

pub fn jpeg(at: u32) -> Vec<u8> {
    let (height, width) = [(30, 44), (28, 21), (33, 33)][at as usize % 3];
    let image = RgbImage::from_fn(width, height, |x, y| {
        Rgb([(x * 5 + at) as u8, (y * 7) as u8, (x * y + at * 9) as u8])
    });
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Jpeg).expect("a JPEG");
    bytes.into_inner()
}

/// 40 training and 8 test images of two classes.
pub fn pictures() -> Place {
    let place = Place::new();
    for (split, n) in [("train", 40), ("val", 8)] {
        for at in 0..n {
            let class = if at % 2 == 0 { "ant" } else { "bee" };
            place.write(&format!("data/pictures/{split}/{class}/{at:02}.JPEG"), jpeg(at));
        }
    }
    place.write("stream.ron", RECIPE);
    place
}

fn json(place: &Place, file: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(place.path(file)).expect(file)).expect("JSON")
}

#[test]
fn a_run_that_is_stopped_and_goes_on_with_other_threads_ends_with_the_same_bits() {
    let place = pictures();
    let with = |out: &str, workers: &str, more: &[&str]| {
        let workers = format!("data.workers={workers}");
        place.compute(&[&["run", "stream.ron", "--out", out, "--set", &workers], more].concat()).good()
    };
    with("whole", "1", &[]);
    // Within the first epoch, with batches on their way; then within the second.
    with("parts", "4", &["--max-steps", "3"]);
    with("parts", "1", &["--resume", "--max-steps", "7"]);
    with("parts", "3", &["--resume"]);
    for step in [8, 10] {
        same_state(&file_of(&place, "whole", step), &file_of(&place, "parts", step));
    }
    for run in ["whole", "parts"] {
        let share = json(&place, &format!("{run}/run.json"))["data_wait"].as_f64().expect("a share");
        assert!((0.0..=1.0).contains(&share), "{run}: {share}");
        let metrics = fs::read_to_string(place.path(run).join("metrics.jsonl")).expect("metrics");
        let rows = metrics.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let rows: Vec<Value> = rows.filter(|row| row["event"] == "train").collect();
        assert!(rows.len() >= 5, "{metrics}");
        for row in rows {
            assert!((0.0..=1.0).contains(&row["data_wait"].as_f64().expect("a share")), "{row}");
        }
    }
    let outcome = place.compute(&["eval", "whole", "--protocol", "linear-cached", "--epochs", "2"]).good();
    assert!(outcome.stdout.contains("linear"), "{}", outcome.stdout);
    place.compute(&["eval", "whole", "--protocol", "linear", "--epochs", "1"]).good();
    place
        .compute(&["mix", "--checkpoint", "whole", "--mixer", "mixup", "--count", "2", "-o", "m.png"])
        .good();
    assert!(place.path("m.png").exists());
}

#[test]
fn a_resident_set_has_no_share_of_waiting() {
    let place = Place::new();
    place.write("tiny.ron", super::TINY);
    place.compute(&["run", "tiny.ron", "--out", "run", "--max-steps", "2"]).good();
    assert_eq!(json(&place, "run/run.json")["data_wait"], Value::Null);
    let metrics = fs::read_to_string(place.path("run/metrics.jsonl")).expect("metrics");
    assert!(!metrics.contains("data_wait"), "{metrics}");
}

#[test]
fn a_broken_file_ends_a_run_which_goes_on_once_the_file_is_whole() {
    let place = pictures();
    let flags = [
        "run",
        "stream.ron",
        "--out",
        "run",
        "--set",
        "evaluate.every=9",
        "--set",
        "evaluate.reestimate_batches=0",
    ];
    place.compute(&[&flags[..], &["--max-steps", "3"]].concat()).good();
    let good: Vec<_> = ["ant/10", "bee/11", "ant/24", "bee/27", "ant/36"]
        .map(|name| place.path(format!("data/pictures/train/{name}.JPEG")))
        .map(|path| (path.clone(), fs::read(&path).expect("a file")))
        .to_vec();
    for (path, bytes) in &good {
        fs::write(path, &bytes[..bytes.len() - 40]).expect("written");
    }
    let outcome = place.compute(&[&flags[..], &["--resume"]].concat());
    outcome.refused(2, &["data/pictures/train/", ".JPEG: broken JPEG", "replace it by a whole picture"]);
    for (path, bytes) in &good {
        fs::write(path, bytes).expect("written");
    }
    place.compute(&[&flags[..], &["--resume"]].concat()).good();
    place.compute(&[&flags[..3], &["whole"], &flags[4..]].concat()).good();
    same_state(&file_of(&place, "whole", 10), &file_of(&place, "run", 10));
}

#[test]
fn broken_files_that_were_passed_over_count_after_a_resume_too() {
    let place = pictures();
    let broken: Vec<_> = ["ant/02", "bee/05", "ant/16", "bee/21", "ant/30"]
        .map(|name| place.path(format!("data/pictures/train/{name}.JPEG")))
        .map(|path| (path.clone(), fs::read(&path).expect("a file")))
        .to_vec();
    broken.iter().for_each(|(path, _)| fs::write(path, "no picture").expect("written"));
    let run = |out: &str, more: &[&str]| {
        let flags =
            ["run", "stream.ron", "--out", out, "--set", "evaluate.every=9", "--set", "evaluate.probes=[]"];
        let quick = ["--set", "evaluate.reestimate_batches=0", "--set", "accumulate=1"];
        place.compute(&[&flags[..], &quick, more].concat())
    };
    // An epoch goes through all images: 5 of 40 files.
    let allowed = |limit: &'static str| ["--set", limit];
    let (enough, few) = (allowed("data.broken=Skip(limit: 0.125)"), allowed("data.broken=Skip(limit: 0.1)"));
    run("whole", &enough).good();
    run("parts", &[&enough[..], &["--max-steps", "9"]].concat()).good();
    let outcome = run("parts", &[&enough[..], &["--resume"]].concat()).good();
    same_state(&file_of(&place, "whole", 20), &file_of(&place, "parts", 20));
    // Files that were named before the stop are not named again.
    let named = |text: &str| text.matches("stands in for it").count();
    assert!(named(&outcome.stderr) < 5, "{}", outcome.stderr);

    let told = ["5 of 40 files are broken, more than `data.broken` allows (0.1)"];
    // Two processes find less than the limit each; a checkpoint counts what both found.
    let outcome = run("both", &[&few[..], &["--processes", "2"]].concat());
    outcome.refused(2, &[told[0], "the state is saved in both/checkpoints"]);

    // One that ends a run ends it after a stop as well, though each part alone stays below the limit.
    run("ends", &few).refused(2, &told);
    let steps = |steps: &'static str| ["--max-steps", steps];
    for many in ["2", "4", "6", "8"] {
        let outcome = run(
            "ends_too",
            &[&few[..], &steps(many), if many == "2" { &[] } else { &["--resume"] }].concat(),
        );
        if outcome.code != Some(0) {
            outcome.refused(2, &told);
            break;
        }
    }
    run("ends_too", &[&few[..], &["--resume"]].concat()).refused(2, &told);
    // Mended files count no more.
    broken.iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("written"));
    run("ends_too", &[&few[..], &["--resume"]].concat()).good();
}

#[test]
fn a_folder_that_is_not_as_it_should_be_is_told_before_anything_starts() {
    let place = pictures();
    let dry = |more: &[&str]| place.compute(&[&["run", "stream.ron", "--dry-run"], more].concat());
    dry(&[]).good();
    let parts = ["--set data.augment=Shift", "`data.augment` is Shift", "`Moco(size: 224)`"];
    dry(&["--set", "data.augment=Shift", "--set", "data.test_resize=None"]).refused(2, &parts);
    dry(&["--set", "data.workers=0"]).refused(2, &["`data.workers` is 0", "1 to 1024 threads"]);
    let missing = ["`data.name` cannot be opened", "imagenet/train/<class>/*.JPEG", "image-net.org"];
    dry(&["--set", "data.name=\"imagenet\""]).refused(2, &missing);
    place.compute(&["data", "verify", "pictures"]).bad_flag(&["--device"]);
    let outcome = place.admix(&["data", "verify", "pictures"]).good();
    assert!(outcome.stdout.contains("pictures is sound"), "{}", outcome.stdout);
    assert!(place.admix(&["datasets"]).good().stdout.contains("a folder of images"));
    fs::remove_dir_all(place.path("data/pictures/val")).expect("removed");
    dry(&[]).refused(2, &["data/pictures: it has no `val` and no `test` folder", "val/CLASS/IMAGE"]);
}

#[test]
fn a_signal_ends_a_run_while_batches_are_made_ahead() {
    let place = pictures();
    let long = ["run", "stream.ron", "--out", "run", "--set", "epochs=5000", "--set", "log_every=1"];
    let flags = ["--set", "evaluate.every=5000", "--device", "cpu", "--threads", "1"];
    let child = place.command(&[&long[..], &flags].concat()).spawn().expect("the program starts");
    let begin = std::time::Instant::now();
    // Once metrics are there, steps go by.
    let metrics = || fs::metadata(place.path("run/metrics.jsonl")).map_or(0, |file| file.len());
    while metrics() == 0 && begin.elapsed() < super::PATIENCE {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let status = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(status.expect("kill").success());
    let outcome = finish(child);
    assert_eq!(outcome.code, Some(143), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("resume with --resume"), "{}", outcome.stderr);
}

#[test]
fn an_evaluation_that_fails_saves_the_state_and_a_resumed_run_evaluates_again() {
    let place = pictures();
    let run = |out: &str, more: &[&str]| {
        let flags = ["run", "stream.ron", "--out", out, "--set", "evaluate.reestimate_batches=0"];
        place.compute(&[&flags[..], more].concat())
    };
    run("whole", &[]).good();
    run("run", &["--max-steps", "9"]).good();
    let image = place.path("data/pictures/val/ant/04.JPEG");
    let bytes = fs::read(&image).expect("an image");
    fs::write(&image, "no picture").expect("written");
    let saved = "is saved in run/checkpoints/step-00000010.safetensors: go on with --resume";
    let parts = ["04.JPEG", "this ended the evaluation after epoch 2", saved];
    run("run", &["--resume"]).refused(1, &parts);
    fs::write(&image, bytes).expect("written");
    run("run", &["--resume"]).good();
    same_state(&file_of(&place, "whole", 10), &file_of(&place, "run", 10));
}

#[test]
fn the_images_of_a_recipe_are_timed_alone() {
    let place = pictures();
    let bench = ["bench", "data", "stream.ron", "--batches", "12", "--format", "json"];
    let report: Value = serde_json::from_str(&place.compute(&bench).good().stdout).expect("JSON");
    assert_eq!(
        (&report["batch"], &report["views"], &report["data"]),
        (&4.into(), &2.into(), &"pictures".into())
    );
    assert!(report["images_per_s"].as_f64() > Some(0.0), "{report}");
    let stream = &report["stream"];
    assert!(stream["decoded_per_s_and_worker"].as_f64() > Some(0.0), "{report}");
    assert!((0.0..=1.0).contains(&stream["wait"].as_f64().expect("a share")), "{report}");
    place.write("tiny.ron", super::TINY);
    let outcome = place.compute(&["bench", "data", "tiny.ron", "--batches", "3"]).good();
    assert!(outcome.stdout.contains("on the device"), "{}", outcome.stdout);
    let few = ["bench", "data", "tiny.ron", "--set", "batch=65"];
    place.compute(&few).refused(2, &["only 64 training images"]);
}
