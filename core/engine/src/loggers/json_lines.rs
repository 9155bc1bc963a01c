//! Events as lines of JSON in a file of the run folder. Every run writes `metrics.jsonl` so.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use admix_api::describe;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::event::Record;
use super::logger::{Logger, LoggerConfig, Opening};
use crate::ranges::expect;
use crate::run::write_whole;
use crate::{Error, Result};

/// Settings of a file of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JsonLines {
    /// Name of the file in the run folder. `metrics.jsonl` is the one that every run writes. Default "events.jsonl".
    pub file: String,
    /// Whether events without results are written too: checkpoints, warnings, every step. Default true.
    pub all: bool,
}

impl Default for JsonLines {
    fn default() -> Self {
        Self { file: "events.jsonl".into(), all: true }
    }
}

describe! {
    dyn Logger, dyn LoggerConfig: JsonLines, "JsonLines", "json-lines",
    "Events as lines of JSON in a file of the run folder.",
    source: "no publication; the format is that of https://jsonlines.org",
    served: ()
}

impl JsonLines {
    /// The file that every run writes: training and evaluation.
    pub(crate) fn metrics() -> Self {
        Self { file: "metrics.jsonl".into(), all: false }
    }
}

impl LoggerConfig for JsonLines {
    fn validate(&self) -> admix_api::Result<()> {
        let plain = Path::new(&self.file).file_name().is_some_and(|name| name == self.file.as_str());
        let good = plain && self.file.ends_with(".jsonl") && self.file != "metrics.jsonl";
        expect("file", &self.file, good, "a file name that ends in .jsonl, other than metrics.jsonl")
    }

    fn open(&self, opening: &Opening<'_>) -> Result<Box<dyn Logger>> {
        if let Some(step) = opening.resumed {
            truncate(opening.folder, &self.file, step)?;
        }
        Ok(Box::new(Lines { path: opening.folder.join(&self.file), all: self.all }))
    }

    fn resolved(&self) -> Json {
        json!(self)
    }
}

/// Forgets events of steps after `step`: a resumed run writes them again. An event without a step, such as a warning,
/// belongs to the step before it.
fn truncate(folder: &Path, file: &str, step: u64) -> Result<()> {
    let path = folder.join(file);
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(Error::file("read", path, source)),
    };
    let mut at = 0;
    let happened = |line: &&str| {
        let Ok(row) = serde_json::from_str::<Json>(line) else { return false };
        at = row.get("step").and_then(Json::as_u64).unwrap_or(at);
        at <= step
    };
    let kept: String = text.split_inclusive('\n').filter(happened).collect();
    if kept == text { Ok(()) } else { write_whole(folder, file, kept.as_bytes()) }
}

#[derive(Debug)]
struct Lines {
    path: PathBuf,
    all: bool,
}

impl Logger for Lines {
    fn take(&mut self, record: &Record) -> Result<()> {
        if !self.all && !record.event.has_results() {
            return Ok(());
        }
        let mut line = serde_json::to_string(record).unwrap_or_default();
        line.push('\n');
        let write = || -> std::io::Result<()> {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(&self.path)?;
            file.write_all(line.as_bytes())
        };
        write().map_err(|source| Error::file("write", self.path.clone(), source))
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::events;
    use super::*;
    use crate::run::RunFolder;

    #[test]
    fn a_resumed_run_forgets_what_happens_again() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = RunFolder::existing(place.path());
        let open = |resumed| {
            JsonLines::metrics().open(&Opening { resumed, ..Opening::at(&folder.root) }).expect("a logger")
        };
        let mut logger = open(None);
        for event in events() {
            logger.take(&Record::now(event)).expect("an event");
        }
        let steps = || folder.records().expect("events").len();
        assert_eq!(steps(), events().iter().filter(|event| event.has_results()).count());
        let _ = open(Some(6));
        assert_eq!(steps(), 1, "the evaluation was at step 8");
        let _ = open(Some(1));
        assert_eq!(steps(), 0);
    }

    #[test]
    fn a_resumed_run_keeps_the_warnings_of_steps_that_stay() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("events.jsonl");
        let lines = [
            r#"{"event":"progress","step":4}"#,
            r#"{"event":"warning","message":"early"}"#,
            "no JSON",
            r#"{"event":"progress","step":9}"#,
            r#"{"event":"warning","message":"late"}"#,
        ];
        let damaged = [lines.join("\n").as_bytes(), b"\n{\"step\":9,\"\xff\":0}\n"].concat();
        fs::write(&path, damaged).expect("written");
        truncate(place.path(), "events.jsonl", 4).expect("read");
        assert_eq!(fs::read_to_string(&path).expect("text"), lines[..2].join("\n") + "\n");
    }

    #[test]
    fn a_file_stays_in_the_run_folder_and_leaves_the_metrics_alone() {
        for bad in ["../x.jsonl", "a/b.jsonl", "/x.jsonl", "metrics.jsonl", "run.json", ""] {
            let error = JsonLines { file: bad.into(), ..JsonLines::default() }.validate().expect_err(bad);
            assert!(error.to_string().starts_with("file is"), "{error}");
        }
        assert!(JsonLines::default().validate().is_ok());
    }
}
