//! What the program draws, measures and prints.

use std::path::Path;

use image::{GrayImage, RgbImage};
use serde_json::Value;

use super::{Outcome, Place, TINY};

/// Where the cells of a grid are: see `core/cli/picture.rs`.
struct Layout {
    /// Side of a cell: 28 pixels, three times as large.
    cell: u32,
    gap: u32,
    block_gap: u32,
    /// Left edge of the first column, top edge of the first row.
    origin: (u32, u32),
}

impl Layout {
    /// Of a grid whose longest mixer name has so many letters, written at 8 pixels a letter.
    fn of(letters: u32) -> Self {
        Self { cell: 84, gap: 4, block_gap: 12, origin: (8 * letters + 12, 8 + 12) }
    }

    fn size(&self, columns: u32, blocks: u32, rows: u32) -> (u32, u32) {
        let step = self.cell + self.gap;
        let height = self.origin.1 + blocks * rows * step + (blocks - 1) * self.block_gap;
        (self.origin.0 + columns * step + self.gap, height)
    }

    /// The picture in a cell, at its own size.
    fn picture(&self, grid: &RgbImage, column: u32, block: u32, row: u32, rows: u32) -> GrayImage {
        let left = self.origin.0 + column * (self.cell + self.gap);
        let top = self.origin.1 + (block * rows + row) * (self.cell + self.gap) + block * self.block_gap;
        GrayImage::from_fn(28, 28, |x, y| {
            let [r, g, b] = grid.get_pixel(left + 3 * x + 1, top + 3 * y + 1).0;
            assert!(r == g && g == b, "a grey picture");
            image::Luma([r])
        })
    }
}

fn read(path: &Path) -> RgbImage {
    image::open(path).expect("a PNG").to_rgb8()
}

#[test]
fn a_grid_of_mixes_shows_every_mixer_at_every_lambda() {
    let place = Place::new();
    let flags = ["--count", "2", "--lambda", "0.25", "0.75", "--set", "model.width=0.0625"];
    let outcome = place
        .compute(&[&["mix", "--mixer", "mixup", "cutmix", "amix", "-o", "grid.png"], &flags[..]].concat());
    let outcome = outcome.good();
    assert_eq!(outcome.stdout, "grid.png\n");
    assert!(outcome.stderr.contains("warning: `amix` is untrained"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("mixup") && !outcome.stderr.contains("cutmix"), "{}", outcome.stderr);

    // Columns: A, B, two lambdas, the mask. Rows: two pairs for each of three mixers.
    let (grid, layout) = (read(&place.path("grid.png")), Layout::of(6));
    assert_eq!(grid.dimensions(), layout.size(5, 3, 2));
    let cell = |column: u32, block: u32, row: u32| layout.picture(&grid, column, block, row, 2);
    for row in 0..2 {
        let (own, partner) = (cell(0, 0, row), cell(1, 0, row));
        assert_ne!(own, partner);
        for block in 1..3 {
            assert_eq!(
                (cell(0, block, row), cell(1, block, row)),
                (own.clone(), partner.clone()),
                "the same pairs"
            );
        }
        for (column, lambda) in [(2, 0.25), (3, 0.75)] {
            let mixed = cell(column, 0, row);
            for ((got, a), b) in mixed.pixels().zip(own.pixels()).zip(partner.pixels()) {
                let wanted = lambda * f64::from(a.0[0]) + (1.0 - lambda) * f64::from(b.0[0]);
                assert!((f64::from(got.0[0]) - wanted).abs() <= 2.0, "mixup: {got:?} of {a:?} and {b:?}");
            }
            let pasted = cell(column, 1, row);
            for ((got, a), b) in pasted.pixels().zip(own.pixels()).zip(partner.pixels()) {
                let near = |wanted: u8| got.0[0].abs_diff(wanted) <= 1;
                assert!(near(a.0[0]) || near(b.0[0]), "cutmix: {got:?} of {a:?} and {b:?}");
            }
            // A trained mixer's pixels lie between those of the pair, whatever its mask.
            let between = cell(column, 2, row);
            for ((got, a), b) in between.pixels().zip(own.pixels()).zip(partner.pixels()) {
                let (low, high) = (a.0[0].min(b.0[0]), a.0[0].max(b.0[0]));
                assert!(
                    (low.saturating_sub(1)..=high.saturating_add(1)).contains(&got.0[0]),
                    "amix: {got:?}"
                );
            }
        }
        assert!(
            cell(4, 1, row).pixels().all(|pixel| [0, 255].contains(&pixel.0[0])),
            "a box is all or nothing"
        );
    }
    // The same flags, the same picture; another seed, another one.
    let mix = ["mix", "--mixer", "mixup", "--count", "2", "-o"];
    for (file, seed) in [("a.png", "1"), ("b.png", "1"), ("c.png", "2")] {
        place.compute(&[&mix[..], &[file, "--seed", seed]].concat()).good();
    }
    let [a, b, c] = ["a.png", "b.png", "c.png"].map(|file| read(&place.path(file)));
    assert!(a == b && a != c);
}

#[test]
fn a_mix_inside_of_the_network_is_drawn_as_the_mix_of_the_images_at_the_same_lambda() {
    let place = Place::new();
    let mix = |file: &str, mixer: &[&str], more: &[&str]| {
        let flags = ["--count", "2", "--lambda", "0.25", "0.75", "-o", file];
        place.compute(&[&["mix", "--mixer"], mixer, &flags, more].concat()).good();
        read(&place.path(file))
    };
    let plain = mix("mixup.png", &["mixup"], &[]);
    let layout = Layout::of(5);
    for stage in 0..3 {
        let stages = format!("mixers.manifoldmix=ManifoldMix(stages: [{stage}])");
        let grid = mix(&format!("grid{stage}.png"), &["manifoldmix"], &["--set", &stages]);
        // The name tells of it, where a mix is hidden.
        let inside = Layout::of(if stage > 0 { 24 } else { 11 });
        assert_eq!(grid.dimensions(), inside.size(5, 1, 2), "stage {stage}");
        for (column, row) in (0..4).flat_map(|column| [(column, 0), (column, 1)]) {
            let (found, wanted) =
                (inside.picture(&grid, column, 0, row, 2), layout.picture(&plain, column, 0, row, 2));
            let near = found.pixels().zip(wanted.pixels()).all(|(a, b)| a.0[0].abs_diff(b.0[0]) <= 1);
            assert!(near, "stage {stage}, column {column}, row {row}");
        }
    }
}

/// Every line of stdout as JSON.
#[track_caller]
fn json_lines(outcome: &Outcome) -> Vec<Value> {
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    outcome.stdout.lines().map(line).collect()
}

#[test]
fn a_run_can_be_followed_as_json_and_measured_again_with_the_same_result() {
    let place = Place::new();
    place.write("r.ron", TINY);
    let run = ["run", "r.ron", "--out", "run", "--format", "json", "--set", "checkpoint.every_steps=None"];
    let events = json_lines(&place.compute(&run).good());
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().expect("an event")).collect();
    let epoch = ["train", "evaluated", "saved"];
    assert_eq!(names, [&["started"][..], &epoch, &epoch, &["finished"]].concat());
    assert_eq!(events[0]["steps"], 16);
    let last = &events[5]["heads"];
    assert_eq!(last.as_object().expect("heads").len(), 4);
    let finished = &events[7];
    assert_eq!((&finished["finished"], &finished["step"]), (&Value::from(true), &Value::from(16)));
    assert_eq!(finished["heads"]["mix_k"]["last"], last["mix_k"]["top1"]);
    let picture = finished["samples"].as_str().expect("a picture");
    assert!(read(&place.path(picture)).width() > 100);

    // Again, from the checkpoint: the momentum net's statistics are estimated anew, on the same batches.
    let measured = json_lines(&place.compute(&["eval", "run", "--format", "json"]).good());
    let [measured] = &measured[..] else { panic!("one line") };
    assert_eq!(measured["heads"], *last);
    assert_eq!((&measured["step"], &measured["epoch"]), (&Value::from(16), &Value::from(2)));
    let table = place.compute(&["eval", "run"]).good().stdout;
    let accuracy = last["mix_k"]["top1"].as_f64().expect("a number");
    assert!(table.contains(&format!("mix_k  {accuracy:.2} %")), "{table}");
    let file = "run/checkpoints/step-00000016.safetensors";
    let of_file = json_lines(&place.compute(&["eval", file, "--format", "json"]).good());
    assert_eq!(of_file[0]["heads"], *last);
}

