//! The linear protocol: a linear classifier is trained on the features of a frozen backbone.
//!
//! Source  He et al., CVPR 2020, arXiv:1911.05722, section 4.1; the AMix paper, section 4.2 (learning rates and steps).

use admix_api::{Store, Streams};
use admix_data::{Augment, DataConfig, Dataset, Interpolation, Pass, ResizedCrop, Split};
use admix_models::{Head, LinearHead};
use admix_torch::{Kind, Reduction, Tensor};
use serde::{Deserialize, Serialize};

use super::{Protocol, Tally, all_features, features, needs_labels, probed, width};
use crate::method::broken;
use crate::optimizer::{Group, Optimizer};
use crate::optimizers::Sgd;
use crate::run::evaluate::Accuracy;
use crate::schedule;
use crate::session::Session;
use crate::world::Net;
use crate::{Error, Result};

/// Whose learning rates and steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum LinearPreset {
    /// The AMix paper: lr 0.1 (30 on ImageNet), times 0.1 at 30 % and 60 % of the epochs.
    #[default]
    Paper,
    /// The authors' code: lr 1 (30 on ImageNet), times 0.1 at 60 % and 80 %.
    Code,
}

/// Settings of the linear protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinearProbe {
    /// Whether features are computed once, from training images without augmentation: an approximation.
    pub cached: bool,
    /// What the training images go through; `None`: what the data set's own say. Features that are cached know none.
    pub augment: Option<Augment>,
    /// Passes over the training set. Default 100.
    pub epochs: u64,
    /// Images per step. Default 256.
    pub batch: usize,
    /// Learning rate of the first epochs, for this batch.
    pub lr: f64,
    /// The learning rate is multiplied by 0.1 when so many percent of the epochs are done.
    pub decay_at: Vec<u64>,
}

impl LinearProbe {
    /// The settings of a preset for a data set: 100 epochs, batches of 256, momentum 0.9, no weight decay; resized crops
    /// by a cubic filter and flips, of areas from 0.08 on ImageNet and from 0.2 elsewhere (the paper's on STL-10).
    /// Views have the size that the data's own have.
    pub fn preset(preset: LinearPreset, data: &DataConfig) -> Self {
        let (lr, decay_at) = match preset {
            LinearPreset::Paper => (0.1, vec![30, 60]),
            LinearPreset::Code => (1.0, vec![60, 80]),
        };
        let imagenet = data.name.starts_with("imagenet");
        let lr = if imagenet { 30.0 } else { lr };
        let scale = (if imagenet { 0.08 } else { 0.2 }, 1.0);
        let size = data.augment.size();
        let crop =
            ResizedCrop { size, scale, interpolation: Interpolation::Bicubic, ..ResizedCrop::default() };
        let augment = Some(Augment::ResizedCrop(crop));
        Self { cached: false, augment, epochs: 100, batch: 256, lr, decay_at }
    }

    fn protocol(&self) -> Protocol {
        if self.cached { Protocol::LinearCached } else { Protocol::Linear }
    }

    /// The learning rate of an epoch, from 0.
    fn rate(&self, epoch: u64) -> f64 {
        let at: Vec<u64> =
            self.decay_at.iter().map(|percent| (percent * self.epochs).div_ceil(100)).collect();
        schedule::milestones(self.lr, 0.1, &at, epoch)
    }
}

/// What a linear classifier reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinearReport {
    /// On the test set after the last epoch.
    pub last: Accuracy,
    /// The best top-1 of any epoch, in percent. Not a number if there is none.
    pub best_top1: f64,
    /// Width of the features.
    pub width: i64,
}

