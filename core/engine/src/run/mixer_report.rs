//! What is measured of a mixer: whether its masks are alive, and how hard its images are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::run::accuracy::null_is_not_a_number;

/// The lambdas at which masks are measured and drawn.
pub const LAMBDAS: [f64; 5] = [0.1, 0.3, 0.5, 0.7, 0.9];
/// Of one mixer, by lambda as text.
pub type ByLambda = BTreeMap<String, MixerReport>;

/// How a mixer's masks look and how hard its images are, on the test set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MixerReport {
    /// Standard deviation of mask values within a mask, mean over masks. 0 for a constant mask.
    #[serde(deserialize_with = "null_is_not_a_number")]
    pub mask_std: f64,
    /// Mean over batches of |batch mean of the mask - lambda|.
    #[serde(deserialize_with = "null_is_not_a_number")]
    pub mean_gap: f64,
    /// The largest of these gaps.
    #[serde(deserialize_with = "null_is_not_a_number")]
    pub worst_gap: f64,
    /// Mixup cross-entropy of the momentum network on the mixer's images, and on MixUp images at the same lambdas and
    /// partners; absent where there are no heads, no classes or no pairs.
    #[serde(flatten)]
    pub losses: Option<MixLosses>,
    /// Pairs measured.
    pub pairs: usize,
}

/// How hard mixed images are for the network that trains the mixer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MixLosses {
    /// On the mixer's images.
    #[serde(deserialize_with = "null_is_not_a_number")]
    pub loss_mixed: f64,
    /// On MixUp images.
    #[serde(deserialize_with = "null_is_not_a_number")]
    pub loss_mixup: f64,
}

impl MixerReport {
    /// Over all lambdas: means, and the largest gap.
    pub fn mean(reports: &ByLambda) -> Self {
        let of = |value: &dyn Fn(&Self) -> f64| {
            reports.values().map(value).sum::<f64>() / reports.len().max(1) as f64
        };
        let loss = |value: fn(&MixLosses) -> f64| of(&|r| r.losses.as_ref().map_or(f64::NAN, value));
        let told = reports.values().all(|r| r.losses.is_some());
        Self {
            mask_std: of(&|r| r.mask_std),
            mean_gap: of(&|r| r.mean_gap),
            worst_gap: reports.values().map(|r| r.worst_gap).fold(0.0, f64::max),
            losses: told.then(|| MixLosses {
                loss_mixed: loss(|l| l.loss_mixed),
                loss_mixup: loss(|l| l.loss_mixup),
            }),
            pairs: reports.values().map(|r| r.pairs).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_losses_is_read_back_as_it_was_written() {
        let one = MixerReport { mask_std: 0.5, mean_gap: 0.0, worst_gap: 0.0, losses: None, pairs: 1 };
        let by_lambda = ByLambda::from([("0.3".into(), one)]);
        let text = serde_json::to_string(&by_lambda).expect("JSON");
        assert!(!text.contains("loss"), "{text}");
        assert_eq!(serde_json::from_str::<ByLambda>(&text).expect("a report"), by_lambda);
    }
}
