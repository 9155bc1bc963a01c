//! Accuracies on a set, and over a run.

use serde::{Deserialize, Serialize};

/// Accuracy of one head on one set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Percent whose label is the first guess. Not a number, `null` in JSON, of a network whose values are not finite for
    /// every image: what it guesses then means nothing.
    #[serde(deserialize_with = "null_is_not_a_number")]
    pub top1: f64,
    /// Percent whose label is among the first five guesses (all, if there are fewer classes). As `top1` not a number.
    #[serde(deserialize_with = "null_is_not_a_number")]
    pub top5: f64,
    /// Mean cross-entropy; JSON has `null` where it is not finite.
    #[serde(deserialize_with = "null_is_not_a_number")]
    pub loss: f64,
    /// Images in the set.
    pub images: usize,
}

impl Accuracy {
    /// From sums over `images`: first guesses that are right, those among five, cross-entropies, and images with a value
    /// that is not finite. Tells where there is no accuracy for these.
    pub(crate) fn of_sums([top1, top5, loss, broken]: [f64; 4], images: usize, what: &str) -> Self {
        if broken > 0.0 {
            tracing::warn!(
                "{what} has no accuracy: its values are not finite for {broken} of {images} images, so the network has \
                 diverged"
            );
        }
        let over = |sum: f64| if broken > 0.0 { f64::NAN } else { sum / images as f64 };
        Self { top1: 100.0 * over(top1), top5: 100.0 * over(top5), loss: loss / images as f64, images }
    }
}

pub(super) fn null_is_not_a_number<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// Top-1 of one head over a run, in percent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadAccuracy {
    /// The best evaluation. Not a number, `null` in JSON, if none had an accuracy; in the same way below.
    #[serde(deserialize_with = "null_is_not_a_number")]
    pub best: f64,
    /// The last evaluation.
    #[serde(deserialize_with = "null_is_not_a_number")]
    pub last: f64,
    /// The median of the last ten: what the paper reports. An evaluation without an accuracy counts as the worst.
    #[serde(deserialize_with = "null_is_not_a_number")]
    pub median_last_10: f64,
    /// Top-5 at the last evaluation.
    #[serde(deserialize_with = "null_is_not_a_number")]
    pub top5: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_with_a_value_that_is_not_finite_has_no_accuracy() {
        let accuracy = Accuracy::of_sums([3.0, 4.0, 2.0, 1.0], 4, "`one_q`");
        assert!(accuracy.top1.is_nan() && accuracy.top5.is_nan() && accuracy.loss == 0.5);
        let text = serde_json::to_string(&accuracy).expect("JSON");
        let back: Accuracy = serde_json::from_str(&text).expect("an accuracy");
        assert!(back.top1.is_nan() && serde_json::to_string(&back).expect("JSON") == text);
        assert_eq!(Accuracy::of_sums([3.0, 4.0, 2.0, 0.0], 4, "`one_q`").top1, 75.0);
    }

    #[test]
    fn a_loss_that_is_not_finite_survives_a_checkpoint_header() {
        let accuracy = Accuracy { top1: 10.0, top5: 50.0, loss: f64::NAN, images: 3 };
        let text = serde_json::to_string(&accuracy).expect("JSON");
        let back: Accuracy = serde_json::from_str(&text).expect("an accuracy");
        assert!(back.loss.is_nan() && serde_json::to_string(&back).expect("JSON") == text);
    }
}
