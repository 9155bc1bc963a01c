//! The linear protocol: a linear classifier is trained on the features of a frozen network.
//!
//! Source  He et al., CVPR 2020, arXiv:1911.05722, section 4.1; the AMix paper, section 4.2 (learning rates and steps).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::classifier::{LinearPreset, Training, like_imagenet, validate};
use super::probe::{AfterEpoch, Features, Measured, Probe, TrainPass, probe};
use crate::Result;
use crate::ranges::number;

/// What the training images go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum LinearAugment {
    /// The paper's: crops of at least `least_area`, resized by a cubic filter to the size of the recipe's views, and
    /// flips.
    #[default]
    Crops,
    /// What the recipe's `data.augment` says.
    Recipe,
}

/// Settings of the linear protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Linear {
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
    /// What the training images go through. Default Crops.
    pub augment: LinearAugment,
    /// Area of the smallest crop, as a share of the image. Default: 0.08 for data of 1000 classes and more (ImageNet), else
    /// 0.2 (the paper's on STL-10).
    pub least_area: Option<f64>,
}

impl Default for Linear {
    fn default() -> Self {
        let (preset, lr, decay_at, augment, least_area) = Default::default();
        Self { preset, epochs: 100, batch: 256, lr, decay_at, augment, least_area }
    }
}

probe! {
    Linear, "Linear", "linear",
    "Accuracy of a linear classifier trained on the frozen network, images augmented.",
    source: "He et al., CVPR 2020, arXiv:1911.05722, section 4.1; the AMix paper, section 4.2"
}

impl Probe for Linear {
    fn validate(&self) -> admix_api::Result<()> {
        validate(self.epochs, self.batch, self.lr, self.decay_at.as_deref())?;
        let area = self.least_area.unwrap_or(1.0);
        number("least_area", area, area > 0.0 && area <= 1.0, "a number above 0 and up to 1")
    }

    fn measure(&self, features: &dyn Features, after: AfterEpoch<'_>) -> Result<Measured> {
        let classes = features.classes();
        let training = Training {
            name: "linear",
            epochs: self.epochs,
            lr: self.lr.unwrap_or_else(|| self.preset.lr(classes)),
            decay_at: self.decay_at.clone().unwrap_or_else(|| self.preset.decay_at()),
        };
        let usual = if like_imagenet(classes) { 0.08 } else { 0.2 };
        let least_area = match self.augment {
            LinearAugment::Crops => Some(self.least_area.unwrap_or(usual)),
            LinearAugment::Recipe => None,
        };
        let mut found = training.measure(
            features,
            &|epoch, streams, learn| {
                let order = streams.draws("order", "", epoch, 0).permutation(features.samples());
                features.pass(TrainPass { least_area, order, batch: self.batch, epoch, streams }, learn)
            },
            after,
        )?;
        found.decided.insert("least_area".into(), json!(least_area));
        Ok(found)
    }

    fn epochs(&self) -> Option<u64> {
        Some(self.epochs)
    }

    fn resolved(&self) -> Json {
        json!(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::Given;
    use super::*;

    #[test]
    fn crops_are_as_wide_as_the_paper_has_them_whatever_the_name_of_the_data() {
        let linear = Linear { epochs: 1, ..Linear::default() };
        for (classes, least, lr) in [(4, 0.2, 0.1), (999, 0.2, 0.1), (1000, 0.08, 30.0)] {
            let mut features = Given::perfect();
            features.classes = classes;
            let found = linear.measure(&features, &mut |_, _| {}).expect("figures");
            assert_eq!(features.areas.take(), [Some(least)], "{classes} classes");
            assert_eq!(found.decided["lr"], json!(lr), "{classes} classes");
        }
        let features = Given::perfect();
        let own = Linear { augment: LinearAugment::Recipe, ..linear };
        own.measure(&features, &mut |_, _| {}).expect("figures");
        assert_eq!(features.areas.take(), [None]);
    }
}
