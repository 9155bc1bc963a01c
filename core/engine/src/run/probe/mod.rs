//! Evaluation of features by what is put on top of them: k nearest neighbours, or a linear classifier.
//!
//! Features are the last stage's map of one network, averaged over its cells: evaluation mode, no graph.

mod knn;
mod linear;
mod protocol;

use std::collections::BTreeMap;

use admix_data::{Dataset, Split};
use admix_torch::{Device, Kind, Tensor};

use crate::method::broken;
use crate::precision::Precision;
use crate::recipe::Recipe;
use crate::run::evaluate::Accuracy;
use crate::session::Session;
use crate::text::list;
use crate::world::{Net, World};
use crate::{Error, Result};

pub use knn::{Knn, knn};
pub use linear::{LinearPreset, LinearProbe, LinearReport, linear};
pub use protocol::Protocol;

/// The probes of a recipe's `evaluate.probes`, with their default settings, on its first trained network: by
/// `<protocol>_<network>`.
///
/// # Errors
/// Training images without labels, or libtorch refused.
pub fn probes(session: &Session, dataset: &Dataset, recipe: &Recipe) -> Result<BTreeMap<String, Accuracy>> {
    let mut found = BTreeMap::new();
    for protocol in &recipe.evaluate.probes {
        let name = probed(&session.world(), None)?.name.clone();
        let accuracy = match protocol {
            Protocol::Knn => knn(session, dataset, None, &Knn::default(), recipe.evaluate.batch)?,
            Protocol::Linear | Protocol::LinearCached => {
                let cached = *protocol == Protocol::LinearCached;
                let settings = LinearProbe::preset(LinearPreset::Paper, &recipe.data);
                let settings = LinearProbe { cached, ..settings };
                linear(session, dataset, None, &settings, recipe.evaluate.batch, &mut |_, _| {})?.last
            }
        };
        found.insert(format!("{}_{name}", protocol.name()), accuracy);
    }
    Ok(found)
}

/// The network of this name, or the first trained one.
fn probed<'a>(world: &'a World, name: Option<&str>) -> Result<&'a Net> {
    let found = match name {
        Some(name) => world.nets.iter().find(|net| net.name == name),
        None => world.nets.iter().find(|net| net.trained),
    };
    found.ok_or_else(|| {
        let names = || world.nets.iter().map(|net| net.name.as_str());
        let name = name.unwrap_or_default();
        Error::Input(format!(
            "no network named `{name}`; there is {}{}",
            list(names()),
            admix_api::did_you_mean(name, names())
        ))
    })
}

/// Width of a network's features.
fn width(net: &Net) -> i64 {
    let backbone = net.network.backbone();
    backbone.channels(backbone.stages())
}

/// Features `[N, C]` float32 of images `[N, C, H, W]`.
fn features(precision: Precision, net: &Net, images: &Tensor) -> Result<Tensor> {
    let _guard = admix_torch::no_grad();
    let map = {
        let _low = precision.enter(images.device())?;
        net.network.backbone().forward(images, &admix_models::Pass::EVALUATE)?
    };
    Ok(map.summary()?.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float)?)
}

/// Features `[n, C]` of a whole split as it is, and its labels `[n]`.
fn all_features(
    world: &World,
    net: &Net,
    dataset: &Dataset,
    split: Split,
    batch: usize,
) -> Result<(Tensor, Tensor)> {
    let total = dataset.len(split);
    let mut parts = Vec::new();
    for start in (0..total).step_by(batch) {
        let images = dataset.clean_batch(split, start, batch.min(total - start))?.images;
        parts.push(features(world.precision, net, &images)?);
    }
    Ok((Tensor::f_cat(&parts, 0)?, dataset.labels(split).shallow_clone()))
}

/// Refuses data without labels.
///
/// # Errors
/// A training or test image has none.
pub(super) fn needs_labels(dataset: &Dataset, protocol: Protocol) -> Result<()> {
    for (split, word) in [(Split::Labelled, "training"), (Split::Test, "test")] {
        let labels = dataset.labels(split);
        if labels.numel() == 0 || labels.f_min()?.f_int64_value(&[])? < 0 {
            return Err(Error::Input(format!(
                "the {word} images of `{}` have no labels, which the protocol {} needs: choose a labelled part of the \
                 data",
                dataset.info().name,
                protocol.name()
            )));
        }
    }
    Ok(())
}

/// Sums over a set, on the device until they are read.
#[derive(Debug, Default)]
struct Tally {
    sums: Option<Tensor>,
    images: usize,
}

impl Tally {
    /// Adds logarithms of probabilities `[N, K]` against labels `[N]`.
    fn add(&mut self, log_p: &Tensor, labels: &Tensor) -> Result<()> {
        let (n, classes) = log_p.size2()?;
        let column = labels.f_unsqueeze(1)?;
        let (_, guesses) = log_p.f_topk(5.min(classes), 1, true, true)?;
        let hits = guesses.f_eq_tensor(&column)?.f_to_kind(Kind::Float)?;
        let loss = log_p.f_gather(1, &column, false)?.f_sum(Kind::Float)?.f_neg()?;
        let first = hits.f_narrow(1, 0, 1)?.f_sum(Kind::Float)?;
        let all = [first, hits.f_sum(Kind::Float)?, loss, broken(log_p)?];
        let sums = Tensor::f_stack(&all, 0)?.f_to_kind(Kind::Double)?;
        self.sums = Some(match self.sums.take() {
            Some(before) => before.f_add(&sums)?,
            None => sums,
        });
        self.images += n as usize;
        Ok(())
    }

    fn read(self, what: &str) -> Result<Accuracy> {
        let none = || Error::Input("there is no image to evaluate on".into());
        let sums = self.sums.ok_or_else(none)?.f_to_device(Device::Cpu)?;
        let sums: [f64; 4] = Vec::<f64>::try_from(&sums)?.try_into().map_err(|_| none())?;
        Ok(Accuracy::of_sums(sums, self.images, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_counts_first_and_first_five_guesses() {
        let scores = Tensor::arange(7, (Kind::Float, Device::Cpu)).repeat([4, 1]);
        let mut tally = Tally::default();
        // Guesses go 6, 5, 4, 3, 2, 1, 0.
        for labels in [[6i64, 2], [1, 6]] {
            let rows = scores.narrow(0, 0, 2).log_softmax(1, Kind::Float);
            tally.add(&rows, &Tensor::from_slice(&labels)).expect("a batch");
        }
        let found = tally.read("k-NN").expect("figures");
        assert_eq!((found.top1, found.top5, found.images), (50.0, 75.0, 4));
        assert!(Tally::default().read("k-NN").is_err());
    }
}
