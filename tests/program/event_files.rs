//! Event files of TensorBoard that runs write, read by a reader of the tests' own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use admix_engine::{Event, MixerReport, RunFolder};

use super::{Place, TINY, files_below};

#[path = "../../core/engine/src/loggers/tensorboard/decoder.rs"]
#[allow(dead_code, reason = "the tests of the logger use the rest")]
mod decoder;

use decoder::{Field, Shown, bytes, display, fields, number, text};

type Series = BTreeMap<String, Vec<(u64, Shown)>>;

fn files(folder: &Path) -> Vec<Vec<u8>> {
    files_below(folder).iter().map(|path| fs::read(path).expect("a file")).collect()
}

/// What the curves must be by `metrics.jsonl`.
fn curves(run: &Path, report: &str) -> BTreeMap<String, Vec<(u64, f32)>> {
    let mut all: BTreeMap<String, Vec<(u64, f32)>> = BTreeMap::new();
    let mut add = |tag: String, step: u64, value: f64| {
        all.entry(tag).or_default().push((step, value as f32));
    };
    for record in RunFolder::existing(run).records().expect("metrics") {
        match record.event {
            Event::Train { step, losses, logged, lr, momentum, images_per_s, skipped, .. } => {
                for (group, values) in [("loss", losses), ("logged", logged), ("lr", lr)] {
                    values.into_iter().for_each(|(name, value)| add(format!("{group}/{name}"), step, value));
                }
                add("train/momentum".into(), step, momentum.expect("a pair"));
                add("train/images_per_s".into(), step, images_per_s);
                add("train/skipped".into(), step, skipped as f64);
            }
            Event::Evaluated { step, heads, mixers, .. } => {
                add("report/top1".into(), step, heads[report].top1);
                for (name, head) in heads {
                    add(format!("test/top1/{name}"), step, head.top1);
                    add(format!("test/top5/{name}"), step, head.top5);
                    add(format!("test/loss/{name}"), step, head.loss);
                }
                for (name, by_lambda) in mixers {
                    let masks = MixerReport::mean(&by_lambda);
                    let losses = masks.losses.expect("the recipe has heads");
                    add(format!("mask/std/{name}"), step, masks.mask_std);
                    add(format!("mask/gap/{name}"), step, masks.mean_gap);
                    add(format!("mask/loss/{name}"), step, losses.loss_mixed);
                    add(format!("mask/loss_mixup/{name}"), step, losses.loss_mixup);
                }
            }
            other => panic!("{other:?} in metrics.jsonl"),
        }
    }
    all
}

fn scalars(shown: &Series) -> BTreeMap<String, Vec<(u64, f32)>> {
    let scalar = |(step, shown): &(u64, Shown)| match shown {
        Shown::Scalar(value) => Some((*step, *value)),
        _ => None,
    };
    shown
        .iter()
        .map(|(tag, values)| (tag.clone(), values.iter().filter_map(scalar).collect::<Vec<_>>()))
        .filter(|(_, values)| !values.is_empty())
        .collect()
}

/// The number that the hyperparameters give a setting.
fn hyperparameter(shown: &Series, name: &str) -> Option<f64> {
    let [(_, Shown::Metadata(plugin, content))] = &shown["_hparams_/session_start_info"][..] else {
        panic!("one start: {:?}", shown["_hparams_/session_start_info"]);
    };
    assert_eq!(plugin, "hparams");
    let entries = fields(bytes(content, 3).expect("a start"));
    let entries = entries.into_iter().filter_map(|(number, field)| match field {
        Field::Bytes(entry) if number == 1 => Some(entry),
        _ => None,
    });
    let value = entries.into_iter().find(|entry| text(entry, 1) == name).and_then(|entry| bytes(entry, 2))?;
    Some(f64::from_bits(number(value, 2)))
}

