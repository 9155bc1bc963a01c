//! Events as event files of TensorBoard in a folder of the run folder.

mod event_file;
mod hparams;
mod message;
mod record;

#[cfg(test)]
mod decoder;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use admix_api::describe;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use self::event_file::EventFile;
use self::message::Value;
use super::event::{Event, Record, now};
use super::logger::{Logger, LoggerConfig, Opening};
use crate::Result;
use crate::ranges::expect;
use crate::run::{Accuracy, ByLambda, MixerReport, Status};

/// The series of the reported accuracy: one name in all runs, so that they can be compared by it.
const REPORT: &str = "report/top1";
/// Folders in which a run keeps other things.
const TAKEN: [&str; 5] = ["checkpoints", "samples", "mixers", "losses", "lock"];

/// Settings of TensorBoard's event files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TensorBoard {
    /// Name of their folder in the run folder. Default "tensorboard".
    pub folder: String,
}

impl Default for TensorBoard {
    fn default() -> Self {
        Self { folder: "tensorboard".into() }
    }
}

describe! {
    dyn Logger, dyn LoggerConfig: TensorBoard, "TensorBoard", "tensorboard",
    "Event files of TensorBoard: curves, mixed samples, recipe and script, hyperparameters.",
    source: "no publication; the format is that of https://github.com/tensorflow/tensorboard",
    served: ()
}

impl LoggerConfig for TensorBoard {
    fn validate(&self) -> admix_api::Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        let name = &self.folder;
        let good = !name.is_empty() && name.chars().all(plain) && !TAKEN.contains(&name.as_str());
        let wanted = format!("a name of letters, digits, _ and -, other than {}", crate::text::list(TAKEN));
        expect("folder", name, good, &wanted)
    }

    fn open(&self, opening: &Opening<'_>) -> Result<Box<dyn Logger>> {
        let (folder, time) = (opening.folder.join(&self.folder), now());
        if let Some(done) = opening.resumed {
            // The start of a part tells as much to those who heed it. The hyperparameters follow anew.
            event_file::retain(&folder, |event| event.step <= done as i64 && !hparams::holds(event))?;
        }
        let first = opening.resumed.unwrap_or(0) + 1;
        let mut file = EventFile::begin(&folder, first, time)?;
        let metric = opening.report.map(|name| (REPORT, format!("top-1 of {name}")));
        // Apart from the texts, which stay when a part that follows replaces these.
        file.add(first, time, hparams::start(opening.settings, metric, time))?;
        let texts = [("recipe", opening.recipe), ("method", opening.method)];
        file.add(first, time, texts.map(|(tag, text)| Value::text(tag, as_code(text))).into())?;
        Ok(Box::new(Board { file, report: opening.report.map(String::from) }))
    }

    fn resolved(&self) -> Json {
        json!(self)
    }
}

