//! An approximation of the linear protocol: on features of the training images as they are, computed once.

use admix_data::Split;
use admix_torch::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::classifier::{LinearPreset, Training, validate};
use super::probe::{AfterEpoch, Features, Measured, Probe, probe};
use crate::Result;

/// Settings of the linear protocol on cached features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LinearCached {
    /// Whose learning rate and steps stand where `lr` and `decay_at` are not given. Default Paper.
    pub preset: LinearPreset,
    /// Passes over the training set. Default 100.
    pub epochs: u64,
    /// Images per step. Default 256.
    pub batch: usize,
    /// Learning rate of the first epochs. Default: the preset's.
    pub lr: Option<f64>,
    /// The learning rate is multiplied by 0.1 when so many percent of the epochs are done. Default: the preset's.
    pub decay_at: Option<Vec<u64>>,
}

impl Default for LinearCached {
    fn default() -> Self {
        let (preset, lr, decay_at) = Default::default();
        Self { preset, epochs: 100, batch: 256, lr, decay_at }
    }
}

probe! {
    LinearCached, "LinearCached", "linear-cached",
    "The same on features computed once, without augmentation: an approximation.",
    source: "as `linear`, without augmentation"
}

impl Probe for LinearCached {
    fn validate(&self) -> admix_api::Result<()> {
        validate(self.epochs, self.batch, self.lr, self.decay_at.as_deref())
    }

    fn measure(&self, features: &dyn Features, after: AfterEpoch<'_>) -> Result<Measured> {
        let training = Training {
            name: "linear-cached",
            epochs: self.epochs,
            lr: self.lr.unwrap_or_else(|| self.preset.lr(features.classes())),
            decay_at: self.decay_at.clone().unwrap_or_else(|| self.preset.decay_at()),
        };
        let (given, labels) = features.whole(Split::Labelled)?;
        let total = features.samples();
        training.measure(
            features,
            &|epoch, streams, learn| {
                let order = streams.draws("order", "", epoch, 0).permutation(total);
                let order = Tensor::f_from_slice(&order)?.f_to_device(given.device())?;
                for start in (0..total).step_by(self.batch) {
                    let count = self.batch.min(total - start);
                    let index = order.f_narrow(0, start as i64, count as i64)?;
                    learn(&given.f_index_select(0, &index)?, &labels.f_index_select(0, &index)?)?;
                }
                Ok(())
            },
            after,
        )
    }

    fn epochs(&self) -> Option<u64> {
        Some(self.epochs)
    }

    fn resolved(&self) -> Json {
        json!(self)
    }
}