/// Trains a linear classifier on the features of a network (by name, or the first trained one) and measures it on the test
/// set after each epoch, calling `after` with the epoch, from 1. The classifier starts from N(0, 0.01^2) and biases
/// 0; its draws are those of the run's seed. Features are not normalised.
///
/// # Errors
/// No such network, images without labels, settings out of range, a classifier that diverges, and a tensor of the
/// network that is not what it was, to the bit, after the first or the last epoch.
pub fn linear(
    session: &Session,
    dataset: &Dataset,
    net: Option<&str>,
    settings: &LinearProbe,
    batch: usize,
    after: &mut dyn FnMut(u64, &Accuracy),
) -> Result<LinearReport> {
    if settings.epochs == 0 || settings.batch == 0 || !(settings.lr > 0.0 && settings.lr.is_finite()) {
        return Err(Error::Input(format!(
            "linear evaluation with {} epochs, batches of {} and lr {}: expected whole numbers from 1 and a learning rate \
             above 0",
            settings.epochs, settings.batch, settings.lr
        )));
    }
    needs_labels(dataset, settings.protocol())?;
    let augment = settings.augment.as_ref().filter(|_| !settings.cached);
    let own = augment.map(|augment| dataset.augmented_by(augment)).transpose()?;
    let dataset = own.as_ref().unwrap_or(dataset);
    let world = session.world();
    let net = probed(&world, net)?;
    let frozen = Frozen::of(net)?;
    let streams = world.streams.fork("linear");
    let mut classifier = Classifier::new(net, dataset.info().classes as i64, settings, streams)?;
    let (test, test_labels) = all_features(&world, net, dataset, Split::Test, batch)?;
    let unusable = broken(&test)?.f_double_value(&[])?;
    if unusable > 0.0 {
        let last = Accuracy::of_sums(
            [0.0, 0.0, f64::NAN, unusable],
            test.size()[0] as usize,
            settings.protocol().name(),
        );
        return Ok(LinearReport { last, best_top1: f64::NAN, width: width(net) });
    }
    let cache = if settings.cached {
        Some(all_features(&world, net, dataset, Split::Labelled, batch)?)
    } else {
        None
    };
    let total = dataset.len(Split::Labelled);
    let mut last = None;
    // `max` passes over what is not a number.
    let mut best_top1 = f64::NAN;
    for epoch in 0..settings.epochs {
        let mut draws = streams.draws("order", "", epoch, 0);
        match &cache {
            Some((features, labels)) => {
                let order = dataset.order_of(Split::Labelled, &mut draws)?;
                for start in (0..total).step_by(settings.batch) {
                    let count = settings.batch.min(total - start);
                    let index = order.f_narrow(0, start as i64, count as i64)?;
                    let (given, labels) =
                        (features.f_index_select(0, &index)?, labels.f_index_select(0, &index)?);
                    classifier.learn(&given, &labels, settings.rate(epoch))?;
                }
            }
            None => {
                let mut loader = dataset.loader(Pass {
                    split: Split::Labelled,
                    order: draws.permutation(total),
                    batch: settings.batch,
                    batches: 0..total.div_ceil(settings.batch),
                    streams,
                    purpose: "augment".into(),
                    views: vec![String::new()],
                    epoch,
                    first_step: 0,
                })?;
                while let Some(batch) = loader.next_batch(dataset)? {
                    let given = features(world.precision, net, &batch.images)?;
                    classifier.learn(&given, &batch.labels, settings.rate(epoch))?;
                }
            }
        }
        if epoch == 0 || epoch + 1 == settings.epochs {
            frozen.check()?;
        }
        let accuracy = classifier.measure(&test, &test_labels)?;
        best_top1 = best_top1.max(accuracy.top1);
        after(epoch + 1, &accuracy);
        last = Some(accuracy);
    }
    let last = last.ok_or_else(|| Error::Input("linear evaluation without an epoch".into()))?;
    Ok(LinearReport { last, best_top1, width: width(net) })
}

/// One linear layer and its optimiser.
struct Classifier {
    head: LinearHead,
    optimizer: Optimizer,
    found_inf: Tensor,
}

