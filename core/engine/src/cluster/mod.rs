//! Clusterers: pseudo labels for data without labels, kept beside the networks and moved by the training itself.

mod kmeans;
mod odc;

use admix_torch::Device;
use serde::{Deserialize, Serialize};

use crate::Result;

pub use kmeans::k_means;
pub use odc::{Odc, OdcBank, Reweight};

/// A clusterer of a run.
#[derive(Debug)]
pub struct BankUnit {
    /// Its name in scripts.
    pub name: String,
    /// Its memory.
    pub bank: OdcBank,
}

/// Which clusterer, with its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ClustererConfig {
    /// Online deep clustering.
    Odc(Odc),
}

admix_api::plain!(ClustererConfig);

impl ClustererConfig {
    /// How many clusters there are.
    pub fn clusters(&self) -> i64 {
        match self {
            Self::Odc(odc) => odc.k,
        }
    }

    /// Checks every setting for a data set of so many samples: the field that is wrong, what it is and what was
    /// expected.
    ///
    /// # Errors
    /// A setting out of range, more clusters than the data can fill.
    pub fn check(&self, samples: usize) -> Result<(), (&'static str, String)> {
        match self {
            Self::Odc(odc) => odc.check(samples),
        }
    }

    /// The bank, empty: every sample in cluster 0, every feature 0.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn build(&self, samples: i64, width: i64, device: Device) -> Result<OdcBank> {
        match self {
            Self::Odc(odc) => OdcBank::new(odc.clone(), samples, width, device),
        }
    }
}