#[test]
fn with_format_json_stdout_holds_nothing_else() {
    let place = Place::new();
    place.write("r.ron", TINY);
    for arguments in [
        &["plugins", "amix"][..],
        &["recipes"],
        &["backbones", "ResNet"],
        &["datasets"],
        &["data", "info", "fashion-mini"],
        &["data", "verify", "fashion-mini"],
        &["show", "r.ron"],
        &["run", "r.ron", "--dry-run"],
    ] {
        let outcome = place.admix(&[arguments, &["--format", "json"]].concat()).good();
        assert!(!json_lines(&outcome).is_empty(), "{arguments:?}");
        assert_eq!(outcome.stderr, "", "{arguments:?}");
    }
    assert!(!place.path("runs").exists(), "a dry run writes nothing");
    // Errors go to stderr, whatever the format.
    let outcome = place.admix(&["run", "r.ron", "--set", "epochs=0", "--format", "json"]);
    assert_eq!(outcome.refused(2, &["epochs"]).stdout, "");
}

#[test]
fn a_run_that_no_terminal_watches_prints_plain_lines() {
    let place = Place::new();
    place.write("r.ron", TINY);
    let outcome = place.compute(&["run", "r.ron", "--out", "run", "--log", "info"]).good();
    for text in [&outcome.stdout, &outcome.stderr] {
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(text.lines().all(|line| line == line.trim_end()), "{text:?}");
    }
    for part in [
        "run: 16 steps in 2 epochs",
        "epoch 1/2  step 2/16  ",
        "epoch 2/2  test: mix_k ",
        "done: 2 epochs",
        "run folder: run",
    ] {
        assert!(outcome.stdout.contains(part), "`{part}` is not in:\n{}", outcome.stdout);
    }
    // A reader that goes away ends nothing.
    let script = "\"$0\" \"$@\" | head -n 1";
    let run = ["run", "r.ron", "--out", "again", "--device", "cpu", "--threads", "1"];
    let child = place.command_through(&["sh", "-c", script], &run).spawn().expect("sh runs");
    assert_eq!(super::finish(child).good().stdout.lines().count(), 1);
    assert!(place.path("again/checkpoints/step-00000016.safetensors").exists());
}
