//! The events of a run, with the time at which each happened. They are read again from what a logger wrote.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize};

use crate::run::{Accuracy, ByLambda, StartedFrom, Status};

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Training starts.
    Started {
        /// The run folder.
        folder: PathBuf,
        /// Optimiser steps of the whole run.
        steps: u64,
        /// Epochs of the whole run.
        epochs: u64,
        /// Where the run stands.
        step: u64,
        /// Trained values: networks and mixers.
        parameters: i64,
        /// The device in words.
        device: String,
    },
    /// The networks start from weights of a file.
    StartedFrom(StartedFrom),
    /// A run goes on from a checkpoint.
    Resumed {
        /// Which.
        path: PathBuf,
        /// Steps done there.
        step: u64,
    },
    /// Steps went by; nothing was read from the device.
    Progress {
        /// Optimiser steps done.
        step: u64,
        /// Epochs done.
        epoch: u64,
    },
    /// Averages since the last such event.
    Train {
        /// Optimiser steps done.
        step: u64,
        /// Epochs done.
        epoch: u64,
        /// Mean of each term, before weighting.
        #[serde(deserialize_with = "numbers")]
        losses: BTreeMap<String, f64>,
        /// Mean of what the script logged.
        #[serde(deserialize_with = "numbers")]
        logged: BTreeMap<String, f64>,
        /// Learning rate of each group, now.
        #[serde(deserialize_with = "numbers")]
        lr: BTreeMap<String, f64>,
        /// Momentum of the first pair, now.
        momentum: Option<f64>,
        /// Training images per second of wall time.
        images_per_s: f64,
        /// Share of the wall time, 0 to 1, that training waited for images; only where they are streamed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        data_wait: Option<f64>,
        /// Steps whose update was skipped.
        skipped: u64,
    },
    /// An evaluation on the test set.
    Evaluated {
        /// Optimiser steps done.
        step: u64,
        /// Epochs done.
        epoch: u64,
        /// By head and network: "mix_k".
        heads: BTreeMap<String, Accuracy>,
        /// The masks of each trained mixer, by lambda.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        mixers: BTreeMap<String, ByLambda>,
    },
    /// A picture was drawn after an evaluation.
    Pictured {
        /// Optimiser steps done.
        step: u64,
        /// Epochs done.
        epoch: u64,
        /// Its file, a PNG.
        path: PathBuf,
    },
    /// A checkpoint was written.
    Saved {
        /// Which.
        path: PathBuf,
        /// Steps done.
        step: u64,
    },
    /// Training ends, for now or for good.
    Ended {
        /// Optimiser steps done.
        step: u64,
        /// How.
        status: Status,
    },
    /// Something odd.
    Warning {
        /// What.
        message: String,
    },
}

impl Event {
    /// Whether it holds results: a line of `metrics.jsonl`.
    pub fn has_results(&self) -> bool {
        matches!(self, Self::Train { .. } | Self::Evaluated { .. })
    }
}

/// An event and its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// Seconds since 1970 on the clock of the machine; 0 in files of earlier versions. No result depends on it.
    #[serde(default)]
    pub time: f64,
}

impl Record {
    /// An event that happens now.
    pub fn now(event: Event) -> Self {
        Self { event, time: now() }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Numbers by name; JSON has `null` where one is not finite.
fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let all = BTreeMap::<String, Option<f64>>::deserialize(deserializer)?;
    Ok(all.into_iter().map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect())
}

#[cfg(test)]
mod tests {
    use super::super::contract::events;
    use super::*;

    #[test]
    fn every_event_is_read_back_as_it_was_written() {
        for event in events() {
            let record = Record { event, time: 1234.5 };
            let text = serde_json::to_string(&record).expect("JSON");
            let back: Record = serde_json::from_str(&text).expect(&text);
            // Not by `==`: a loss may be no number.
            assert_eq!(serde_json::to_string(&back).expect("JSON"), text);
            assert_eq!(format!("{back:?}"), format!("{record:?}"));
        }
        let old: Record = serde_json::from_str(r#"{"event":"saved","path":"x","step":3}"#).expect("an event");
        assert_eq!(old, Record { event: Event::Saved { path: "x".into(), step: 3 }, time: 0.0 });
    }
}
