//! Clusterers: pseudo labels for data without labels, kept beside the networks and moved by the training itself.

mod clusterer;
mod contract;
mod kind;
mod kmeans;
mod odc;

pub use clusterer::{Clusterer, ClustererConfig};
pub use kmeans::k_means;
pub use odc::{Odc, OdcClusterer, Reweight};
