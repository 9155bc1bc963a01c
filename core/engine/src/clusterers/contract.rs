//! What every clusterer must keep.

use admix_api::contract::{Check, Ledger, Promise, Test, ensure, guarded, wild};
use admix_api::{Draws, Streams};
use admix_torch::{Device, Kind, SyncCounter, Tensor};

use super::clusterer::{Clusterer, ClustererConfig};
use crate::{Error, Result};

const LABELS: &str = "labels are in range";
const SAME: &str = "the same features give the same bits";
const STATE: &str = "state is saved and restored bit for bit";
const SKIP: &str = "a skipped step leaves the state alone";
const FINITE: &str = "embeddings that are not finite leave the state finite";
const WEIGHTS: &str = "class weights are positive and finite";
const WAITS: &str = "what belongs to a step does not wait for the device";

pub(super) const PROMISES: &[Promise] = &[
    (LABELS, "it was not built"),
    (SAME, "it was not built"),
    (STATE, "it was not built"),
    (SKIP, "it was not built"),
    (FINITE, "it was not built"),
    (WEIGHTS, "it was not built"),
    (WAITS, "it was not built"),
];

const WIDTH: i64 = 8;
/// Samples of a step.
const BATCH: i64 = 16;

/// A clusterer that has started.
struct Trial {
    clusterer: Box<dyn Clusterer>,
    clusters: i64,
    samples: i64,
}

fn draws(step: u64) -> Draws {
    Streams::new(5).draws("cluster", "contract", 0, step)
}

impl Trial {
    fn unstarted(config: &dyn ClustererConfig) -> Result<Self> {
        let sizes = (6..16).map(|power| 1usize << power);
        let samples = sizes.into_iter().find(|samples| config.check(*samples).is_ok()).ok_or_else(|| {
            Error::Input("its `check` refuses every data set of 64 to 32,768 samples".into())
        })? as i64;
        // Room, so that clusters do not run dry all the time.
        let samples = 4 * samples;
        let clusterer = config.build(samples, WIDTH, Device::Cpu)?;
        Ok(Self { clusterer, clusters: config.clusters(), samples })
    }

    fn new(config: &dyn ClustererConfig) -> Result<Self> {
        let mut trial = Self::unstarted(config)?;
        let features = wild(&[trial.samples, WIDTH], 0.4, Kind::Float);
        trial.clusterer.initialise(&features, &mut draws(0))?;
        Ok(trial)
    }

    fn update(&mut self, step: u64) -> Result<()> {
        let start = step as i64 * BATCH % (self.samples - BATCH);
        let index = Tensor::f_arange(BATCH, (Kind::Int64, Device::Cpu))?.f_add_scalar(start)?;
        let new = wild(&[BATCH, WIDTH], 0.1 * step as f64, Kind::Float);
        let _ = self.clusterer.update(&index, &new)?;
        Ok(())
    }

    /// One step of training.
    fn step(&mut self, step: u64) -> Result<()> {
        self.update(step)?;
        self.clusterer.settle(&Tensor::f_zeros([0i64; 0], (Kind::Float, Device::Cpu))?)?;
        let _ = self.clusterer.after_step(step, &mut draws(step))?;
        Ok(())
    }

    fn copies(&self) -> Vec<(&'static str, Tensor)> {
        self.clusterer.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect()
    }

    fn labels(&self) -> Result<Tensor> {
        self.clusterer.labels(&Tensor::f_arange(self.samples, (Kind::Int64, Device::Cpu))?)
    }
}

fn same(one: &[(&'static str, Tensor)], other: &[(&'static str, Tensor)]) -> Check {
    ensure(one.len() == other.len(), || format!("{} tensors, then {}", one.len(), other.len()))?;
    for ((name, a), (_, b)) in one.iter().zip(other) {
        ensure(a.equal(b), || format!("`{name}` differs"))?;
    }
    Ok(())
}

/// Holds a clusterer with these settings to every promise.
pub(super) fn check(config: &dyn ClustererConfig, at: &str, ledger: &mut Ledger) {
    let _guard = admix_torch::no_grad();
    let tests: &[Test<dyn ClustererConfig>] = &[
        (LABELS, labels),
        (SAME, repeats),
        (STATE, state),
        (SKIP, skip),
        (FINITE, finite),
        (WEIGHTS, weights),
        (WAITS, waits),
    ];
    ledger.hold_all(config, &at, tests);
}

fn labels(config: &dyn ClustererConfig) -> Check {
    let mut trial = Trial::new(config)?;
    for step in 1..=12 {
        let found = trial.labels()?;
        let (least, most) = (found.min().int64_value(&[]), found.max().int64_value(&[]));
        ensure(found.kind() == Kind::Int64 && least >= 0 && most < trial.clusters, || {
            format!("labels of kind {:?} from {least} to {most}, {} clusters", found.kind(), trial.clusters)
        })?;
        trial.step(step)?;
    }
    Ok(())
}

fn repeats(config: &dyn ClustererConfig) -> Check {
    let run = || -> Result<Trial> {
        let mut trial = Trial::new(config)?;
        (1..=12).try_for_each(|step| trial.step(step))?;
        Ok(trial)
    };
    same(&run()?.copies(), &run()?.copies())
}