/// A text that Markdown shows as it is.
fn as_code(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

#[derive(Debug)]
struct Board {
    file: EventFile,
    report: Option<String>,
}

impl Logger for Board {
    fn take(&mut self, record: &Record) -> Result<()> {
        let (step, values) = match &record.event {
            Event::Train { step, .. } => (*step, trained(&record.event)),
            Event::Evaluated { step, heads, mixers, .. } => {
                (*step, self.evaluated(heads).into_iter().chain(masks(mixers)).collect())
            }
            Event::Pictured { step, path, .. } => (*step, picture(path).into_iter().collect()),
            Event::Ended { step, status: Status::Done } => (*step, vec![hparams::end(record.time)]),
            _ => return Ok(()),
        };
        if values.is_empty() { Ok(()) } else { self.file.add(step, record.time, values) }
    }
}

impl Board {
    fn evaluated(&self, heads: &BTreeMap<String, Accuracy>) -> Vec<Value> {
        let of_head = |(name, head): (&String, &Accuracy)| {
            [("top1", head.top1), ("top5", head.top5), ("loss", head.loss)]
                .map(|(what, value)| Value::scalar(format!("test/{what}/{name}"), value))
        };
        let reported = self.report.as_ref().and_then(|name| heads.get(name));
        let reported = reported.map(|head| Value::scalar(REPORT, head.top1));
        heads.iter().flat_map(of_head).chain(reported).collect()
    }
}

/// The masks of trained mixers, over all lambdas.
fn masks(mixers: &BTreeMap<String, ByLambda>) -> impl Iterator<Item = Value> {
    mixers.iter().flat_map(|(name, by_lambda)| {
        let report = MixerReport::mean(by_lambda);
        let losses = report.losses.map(|of| [("loss", of.loss_mixed), ("loss_mixup", of.loss_mixup)]);
        let of_mask = [("std", report.mask_std), ("gap", report.mean_gap)];
        let all = of_mask.into_iter().chain(losses.into_iter().flatten());
        all.map(move |(what, value)| Value::scalar(format!("mask/{what}/{name}"), value))
    })
}

/// The averages of a stretch of training.
fn trained(event: &Event) -> Vec<Value> {
    let Event::Train { losses, logged, lr, momentum, images_per_s, data_wait, skipped, .. } = event else {
        return Vec::new();
    };
    let by_name = [("loss", losses), ("logged", logged), ("lr", lr)];
    let by_name = by_name.into_iter().flat_map(|(group, values)| {
        values.iter().map(move |(name, value)| Value::scalar(format!("{group}/{name}"), *value))
    });
    let alone = [
        ("momentum", *momentum),
        ("images_per_s", Some(*images_per_s)),
        ("data_wait", *data_wait),
        ("skipped", Some(*skipped as f64)),
    ];
    let alone =
        alone.into_iter().filter_map(|(name, value)| Some(Value::scalar(format!("train/{name}"), value?)));
    by_name.chain(alone).collect()
}

/// A picture as it is in its file. One that cannot be had must not end a run.
fn picture(path: &Path) -> Option<Value> {
    let shown = match fs::read(path) {
        Ok(bytes) => Value::png("samples", bytes).ok_or("it is no PNG".to_string()),
        Err(error) => Err(error.to_string()),
    };
    shown.inspect_err(|why| tracing::warn!("{} is not in TensorBoard: {why}", path.display())).ok()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::run::MixLosses;

    use super::decoder::{Shown, bytes, display, fields, number, text};
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x01\x02\0\0\0\x30\x08\x02";

    /// The files of a folder, in the order of their names.
    fn files(folder: &Path) -> Vec<Vec<u8>> {
        let mut paths: Vec<PathBuf> =
            folder.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths.iter().map(|path| fs::read(path).expect("a file")).collect()
    }

    fn open(folder: &Path, resumed: Option<u64>, recipe: &str) -> Box<dyn Logger> {
        let settings = [
            ("seed".to_string(), json!(3)),
            ("method".into(), json!("amix")),
            ("optimizer.nesterov".into(), json!(true)),
            ("data.crop".into(), json!(null)),
            ("heads".into(), json!(["one", "mix"])),
        ];
        let opening = Opening {
            resumed,
            report: Some("one_q"),
            recipe,
            method: "fn step(t) {\n}",
            settings: &settings,
            ..Opening::at(folder)
        };
        TensorBoard::default().open(&opening).expect("a logger")
    }

    fn train(step: u64, loss: f64) -> Event {
        Event::Train {
            step,
            epoch: 0,
            losses: BTreeMap::from([("one".into(), loss)]),
            logged: BTreeMap::from([("spread".into(), f64::NAN)]),
            lr: BTreeMap::from([("net".into(), 0.1)]),
            momentum: Some(0.99),
            images_per_s: 120.0,
            data_wait: None,
            skipped: 2,
        }
    }

    fn evaluated(step: u64, top1: f64) -> Event {
        let accuracy = Accuracy { top1, top5: 90.0, loss: 1.5, images: 4 };
        let losses = Some(MixLosses { loss_mixed: 1.25, loss_mixup: 0.75 });
        let masks = MixerReport { mask_std: 0.125, mean_gap: 0.25, worst_gap: 0.5, losses, pairs: 4 };
        let mixers = BTreeMap::from([("amix".into(), ByLambda::from([("0.5".into(), masks)]))]);
        Event::Evaluated { step, epoch: 1, heads: BTreeMap::from([("one_q".into(), accuracy)]), mixers }
    }

    fn tell(logger: &mut dyn Logger, events: impl IntoIterator<Item = Event>) {
        events.into_iter().for_each(|event| logger.take(&Record::now(event)).expect("taken"));
    }

    #[test]
    fn every_value_has_its_series_and_its_step() {
        let place = tempfile::tempdir().expect("a folder");
        let image = place.path().join("epoch-001.png");
        fs::write(&image, PNG).expect("written");
        let mut logger = open(place.path(), None, "(epochs: 1)");
        let pictured = |path: &Path| Event::Pictured { step: 8, epoch: 1, path: path.into() };
        let events = [train(4, 2.5), evaluated(8, 50.0), pictured(&image), pictured(Path::new("none.png"))];
        tell(&mut *logger, events);
        tell(&mut *logger, [Event::Ended { step: 8, status: Status::Stopped }]);
        let shown = display(&files(&place.path().join("tensorboard")));
        let scalars: Vec<(&str, u64, f32)> = shown
            .iter()
            .filter_map(|(tag, values)| match &values[..] {
                [(step, Shown::Scalar(value))] if !value.is_nan() => Some((&tag[..], *step, *value)),
                _ => None,
            })
            .collect();
        let wanted = [
            ("loss/one", 4, 2.5),
            ("lr/net", 4, 0.1),
            ("mask/gap/amix", 8, 0.25),
            ("mask/loss/amix", 8, 1.25),
            ("mask/loss_mixup/amix", 8, 0.75),
            ("mask/std/amix", 8, 0.125),
            ("report/top1", 8, 50.0),
            ("test/loss/one_q", 8, 1.5),
            ("test/top1/one_q", 8, 50.0),
            ("test/top5/one_q", 8, 90.0),
            ("train/images_per_s", 4, 120.0),
            ("train/momentum", 4, 0.99),
            ("train/skipped", 4, 2.0),
        ];
        assert_eq!(scalars, wanted);
        assert!(matches!(shown["logged/spread"][..], [(4, Shown::Scalar(value))] if value.is_nan()));
        assert_eq!(shown["samples"], [(8, Shown::Image(258, 48, PNG.to_vec()))]);
        assert_eq!(shown["recipe"], [(1, Shown::Text("    (epochs: 1)\n".into()))]);
        assert_eq!(shown["method"], [(1, Shown::Text("    fn step(t) {\n    }\n".into()))]);
        let others = ["_hparams_/experiment", "_hparams_/session_start_info"];
        assert_eq!(shown.len(), wanted.len() + 4 + others.len(), "{:?}", shown.keys());
        assert!(others.iter().all(|tag| shown.contains_key(*tag)), "{:?}", shown.keys());
    }

    #[test]
    fn settings_are_hyperparameters_and_the_reported_accuracy_is_their_metric() {
        let place = tempfile::tempdir().expect("a folder");
        let mut logger = open(place.path(), None, "");
        tell(&mut *logger, [Event::Ended { step: 8, status: Status::Done }]);
        let shown = display(&files(&place.path().join("tensorboard")));
        let data = |tag: &str| match &shown[tag][..] {
            [(_, Shown::Metadata(plugin, content))] if plugin == "hparams" => content.clone(),
            other => panic!("{other:?}"),
        };
        let messages = |message: &[u8], number: u64| -> Vec<Vec<u8>> {
            let own = fields(message).into_iter().filter(|(own, _)| *own == number);
            own.map(|(_, field)| match field {
                decoder::Field::Bytes(bytes) => bytes.to_vec(),
                number => panic!("{number:?}"),
            })
            .collect()
        };
        let start = data("_hparams_/session_start_info");
        let start = bytes(&start, 3).expect("a start");
        let hparams: BTreeMap<String, Vec<u8>> = messages(start, 1)
            .iter()
            .map(|entry| (text(entry, 1), bytes(entry, 2).expect("a value").to_vec()))
            .collect();
        let names: Vec<&String> = hparams.keys().collect();
        assert_eq!(names, ["heads", "method", "optimizer.nesterov", "seed"], "what is not set is left out");
        assert_eq!(f64::from_bits(number(&hparams["seed"], 2)), 3.0);
        assert_eq!(text(&hparams["method"], 3), "amix");
        assert_eq!(number(&hparams["optimizer.nesterov"], 4), 1);
        assert_eq!(text(&hparams["heads"], 3), r#"["one","mix"]"#);
        let experiment = data("_hparams_/experiment");
        let experiment = bytes(&experiment, 2).expect("an experiment");
        let infos = messages(experiment, 4);
        let types: Vec<(String, u64)> = infos.iter().map(|info| (text(info, 1), number(info, 4))).collect();
        let wanted = [("seed", 3), ("method", 1), ("optimizer.nesterov", 2), ("heads", 1)];
        assert_eq!(types, wanted.map(|(name, kind)| (name.to_string(), kind)));
        let [metric] = &messages(experiment, 5)[..] else { panic!("one metric") };
        assert_eq!(text(bytes(metric, 1).expect("a name"), 2), REPORT);
        assert_eq!(text(metric, 3), "top-1 of one_q");
        let end = data("_hparams_/session_end_info");
        assert_eq!(number(bytes(&end, 4).expect("an end"), 1), 1);
    }

    #[test]
    fn a_resumed_run_shows_no_step_twice_and_none_that_was_given_up() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("tensorboard");
        let mut logger = open(place.path(), None, "first");
        let done = Event::Ended { step: 16, status: Status::Done };
        tell(&mut *logger, [train(4, 1.0), train(8, 2.0), evaluated(8, 10.0)]);
        tell(&mut *logger, [train(12, 3.0), evaluated(16, 20.0), done]);
        let before = files(&folder);
        let mut logger = open(place.path(), Some(8), "second");
        tell(&mut *logger, [train(14, 4.0)]);
        // A reader that has read the first file is told by the second.
        let after = files(&folder);
        let watched = display(&[&before[..], &after[1..]].concat());
        let losses =
            |shown: &BTreeMap<String, Vec<(u64, Shown)>>| -> Vec<(u64, Shown)> { shown["loss/one"].clone() };
        let wanted = [(4, 1.0), (8, 2.0), (14, 4.0)].map(|(step, loss)| (step, Shown::Scalar(loss)));
        assert_eq!(losses(&watched), wanted);
        assert_eq!(watched["report/top1"], [(8, Shown::Scalar(10.0))]);
        // And nothing of what was given up is left for one that comes later.
        let shown = display(&after);
        assert_eq!(losses(&shown), wanted);
        assert!(!display(&after[..1])["loss/one"].iter().any(|(step, _)| *step > 8));
        assert_eq!(shown["_hparams_/session_start_info"].len(), 1);
        assert!(!shown.contains_key("_hparams_/session_end_info"), "it goes on");
        let texts = [(1, "    first\n"), (9, "    second\n")];
        assert_eq!(shown["recipe"], texts.map(|(step, text)| (step, Shown::Text(text.into()))));
        // From the same step again, and from the beginning.
        let _ = open(place.path(), Some(8), "third");
        let texts = [(1, "    first\n"), (9, "    third\n")];
        assert_eq!(
            display(&files(&folder))["recipe"],
            texts.map(|(step, text)| (step, Shown::Text(text.into())))
        );
        let _ = open(place.path(), Some(0), "fourth");
        let shown = display(&files(&folder));
        assert_eq!(shown["recipe"], [(1, Shown::Text("    fourth\n".into()))]);
        assert!(!shown.contains_key("loss/one"), "{:?}", shown.keys());
    }

    #[test]
    fn a_folder_stays_in_the_run_folder_and_leaves_its_files_alone() {
        for bad in ["../x", "a/b", "/x", "", ".", "run.json", "samples", "lock"] {
            let error = TensorBoard { folder: bad.into() }.validate().expect_err(bad);
            assert!(error.to_string().starts_with("folder is"), "{error}");
        }
        assert!(TensorBoard::default().validate().is_ok());
    }
}
