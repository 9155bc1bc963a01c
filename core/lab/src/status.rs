//! How far a planned run is, by what lies on the disk.

use std::fs;
use std::path::PathBuf;

use admix_engine::{FolderState, RunFacts, RunFolder};
use serde_json::Value;

use crate::experiment::Evaluation;
use crate::plan::Planned;

/// How far a run is.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Nothing is there.
    Missing,
    /// A process trains it.
    Running,
    /// It was stopped or killed and can go on.
    Interrupted,
    /// It failed, and why.
    Failed(String),
    /// Trained to its end, but not measured as the experiment asks.
    Trained,
    /// Trained and measured.
    Done(Box<RunFacts>),
}

impl Planned {
    /// How far it is. `evaluation` is what its variant measures after training.
    pub fn progress(&self, evaluation: Option<&Evaluation>) -> Progress {
        let folder = RunFolder::existing(&self.folder);
        match folder.state() {
            FolderState::None => self.failure(None).map_or(Progress::Missing, Progress::Failed),
            FolderState::Running => Progress::Running,
            FolderState::Stopped => self.failure(None).map_or(Progress::Interrupted, Progress::Failed),
            FolderState::Failed(why) => Progress::Failed(self.failure(None).unwrap_or(why)),
            FolderState::Done(facts) => match evaluation {
                Some(evaluation) if self.measured(evaluation).is_none() => {
                    self.failure(Some(evaluation)).map_or(Progress::Trained, Progress::Failed)
                }
                _ => Progress::Done(facts),
            },
        }
    }

    /// What `admix eval` told of it.
    pub fn measured(&self, evaluation: &Evaluation) -> Option<Value> {
        let text = fs::read_to_string(self.folder.join(evaluation.file())).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// A file beside the run folder: `seed-0.log`.
    pub fn beside(&self, ending: &str) -> PathBuf {
        self.folder.with_extension(ending)
    }

    /// Where a worker notes why it gave up the run, or what is measured after it.
    pub(crate) fn note(&self, evaluation: Option<&Evaluation>) -> PathBuf {
        self.beside(&evaluation.map_or("failed".into(), |evaluation| format!("{}.failed", evaluation.file())))
    }

    fn failure(&self, evaluation: Option<&Evaluation>) -> Option<String> {
        fs::read_to_string(self.note(evaluation)).ok()
    }
}