fn state(config: &dyn ClustererConfig) -> Check {
    let (mut first, mut second) = (Trial::new(config)?, Trial::unstarted(config)?);
    (1..=9).try_for_each(|step| first.step(step))?;
    for ((_, tensor), (_, value)) in second.clusterer.tensors().iter().zip(first.copies()) {
        tensor.shallow_clone().f_copy_(&value)?;
    }
    second.clusterer.loaded();
    for step in 10..=20 {
        first.step(step)?;
        second.step(step)?;
    }
    same(&first.copies(), &second.copies())
}

fn skip(config: &dyn ClustererConfig) -> Check {
    let mut trial = Trial::new(config)?;
    let before = trial.copies();
    trial.update(1)?;
    trial.update(2)?;
    trial.clusterer.settle(&Tensor::f_ones([0i64; 0], (Kind::Float, Device::Cpu))?)?;
    same(&before, &trial.copies())
}

fn finite(config: &dyn ClustererConfig) -> Check {
    let mut trial = Trial::new(config)?;
    let new = wild(&[2, WIDTH], 0.6, Kind::Float);
    let _ = new.get(0).f_fill_(f64::NAN)?;
    let _ = trial.clusterer.update(&Tensor::from_slice(&[3i64, 4]), &new)?;
    for (name, tensor) in trial.copies() {
        ensure(bool::try_from(&tensor.f_isfinite()?.f_all()?)?, || format!("`{name}` is not finite"))?;
    }
    Ok(())
}

fn weights(config: &dyn ClustererConfig) -> Check {
    let trial = Trial::new(config)?;
    let weights = trial.clusterer.class_weight()?;
    ensure(weights.size() == [trial.clusters] && weights.kind() == Kind::Float, || {
        format!("weights of shape {:?} and kind {:?}", weights.size(), weights.kind())
    })?;
    let good = weights.f_gt(0.0)?.f_logical_and(&weights.f_isfinite()?)?.f_all()?;
    ensure(bool::try_from(&good)?, || format!("{weights:?}"))
}

fn waits(config: &dyn ClustererConfig) -> Check {
    let mut trial = Trial::new(config)?;
    let index = Tensor::f_arange(BATCH, (Kind::Int64, Device::Cpu))?;
    let none = Tensor::f_zeros([0i64; 0], (Kind::Float, Device::Cpu))?;
    let counter = SyncCounter::start();
    let outcome = guarded(|| {
        let _ = (trial.clusterer.labels(&index)?, trial.clusterer.class_weight()?);
        trial.update(1)?;
        Ok(trial.clusterer.settle(&none)?)
    });
    let names = counter.names();
    outcome?;
    ensure(names.is_empty(), || format!("the host waited for {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use admix_api::{Registry, contract};
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::clusterers::Odc;

    #[test]
    fn every_clusterer_keeps_the_contract() {
        let registry = Registry::linked().expect("entries");
        assert!(registry.of::<dyn Clusterer>().count() >= 1);
        for entry in registry.of::<dyn Clusterer>() {
            let verdicts = contract::check(entry, &[json!({}), json!({ "k": 3, "min_size": 2 })]);
            assert!(!verdicts.iter().any(contract::Verdict::is_broken), "{}", contract::table(&verdicts));
        }
    }

    /// Labels count the updates and are read back; nothing of it is in its tensors.
    #[derive(Debug, Default)]
    struct Wrong(i64, Option<Tensor>);

    impl Clusterer for Wrong {
        fn tensors(&self) -> Vec<(&'static str, Tensor)> {
            let seen = self.1.as_ref().map_or(Tensor::from(0f32), |seen| seen.sum(Kind::Float));
            vec![("count", seen + self.0)]
        }
        fn loaded(&mut self) {}
        fn initialise(&mut self, _: &Tensor, _: &mut Draws) -> Result<()> {
            Ok(())
        }
        fn labels(&self, index: &Tensor) -> Result<Tensor> {
            Ok(index.f_zeros_like()?.f_add_scalar(self.0)?)
        }
        fn class_weight(&self) -> Result<Tensor> {
            Ok(Tensor::zeros([3], (Kind::Float, Device::Cpu)))
        }
        fn update(&mut self, index: &Tensor, embeddings: &Tensor) -> Result<Tensor> {
            self.0 += 1 + index.f_max()?.f_int64_value(&[])?;
            self.1 = Some(embeddings.copy());
            Ok(Tensor::from(0f32))
        }
        fn settle(&mut self, _: &Tensor) -> Result<()> {
            Ok(())
        }
        fn forget(&mut self) {}
        fn after_step(&mut self, _: u64, _: &mut Draws) -> Result<bool> {
            Ok(false)
        }
    }

    impl ClustererConfig for Wrong {
        fn clusters(&self) -> i64 {
            3
        }
        fn validate(&self) -> admix_api::Result<()> {
            Ok(())
        }
        fn check(&self, _: usize) -> admix_api::Result<()> {
            Ok(())
        }
        fn build(&self, _: i64, _: i64, _: Device) -> Result<Box<dyn Clusterer>> {
            Ok(Box::new(Self::default()))
        }
        fn resolved(&self) -> Json {
            json!({})
        }
    }

    #[test]
    fn a_wrong_clusterer_breaks_the_promises() {
        let right = Odc { k: 3, min_size: 2, ..Odc::default() };
        for test in [labels, state, skip, finite, weights, waits] {
            assert!(test(&Wrong::default()).is_err());
            assert!(test(&right).is_ok());
        }
    }
}
