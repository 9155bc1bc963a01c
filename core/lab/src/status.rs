//! How far a planned run is, by what lies on the disk.

use std::fs;

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
            FolderState::None => self.failure().map_or(Progress::Missing, Progress::Failed),
            FolderState::Running => Progress::Running,
            FolderState::Stopped => self.failure().map_or(Progress::Interrupted, Progress::Failed),
            FolderState::Failed(why) => Progress::Failed(self.failure().unwrap_or(why)),
            FolderState::Done(facts) => match evaluation {
                Some(evaluation) if self.measured(evaluation).is_none() => {
                    self.failure().map_or(Progress::Trained, Progress::Failed)
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
    pub fn beside(&self, ending: &str) -> std::path::PathBuf {
        self.folder.with_extension(ending)
    }

    /// Why a worker gave it up.
    fn failure(&self) -> Option<String> {
        fs::read_to_string(self.beside("failed")).ok()
    }
}
