//! A linear classifier on features, and its training.

use admix_api::{Store, Streams};
use admix_data::Split;
use admix_models::{Head, LinearHead};
use admix_torch::{Device, Kind, Reduction, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::probe::{AfterEpoch, Features, Measured};
use super::tally::Tally;
use crate::method::broken;
use crate::optimizers::Sgd;
use crate::ranges::{expect, number};
use crate::run::accuracy::Accuracy;
use crate::world::{Group, Optimizer, Rules};
use crate::{Error, Result, schedule};

/// Data of so many classes count as ImageNet.
const IMAGENET: i64 = 1000;

/// Whose learning rates and steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum LinearPreset {
    /// The AMix paper: lr 0.1 (30 for 1000 classes and more, as on ImageNet), times 0.1 at 30 % and 60 % of the epochs.
    #[default]
    Paper,
    /// The authors' code: lr 1 (30 for 1000 classes and more), times 0.1 at 60 % and 80 %.
    Code,
}

/// How a classifier is trained.
#[derive(Debug, Clone)]
pub(super) struct Training {
    /// The probe's name, for messages.
    pub(super) name: &'static str,
    pub(super) epochs: u64,
    pub(super) lr: f64,
    /// Percent of the epochs after which the rate is multiplied by 0.1.
    pub(super) decay_at: Vec<u64>,
}

/// Trains on features `[n, C]` and labels of one epoch: learns from each batch that it calls with.
pub(super) type Epoch<'a> =
    &'a dyn Fn(u64, Streams, &mut dyn FnMut(&Tensor, &Tensor) -> Result<()>) -> Result<()>;

impl Training {
    /// The learning rate of an epoch, from 0.
    fn rate(&self, epoch: u64) -> f64 {
        let at: Vec<u64> =
            self.decay_at.iter().map(|percent| (percent * self.epochs).div_ceil(100)).collect();
        schedule::milestones(self.lr, 0.1, &at, epoch)
    }

    /// Trains a classifier and measures it on the test set after each epoch. It starts from N(0, 0.01^2) and biases 0; its
    /// draws are those of the run's seed. Features are not normalised. `epoch` makes the batches of one epoch.
    ///
    /// # Errors
    /// A classifier that diverges, features that change.
    pub(super) fn measure(
        &self,
        features: &dyn Features,
        epoch: Epoch<'_>,
        after: AfterEpoch<'_>,
    ) -> Result<Measured> {
        let streams = features.streams().fork("linear");
        let (test, labels) = features.whole(Split::Test)?;
        let mut classifier = Classifier::new(features, test.device(), self.lr, streams)?;
        let decided = serde_json::Map::from_iter([
            ("lr".to_string(), json!(self.lr)),
            ("decay_at".to_string(), json!(self.decay_at)),
        ]);
        let measured =
            |accuracy, best: f64| Measured { accuracy, best_top1: Some(best), decided: decided.clone() };
        let unusable = broken(&test)?.f_double_value(&[])?;
        if unusable > 0.0 {
            let sums = [0.0, 0.0, f64::NAN, unusable];
            return Ok(measured(Accuracy::of_sums(sums, test.size()[0] as usize, self.name), f64::NAN));
        }
        let mut last = None;
        // `max` passes over what is not a number.
        let mut best = f64::NAN;
        for at in 0..self.epochs {
            let rate = self.rate(at);
            epoch(at, streams, &mut |given, labels| classifier.learn(given, labels, rate))?;
            if at == 0 {
                // Not only at the end: a network that moves makes all further epochs worthless.
                features.unchanged()?;
            }
            let accuracy = classifier.measure(&test, &labels)?;
            best = best.max(accuracy.top1);
            after(at + 1, &accuracy);
            last = Some(accuracy);
        }
        let last = last.ok_or_else(|| Error::Input("linear evaluation without an epoch".into()))?;
        Ok(measured(last, best))
    }
}

/// Whether data of so many classes count as ImageNet.
pub(super) fn like_imagenet(classes: i64) -> bool {
    classes >= IMAGENET
}

impl LinearPreset {
    /// The learning rate for data of so many classes.
    pub(super) fn lr(self, classes: i64) -> f64 {
        match self {
            _ if like_imagenet(classes) => 30.0,
            Self::Paper => 0.1,
            Self::Code => 1.0,
        }
    }

    /// When the learning rate falls, in percent of the epochs.
    pub(super) fn decay_at(self) -> Vec<u64> {
        match self {
            Self::Paper => vec![30, 60],
            Self::Code => vec![60, 80],
        }
    }
}

