//! Evaluation of features by what is put on top of them: k nearest neighbours, or a linear classifier.

mod classifier;
mod contract;
mod kind;
mod knn;
mod linear;
mod linear_cached;
mod network;
#[allow(clippy::module_inception, reason = "the file of the trait of this name")]
mod probe;
mod tally;

use std::collections::BTreeMap;

use admix_data::Dataset;

use crate::Result;
use crate::recipe::Recipe;
use crate::run::accuracy::Accuracy;
use crate::session::Session;

pub use classifier::LinearPreset;
pub use knn::Knn;
pub use linear::{Linear, LinearAugment};
pub use linear_cached::LinearCached;
pub(crate) use network::needs_labels;
pub use probe::{AfterEpoch, Features, Measured, Probe, ProbeChoice, TrainPass};

use network::NetworkFeatures;

/// Measures the features of a network by a probe: the network of this name, or the first trained one. `after` is called
/// after each epoch of a probe that trains.
///
/// # Errors
/// No such network, images without labels, settings out of range, and a tensor of the network that is not what it was,
/// bit for bit.
pub fn measure(
    probe: &ProbeChoice,
    session: &Session,
    dataset: &Dataset,
    recipe: &Recipe,
    net: Option<&str>,
    after: AfterEpoch<'_>,
) -> Result<Measured> {
    probe.validate()?;
    needs_labels(dataset, &probe.plugin)?;
    let world = session.world();
    let features = NetworkFeatures::new(&world, net, dataset, recipe)?;
    let found = probe.config.measure(&features, after)?;
    features.unchanged()?;
    Ok(found)
}

/// The probes of a recipe's `evaluate.probes` on its first trained network: by `<probe>_<network>`.
///
/// # Errors
/// Training images without labels, or libtorch refused.
pub fn probes(session: &Session, dataset: &Dataset, recipe: &Recipe) -> Result<BTreeMap<String, Accuracy>> {
    let mut found = BTreeMap::new();
    for probe in &recipe.evaluate.probes {
        let name = recipe.probe_name(probe);
        found.insert(name, measure(probe, session, dataset, recipe, None, &mut |_, _| {})?.accuracy);
    }
    Ok(found)
}
