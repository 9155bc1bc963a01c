//! What every logger must keep.

use std::collections::BTreeMap;

use admix_api::contract::{Check, Ledger, Promise, Test, ensure};

use super::event::{Event, Record};
use super::logger::{LoggerConfig, Opening};
use crate::run::{Accuracy, ByLambda, MixerReport, StartedFrom, Status};
use crate::{Error, Result};

const TAKES: &str = "every event is taken";
const AGAIN: &str = "a run that goes on is taken up";
const INSIDE: &str = "nothing is written outside of the run folder";

pub(super) const PROMISES: &[Promise] =
    &[(TAKES, "it was not opened"), (AGAIN, "it was not opened"), (INSIDE, "it was not opened")];

/// One event of each kind, with values that are not finite among them.
pub(super) fn events() -> Vec<Event> {
    let accuracy = Accuracy { top1: 50.0, top5: f64::NAN, loss: f64::NAN, images: 4 };
    let masks = MixerReport { mask_std: f64::NAN, mean_gap: 0.1, worst_gap: 0.2, losses: None, pairs: 4 };
    let mixers = BTreeMap::from([("amix".into(), ByLambda::from([("0.5".into(), masks)]))]);
    vec![
        Event::Started {
            folder: "runs/x".into(),
            steps: 8,
            epochs: 2,
            step: 0,
            parameters: 100,
            device: "cpu (1 threads)".into(),
        },
        Event::StartedFrom(StartedFrom {
            from: "torchvision:resnet18".into(),
            file: "resnet18.pth".into(),
            sha256: "f3".into(),
            format: "PyTorch".into(),
            prefix: String::new(),
            names: "torchvision".into(),
            matched: 100,
            more: Vec::new(),
            new: vec!["head.one".into()],
            left_over: vec!["fc.weight".into()],
            followers: Vec::new(),
            same_normalisation: None,
        }),
        Event::Resumed { path: "runs/x/checkpoints/step-1.safetensors".into(), step: 1 },
        Event::Progress { step: 2, epoch: 0 },
        Event::Train {
            step: 4,
            epoch: 1,
            losses: BTreeMap::from([("one".into(), 2.5), ("mix".into(), f64::NAN)]),
            logged: BTreeMap::new(),
            lr: BTreeMap::from([("net".into(), 0.1)]),
            momentum: None,
            images_per_s: 10.0,
            data_wait: Some(0.5),
            skipped: 1,
        },
        Event::Evaluated { step: 8, epoch: 2, heads: BTreeMap::from([("one_q".into(), accuracy)]), mixers },
        Event::Pictured { step: 8, epoch: 2, path: "runs/x/samples/epoch-002.png".into() },
        Event::Saved { path: "runs/x/checkpoints/step-8.safetensors".into(), step: 8 },
        Event::Warning { message: "odd \"text\"\nof two lines".into() },
        Event::Ended { step: 8, status: Status::Done },
    ]
}

/// Holds a logger with these settings to every promise.
pub(super) fn check(config: &dyn LoggerConfig, at: &str, ledger: &mut Ledger) {
    let tests: &[Test<dyn LoggerConfig>] = &[(TAKES, takes), (AGAIN, again), (INSIDE, inside)];
    ledger.hold_all(config, &at, tests);
}

/// Gives a logger every event, in a folder of its own, which lies in `outer`.
fn feed(config: &dyn LoggerConfig, outer: &tempfile::TempDir, resumed: Option<u64>) -> Result<()> {
    let root = outer.path().join("run");
    std::fs::create_dir_all(&root).map_err(|source| Error::file("make the folder", &root, source))?;
    let opening = Opening { resumed, report: Some("one_q"), ..Opening::at(&root) };
    let mut logger = config.open(&opening)?;
    events().into_iter().try_for_each(|event| logger.take(&Record::now(event)))
}

fn place() -> Result<tempfile::TempDir> {
    tempfile::tempdir().map_err(|source| Error::file("make the folder", std::env::temp_dir(), source))
}

fn takes(config: &dyn LoggerConfig) -> Check {
    Ok(feed(config, &place()?, None)?)
}

fn again(config: &dyn LoggerConfig) -> Check {
    let outer = place()?;
    feed(config, &outer, None)?;
    Ok(feed(config, &outer, Some(3))?)
}

fn inside(config: &dyn LoggerConfig) -> Check {
    let outer = place()?;
    feed(config, &outer, None)?;
    let found = outer.path().read_dir().map_err(|error| error.to_string())?.count();
    ensure(found == 1, || format!("{} files lie beside the run folder", found - 1))
}

#[cfg(test)]
mod tests {
    use admix_api::{Registry, contract};
    use serde_json::{Value as Json, json};

    use super::super::logger::Logger;
    use super::*;

    #[test]
    fn every_logger_keeps_the_contract() {
        let registry = Registry::linked().expect("entries");
        assert!(registry.of::<dyn Logger>().count() >= 1);
        for entry in registry.of::<dyn Logger>() {
            let verdicts = contract::check(entry, &[json!({})]);
            assert!(!verdicts.iter().any(contract::Verdict::is_broken), "{}", contract::table(&verdicts));
        }
    }

    /// Writes beside the folder, refuses warnings and every second start.
    #[derive(Debug)]
    struct Wrong;

    impl Logger for Wrong {
        fn take(&mut self, record: &Record) -> Result<()> {
            match record.event {
                Event::Warning { .. } => Err(Error::Input("no warnings".into())),
                _ => Ok(()),
            }
        }
    }

    impl LoggerConfig for Wrong {
        fn validate(&self) -> admix_api::Result<()> {
            Ok(())
        }
        fn open(&self, opening: &Opening<'_>) -> Result<Box<dyn Logger>> {
            let path = opening.folder.join("../beside");
            std::fs::write(&path, "x").map_err(|source| Error::file("write", path, source))?;
            Ok(Box::new(Self))
        }
        fn resolved(&self) -> Json {
            json!({})
        }
    }

    #[test]
    fn a_wrong_logger_breaks_every_promise() {
        for test in [takes, again, inside] {
            assert!(test(&Wrong).is_err());
        }
    }
}