/// Checks the settings of a training.
pub(super) fn validate(
    epochs: u64,
    batch: usize,
    lr: Option<f64>,
    decay_at: Option<&[u64]>,
) -> admix_api::Result<()> {
    expect("epochs", epochs, epochs > 0, "a whole number from 1")?;
    expect("batch", batch, batch > 0, "a whole number from 1")?;
    if let Some(lr) = lr {
        number("lr", lr, lr > 0.0, "a number above 0")?;
    }
    let most = decay_at.and_then(|at| at.iter().max()).copied().unwrap_or(0);
    expect("decay_at", most, most <= 100, "percent of the epochs, 0 to 100")
}

/// One linear layer and its optimiser.
struct Classifier {
    head: LinearHead,
    optimizer: Optimizer,
    found_inf: Tensor,
}

impl Classifier {
    fn new(features: &dyn Features, device: Device, lr: f64, streams: Streams) -> Result<Self> {
        let store = Store::new(device, streams);
        let head = LinearHead::new(&store.root(), features.width(), features.classes())?;
        let sgd = Sgd { lr, momentum: 0.9, weight_decay: 0.0, nesterov: false };
        let groups = vec![Group::new("linear", lr, 0.0, None)];
        let mut optimizer = Optimizer::new(&sgd, groups, Rules::default(), device)?;
        for (name, tensor, hints) in store.parameters() {
            optimizer.add(0, name, tensor, &hints, 1.0)?;
        }
        Ok(Self { head, optimizer, found_inf: Tensor::f_zeros([0i64; 0], (Kind::Float, device))? })
    }

    fn logits(&self, features: &Tensor) -> Result<Tensor> {
        // A map of one cell: its mean is itself.
        let map = features.f_unsqueeze(2)?.f_unsqueeze(3)?;
        Ok(self.head.forward(&map, true)?.f_to_kind(Kind::Float)?)
    }

    fn learn(&mut self, features: &Tensor, labels: &Tensor, rate: f64) -> Result<()> {
        let loss = {
            let _guard = admix_torch::with_grad();
            self.logits(features)?.f_cross_entropy_loss::<Tensor>(labels, None, Reduction::Mean, -100, 0.0)?
        };
        admix_torch::backward(&loss)?;
        self.optimizer.set_rates(&[rate])?;
        self.optimizer.step(&self.found_inf)?;
        self.optimizer.clear()
    }

    fn measure(&self, features: &Tensor, labels: &Tensor) -> Result<Accuracy> {
        let _guard = admix_torch::no_grad();
        if self.found_inf.f_double_value(&[])? != 0.0 {
            return Err(Error::Input(
                "the linear classifier diverged (a gradient was not finite): lower its learning rate with --lr".into(),
            ));
        }
        let mut tally = Tally::default();
        tally.add(&self.logits(features)?.f_log_softmax(1, None)?, labels)?;
        tally.read("the linear classifier")
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::Given;
    use super::*;

    #[test]
    fn presets_are_those_of_the_paper_and_of_the_code() {
        let rates = |preset: LinearPreset, classes| -> Vec<f64> {
            let (lr, decay_at) = (preset.lr(classes), preset.decay_at());
            let training = Training { name: "linear", epochs: 100, lr, decay_at };
            [0, 29, 30, 59, 60, 79, 80, 99].map(|epoch| training.rate(epoch)).to_vec()
        };
        let near = |found: Vec<f64>, wanted: [f64; 8]| {
            assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?} {wanted:?}");
        };
        near(rates(LinearPreset::Paper, 200), [0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3, 1e-3, 1e-3]);
        near(rates(LinearPreset::Code, 10), [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01]);
        near(rates(LinearPreset::Paper, 1000), [30.0, 30.0, 3.0, 3.0, 0.3, 0.3, 0.3, 0.3]);
        // The steps keep their place in a shorter training.
        let short = Training { name: "linear", epochs: 10, lr: 0.1, decay_at: vec![30, 60] };
        assert_eq!([2, 3, 6].map(|epoch| short.rate(epoch) < 0.02), [false, true, true]);
    }

    #[test]
    fn a_classifier_learns_what_is_linear_and_a_wild_rate_is_told() {
        let features = Given::perfect();
        let make = || Classifier::new(&features, Device::Cpu, 0.1, Streams::new(1)).expect("a classifier");
        let (given, labels) = features.whole(Split::Labelled).expect("features");
        let mut classifier = make();
        let before = classifier.measure(&given, &labels).expect("figures").loss;
        for _ in 0..50 {
            classifier.learn(&given, &labels, 0.5).expect("a step");
        }
        let found = classifier.measure(&given, &labels).expect("figures");
        assert!(found.top1 == 100.0 && found.loss < 0.5 * before, "{found:?}, loss {before} before");
        let mut wild = make();
        for _ in 0..5 {
            wild.learn(&(&given * 1e30), &labels, 1e30).expect("a step");
        }
        let message = wild.measure(&given, &labels).expect_err("refused").to_string();
        assert!(message.contains("--lr"), "{message}");
    }
}
