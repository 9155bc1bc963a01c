//! What every probe must keep.

use std::cell::RefCell;

use admix_api::Streams;
use admix_api::contract::{Check, Ledger, Promise, Test, ensure, wild};
use admix_data::Split;
use admix_torch::{Device, Kind, Tensor, rng_fingerprint};

use super::probe::{Features, Measured, Probe, TrainPass};
use crate::{Error, Result};

const PERFECT: &str = "perfect features give 100 %";
const NOISE: &str = "features without information give chance level";
const SAME: &str = "the same features give the same figures";
const ALONE: &str = "features and their network are left alone";
const DRAWS: &str = "libtorch's generator is not drawn from";

pub(super) const PROMISES: &[Promise] = &[
    (PERFECT, "it was not built"),
    (NOISE, "it was not built"),
    (SAME, "it was not built"),
    (ALONE, "it was not built"),
    (DRAWS, "it was not built"),
];

const CLASSES: i64 = 4;
const TRAIN: i64 = 600;
const TEST: i64 = 1000;

/// Features that are given, not computed.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) classes: i64,
    train: (Tensor, Tensor),
    test: (Tensor, Tensor),
    /// Copies of the features.
    before: [Tensor; 2],
    /// The smallest crop of each pass.
    pub(super) areas: RefCell<Vec<Option<f64>>>,
}

impl Given {
    fn new(features: impl Fn(&Tensor, f64) -> Tensor) -> Self {
        let labels = |count: i64, seed: u64| {
            let order = Streams::new(seed).draws("labels", "", 0, 0).permutation(count as usize);
            Tensor::from_slice(&order).remainder(CLASSES)
        };
        let (train, test) = (labels(TRAIN, 1), labels(TEST, 2));
        let (train, test) = ((features(&train, 0.2), train), (features(&test, 0.8), test));
        let before = [train.0.copy(), test.0.copy()];
        Self { classes: CLASSES, train, test, before, areas: RefCell::default() }
    }

    /// Each class has an axis of its own.
    pub(super) fn perfect() -> Self {
        Self::new(|labels, seed| {
            let noise = wild(&[labels.size()[0], CLASSES], seed, Kind::Float) * 0.05;
            noise.scatter_value(1, &labels.unsqueeze(1), 1.0)
        })
    }

    fn noise() -> Self {
        Self::new(|labels, seed| wild(&[labels.size()[0], 6], seed, Kind::Float))
    }
}

impl Features for Given {
    fn classes(&self) -> i64 {
        self.classes
    }

    fn width(&self) -> i64 {
        self.train.0.size()[1]
    }

    fn samples(&self) -> usize {
        TRAIN as usize
    }

    fn batch(&self) -> usize {
        300
    }

    fn streams(&self) -> Streams {
        Streams::new(3)
    }

    fn whole(&self, split: Split) -> Result<(Tensor, Tensor)> {
        let (features, labels) = if split == Split::Test { &self.test } else { &self.train };
        Ok((features.shallow_clone(), labels.shallow_clone()))
    }

    fn pass(&self, pass: TrainPass, each: &mut dyn FnMut(&Tensor, &Tensor) -> Result<()>) -> Result<()> {
        self.areas.borrow_mut().push(pass.least_area);
        for index in pass.order.chunks(pass.batch) {
            let index = Tensor::f_from_slice(index)?;
            let (features, labels) = &self.train;
            each(&features.f_index_select(0, &index)?, &labels.f_index_select(0, &index)?)?;
        }
        Ok(())
    }

    fn unchanged(&self) -> Result<()> {
        let same = self.before[0].equal(&self.train.0) && self.before[1].equal(&self.test.0);
        if same { Ok(()) } else { Err(Error::Input("the features have changed".into())) }
    }
}

/// Holds a probe with these settings to every promise.
pub(super) fn check(probe: &dyn Probe, at: &str, ledger: &mut Ledger) {
    let tests: &[Test<dyn Probe>] =
        &[(PERFECT, perfect), (NOISE, noise), (SAME, repeats), (ALONE, alone), (DRAWS, draws)];
    ledger.hold_all(probe, &at, tests);
}

fn measured(probe: &dyn Probe, features: &Given) -> Result<Measured> {
    probe.measure(features, &mut |_, _| {})
}

fn perfect(probe: &dyn Probe) -> Check {
    let found = measured(probe, &Given::perfect())?.accuracy;
    ensure(found.top1 == 100.0 && found.images == TEST as usize, || format!("{found:?}"))
}

fn noise(probe: &dyn Probe) -> Check {
    let found = measured(probe, &Given::noise())?.accuracy;
    // Five standard errors of 1000 guesses at one in four.
    ensure((found.top1 - 25.0).abs() < 6.9, || format!("{found:?}, expected a top-1 of about 25 %"))
}

fn repeats(probe: &dyn Probe) -> Check {
    let (one, other) = (measured(probe, &Given::noise())?, measured(probe, &Given::noise())?);
    ensure(one == other, || format!("{one:?}, then {other:?}"))
}

fn alone(probe: &dyn Probe) -> Check {
    let features = Given::noise();
    measured(probe, &features)?;
    Ok(features.unchanged()?)
}

fn draws(probe: &dyn Probe) -> Check {
    let before = rng_fingerprint(Device::Cpu)?;
    measured(probe, &Given::noise())?;
    ensure(before == rng_fingerprint(Device::Cpu)?, || "its state is another afterwards".into())
}

#[cfg(test)]
mod tests {
    use admix_api::{Registry, contract};
    use serde_json::{Map, Value as Json, json};

    use super::super::probe::AfterEpoch;
    use super::*;
    use crate::run::accuracy::Accuracy;

    #[test]
    fn every_probe_keeps_the_contract() {
        let registry = Registry::linked().expect("entries");
        assert!(registry.of::<dyn Probe>().count() >= 3);
        for entry in registry.of::<dyn Probe>() {
            let verdicts = contract::check(entry, &[json!({})]);
            assert!(!verdicts.iter().any(contract::Verdict::is_broken), "{}", contract::table(&verdicts));
        }
    }

    /// Guesses class 0, scales the features and draws.
    #[derive(Debug, Default)]
    struct Wrong;

    impl Probe for Wrong {
        fn validate(&self) -> admix_api::Result<()> {
            Ok(())
        }
        fn measure(&self, features: &dyn Features, _: AfterEpoch<'_>) -> Result<Measured> {
            let (mut given, labels) = features.whole(Split::Test)?;
            let _ = given.f_mul_scalar_(2.0)?;
            let top1 = 20.0 * Tensor::rand([1], (Kind::Float, Device::Cpu)).double_value(&[0]);
            let accuracy = Accuracy { top1, top5: 100.0, loss: 1.0, images: labels.size()[0] as usize };
            Ok(Measured { accuracy, best_top1: None, decided: Map::new() })
        }
        fn resolved(&self) -> Json {
            json!({})
        }
    }

    #[test]
    fn a_wrong_probe_breaks_every_promise() {
        for test in [perfect, repeats, alone, draws] {
            assert!(test(&Wrong).is_err());
        }
    }
}