#[test]
fn a_run_that_was_resumed_is_shown_as_one_that_never_stopped() {
    let place = Place::new();
    place.write("r.ron", TINY);
    let run = ["run", "r.ron", "--out", "run", "--log-to", "tensorboard"];
    place.compute(&[&run[..], &["--max-steps", "12"]].concat()).good();
    let folder = place.path("run/tensorboard");
    let before = files(&folder);
    assert_eq!(before.len(), 1);
    assert_eq!(scalars(&display(&before)), curves(&place.path("run"), "mix_k"));

    let older = "run/checkpoints/step-00000010.safetensors";
    place.compute(&[&run[..], &["--resume", older]].concat()).good();
    let after = files(&folder);
    assert_eq!(after.len(), 2);
    let shown = display(&after);
    let wanted = curves(&place.path("run"), "mix_k");
    assert_eq!(
        wanted["loss/one"].iter().map(|(step, _)| *step).collect::<Vec<_>>(),
        [2, 4, 6, 8, 10, 12, 14, 16]
    );
    assert_eq!(wanted["test/top1/mix_k"].iter().map(|(step, _)| *step).collect::<Vec<_>>(), [8, 16]);
    assert!(
        ["lr/net", "loss/mask", "train/momentum", "test/top5/one_q"]
            .iter()
            .all(|tag| wanted.contains_key(*tag))
    );
    assert_eq!(scalars(&shown), wanted);
    // For one who watched the run from its start as well.
    let watched = display(&[&before[..1], &after[1..]].concat());
    assert_eq!(scalars(&watched), wanted);

    let pictures = shown["samples"].iter().map(|(step, shown)| match shown {
        Shown::Image(width, height, png) => (*step, *width, *height, png.clone()),
        other => panic!("{other:?}"),
    });
    let drawn = [(8, "run/samples/epoch-001.png"), (16, "run/samples/epoch-002.png")].map(|(step, name)| {
        let (width, height) = image::image_dimensions(place.path(name)).expect("a picture");
        (step, u64::from(width), u64::from(height), fs::read(place.path(name)).expect("a file"))
    });
    assert_eq!(pictures.collect::<Vec<_>>(), drawn);
    for (tag, file) in [("recipe", "run/recipe.ron"), ("method", "run/method.rhai")] {
        let told = fs::read_to_string(place.path(file)).expect("a text");
        let told: String = told.lines().map(|line| format!("    {line}\n")).collect();
        assert_eq!(shown[tag], [1, 11].map(|step| (step, Shown::Text(told.clone()))), "{tag}");
    }
    assert!(!fs::read_to_string(place.path("run/recipe.ron")).expect("a recipe").contains("TensorBoard"));
    assert_eq!(hyperparameter(&shown, "optimizer.lr"), Some(0.1));
    assert_eq!(hyperparameter(&shown, "epochs"), Some(2.0));
    assert_eq!(hyperparameter(&shown, "clip_norm"), None, "it is not set");
    assert!(shown.contains_key("_hparams_/session_end_info"));

    // A run that is at its end is told no second time, and a longer one has its own settings.
    place.compute(&[&run[..], &["--resume"]].concat()).good();
    assert_eq!(scalars(&display(&files(&folder))), wanted);
    place.compute(&[&run[..], &["--resume", "--set", "epochs=3"]].concat()).good();
    let shown = display(&files(&folder));
    assert_eq!(scalars(&shown), curves(&place.path("run"), "mix_k"));
    assert_eq!(hyperparameter(&shown, "epochs"), Some(3.0));
    assert_eq!(shown["samples"].len(), 3);
}

#[test]
fn loggers_are_named_by_the_recipe_and_by_a_flag() {
    let place = Place::new();
    let with = |logger: &str| TINY.replace("checkpoint:", &format!("loggers: [{logger}], checkpoint:"));
    place.write("r.ron", with("TensorBoard()"));
    let run = ["run", "r.ron", "--out", "run", "--max-steps", "2", "--log-to"];
    let flags = [r#"TensorBoard(folder: "tb")"#, "--log-to", "json-lines"];
    place.compute(&[&run[..], &flags[..]].concat()).good();
    for folder in ["run/tensorboard", "run/tb"] {
        assert_eq!(scalars(&display(&files(&place.path(folder)))), curves(&place.path("run"), "mix_k"));
    }
    assert!(place.path("run/events.jsonl").exists());
    for (flag, parts) in [
        ("tensorbord", &["--log-to tensorbord", "no logger named", "Did you mean `tensorboard`?"][..]),
        ("TensorBoard(folder: \"../x\")", &["--log-to TensorBoard(folder: \"../x\")", "folder is ../x"]),
        ("tensorboard", &["--log-to tensorboard", "two that write \"tensorboard\"", "a `folder` of its own"]),
    ] {
        place.admix(&["run", "r.ron", "--out", "new", "--dry-run", "--log-to", flag]).refused(2, parts);
        place.compute(&["run", "r.ron", "--out", "new", "--log-to", flag]).refused(2, parts);
    }
    assert!(!place.path("new").exists());
    place.write("bad.ron", with(r#"TensorBoard(folder: "samples")"#));
    place.admix(&["check", "bad.ron"]).refused(2, &["bad.ron:", "`loggers`", "folder is samples"]);
}