impl Classifier {
    fn new(net: &Net, classes: i64, settings: &LinearProbe, streams: Streams) -> Result<Self> {
        let device = net.store.device();
        let store = Store::new(device, streams);
        let head = LinearHead::new(&store.root(), width(net), classes)?;
        let sgd = Sgd { lr: settings.lr, momentum: 0.9, weight_decay: 0.0, nesterov: false };
        let groups = vec![Group::new("linear", settings.lr, 0.0, None)];
        let mut optimizer = Optimizer::new(&sgd, groups, device)?;
        for (name, tensor, hints) in store.parameters() {
            optimizer.add(0, name, tensor, &hints)?;
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

/// Copies of a network's tensors, parameters and buffers, to tell whether one moved.
struct Frozen(Vec<(String, Tensor, Tensor)>);

impl Frozen {
    fn of(net: &Net) -> Result<Self> {
        let copied = |(name, live): (String, Tensor)| {
            let copy = live.f_detach_copy()?;
            Ok((name, live, copy))
        };
        Ok(Self(net.store.tensors().into_iter().map(copied).collect::<Result<_>>()?))
    }

    fn check(&self) -> Result<()> {
        let _guard = admix_torch::no_grad();
        for (name, live, copy) in &self.0 {
            if !live.f_equal(copy)? {
                return Err(Error::Input(format!(
                    "linear evaluation must leave the network alone, but its tensor `{name}` changed: the figures are \
                     worth nothing"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use admix_models::{BackboneConfig, ConvNetConfig, Network};
    use admix_torch::Device;

    use super::*;
    use crate::precision::Precision;

    fn net() -> Net {
        let store = Store::new(Device::Cpu, Streams::new(3));
        let config = BackboneConfig::ConvNet(ConvNetConfig { widths: vec![4, 6], strides: vec![1, 2] });
        let network = Network::build(&store.root(), &config, &["one".to_string()], 3, 3).expect("a network");
        Net { name: "q".into(), network, store, trained: true }
    }

    fn named(name: &str) -> DataConfig {
        DataConfig { name: name.into(), ..DataConfig::default() }
    }

    #[test]
    fn presets_crop_at_the_size_of_the_views_and_as_wide_as_the_paper() {
        let moco = Augment::Moco(admix_data::Moco { size: Some(96), ..admix_data::Moco::default() });
        for (name, least) in [("stl10", 0.2), ("cifar10", 0.2), ("imagenet", 0.08)] {
            let data = DataConfig { augment: moco.clone(), ..named(name) };
            let found = LinearProbe::preset(LinearPreset::Paper, &data).augment;
            let Some(Augment::ResizedCrop(crop)) = found else { panic!("{found:?}") };
            assert_eq!((crop.size, crop.scale, crop.flip), (Some(96), (least, 1.0), 0.5), "{name}");
            assert_eq!(crop.interpolation, Interpolation::Bicubic, "{name}");
        }
    }

    #[test]
    fn presets_are_those_of_the_paper_and_of_the_code() {
        let rates = |preset, name: &str| -> Vec<f64> {
            let settings = LinearProbe::preset(preset, &named(name));
            [0, 29, 30, 59, 60, 79, 80, 99].map(|epoch| settings.rate(epoch)).to_vec()
        };
        let near = |found: Vec<f64>, wanted: [f64; 8]| {
            assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?} {wanted:?}");
        };
        near(rates(LinearPreset::Paper, "stl10"), [0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3, 1e-3, 1e-3]);
        near(rates(LinearPreset::Code, "cifar10"), [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01]);
        near(rates(LinearPreset::Paper, "imagenet"), [30.0, 30.0, 3.0, 3.0, 0.3, 0.3, 0.3, 0.3]);
        // The steps keep their place in a shorter training.
        let short = LinearProbe { epochs: 10, ..LinearProbe::preset(LinearPreset::Paper, &named("stl10")) };
        assert_eq!([2, 3, 6].map(|epoch| short.rate(epoch) < 0.02), [false, true, true]);
    }

    #[test]
    fn a_backbone_that_moves_is_found_out() {
        let net = net();
        let frozen = Frozen::of(&net).expect("copies");
        let images = Tensor::ones([2, 3, 8, 8], (Kind::Float, Device::Cpu));
        let _ = features(Precision::Fp32, &net, &images).expect("features");
        frozen.check().expect("features in evaluation mode move nothing");
        let _ = net.network.backbone().forward(&images, true).expect("a train-mode pass");
        let message = frozen.check().expect_err("refused").to_string();
        assert!(message.contains("running_mean") && message.contains("leave the network alone"), "{message}");
    }

    #[test]
    fn a_classifier_learns_what_is_linear_and_a_wild_rate_is_told() {
        let settings = LinearProbe::preset(LinearPreset::Paper, &named("toy"));
        let make = || Classifier::new(&net(), 3, &settings, Streams::new(1)).expect("a classifier");
        let labels = Tensor::arange(60, (Kind::Int64, Device::Cpu)).remainder(3);
        let given =
            Tensor::zeros([60, 6], (Kind::Float, Device::Cpu)).scatter_value(1, &labels.unsqueeze(1), 1.0);
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
