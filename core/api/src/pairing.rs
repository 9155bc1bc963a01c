//! Who meets whom, and with which share: the settings that the host serves for every mixer.

use std::fmt;

use erased_serde::Deserializer as AnyDeserializer;
use serde::{Deserialize, Serialize};

use crate::ranges::{expect, within};
use crate::served::{Served, ServedSetting};
use crate::{Draws, Result};

/// How lambda is drawn for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum Per {
    /// One lambda for the whole batch, as in the authors' code of every policy.
    #[default]
    Batch,
    /// One lambda for each sample.
    Sample,
}

/// How partners are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub enum Partner {
    /// A uniform random permutation; a sample may meet itself.
    #[default]
    Permutation,
    /// A permutation without fixed points (random cyclic order).
    Derangement,
    /// Sample `i` meets sample `N - 1 - i`.
    Flip,
    /// A permutation without fixed points in which a share of the samples meet one of their own pseudo label, the rest
    /// one of any label (see [`cluster_aware`](crate::cluster_aware())). The mix must be given `pseudo`.
    ClusterAware {
        /// The probability that a sample meets one of its own pseudo label, if the batch has another of it; in [0, 1].
        #[serde(default = "half")]
        share: f64,
    },
}

fn half() -> f64 {
    Partner::SHARE
}

impl Partner {
    /// The share of [`Partner::ClusterAware`] unless another is given.
    pub const SHARE: f64 = 0.5;

    /// Whether no sample ever meets itself.
    pub fn never_itself(self) -> bool {
        matches!(self, Self::Derangement | Self::ClusterAware { .. })
    }

    /// Whether the pairing reads pseudo labels.
    pub fn needs_pseudo(self) -> bool {
        matches!(self, Self::ClusterAware { .. })
    }
}

/// As a recipe writes it.
impl fmt::Display for Partner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClusterAware { share } => write!(f, "ClusterAware(share: {share:?})"),
            plain => write!(f, "{plain:?}"),
        }
    }
}

/// Until when a run mixes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
pub enum Until {
    /// To its end.
    #[default]
    End,
    /// For so many epochs.
    Epochs(u64),
    /// For this share of its steps, in [0, 1].
    Share(f64),
}

/// The settings that the host serves for every mixer. In a recipe they stand beside the mixer's own:
/// `CutMix(alpha: 1.0, per: Sample)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pairing {
    /// lambda ~ Beta(alpha, alpha); > 0.
    pub alpha: f64,
    /// One lambda per batch or per sample.
    pub per: Per,
    /// Use max(lambda, 1 - lambda), so that the own image dominates.
    pub fold: bool,
    /// How partners are chosen.
    pub partner: Partner,
    /// The probability that a batch is mixed, in [0, 1]. A batch that is not keeps its images and labels.
    pub prob: f64,
    /// Until when batches are mixed.
    pub until: Until,
}

impl Default for Pairing {
    fn default() -> Self {
        Self {
            alpha: 1.0,
            per: Per::Batch,
            fold: false,
            partner: Partner::Permutation,
            prob: 1.0,
            until: Until::End,
        }
    }
}

impl Pairing {
    /// The defaults with another `alpha`.
    pub fn alpha(alpha: f64) -> Self {
        Self { alpha, ..Self::default() }
    }

    /// Whether some batches may stay unmixed.
    pub fn may_rest(&self) -> bool {
        self.prob < 1.0 || self.until != Until::End
    }

    /// Whether a batch is mixed after `epochs` whole epochs, at `progress` of the run, in [0, 1].
    pub fn mixes(&self, epochs: u64, progress: f64, draws: &mut Draws) -> bool {
        let is_over = match self.until {
            Until::End => false,
            Until::Epochs(most) => epochs >= most,
            Until::Share(most) => progress >= most,
        };
        !is_over && (self.prob >= 1.0 || draws.coin(self.prob))
    }
}

impl Served for Pairing {
    const FIELDS: &'static [&'static str] = &["alpha", "per", "fold", "partner", "prob", "until"];

    fn take(&mut self, field: &str, value: &mut dyn AnyDeserializer<'_>) -> Result<(), erased_serde::Error> {
        match field {
            "alpha" => self.alpha = erased_serde::deserialize(value)?,
            "per" => self.per = erased_serde::deserialize(value)?,
            "fold" => self.fold = erased_serde::deserialize(value)?,
            "prob" => self.prob = erased_serde::deserialize(value)?,
            "until" => self.until = erased_serde::deserialize(value)?,
            _ => self.partner = erased_serde::deserialize(value)?,
        }
        Ok(())
    }

    fn validate(&self) -> Result<()> {
        let good = self.alpha > 0.0 && self.alpha.is_finite();
        let wanted = "a number above 0 (lambda ~ Beta(alpha, alpha)); `prob: 0.0` switches mixing off";
        expect("alpha", self.alpha, good, wanted)?;
        within("prob", self.prob, 0.0, 1.0)?;
        if let Until::Share(share) = self.until {
            let wanted = "a share of the run in [0, 1]; `Epochs(N)` counts epochs";
            expect("until", share, (0.0..=1.0).contains(&share), wanted)?;
        }
        match self.partner {
            Partner::ClusterAware { share } => within("partner.share", share, 0.0, 1.0),
            _ => Ok(()),
        }
    }

    fn copy(&mut self, field: &str, from: &Self) {
        match field {
            "alpha" => self.alpha = from.alpha,
            "per" => self.per = from.per,
            "fold" => self.fold = from.fold,
            "prob" => self.prob = from.prob,
            "until" => self.until = from.until,
            _ => self.partner = from.partner,
        }
    }

    fn resolved(&self) -> serde_json::Map<String, serde_json::Value> {
        match serde_json::json!(self) {
            serde_json::Value::Object(all) => all,
            _ => serde_json::Map::new(),
        }
    }

    fn settings(&self) -> Vec<ServedSetting> {
        let one = |name, default, kind, doc| ServedSetting { name, default, kind, doc };
        vec![
            one("alpha", format!("{:?}", self.alpha), "number", "lambda ~ Beta(alpha, alpha); above 0."),
            one(
                "per",
                format!("{:?}", self.per),
                "Batch | Sample",
                "One lambda for the batch, or one for each sample.",
            ),
            one(
                "fold",
                self.fold.to_string(),
                "true or false",
                "Use max(lambda, 1 - lambda): the own image dominates.",
            ),
            one(
                "partner",
                self.partner.to_string(),
                "Permutation | Derangement | Flip | ClusterAware(share: number)",
                "How partners are chosen: any permutation, one without fixed points, sample i meets sample N - 1 - i, or \
                 one without fixed points in which a share of the samples meet one of their own pseudo label.",
            ),
            one(
                "prob",
                format!("{:?}", self.prob),
                "number",
                "The probability that a batch is mixed, in [0, 1]; a batch that is not keeps its images and labels.",
            ),
            one(
                "until",
                format!("{:?}", self.until),
                "End | Epochs(number) | Share(number)",
                "Until when batches are mixed: to the end of the run, for so many epochs, or for this share of its steps.",
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_written_as_a_recipe_reads_them() {
        let read = |text: &str| ron::from_str::<Partner>(text);
        for partner in [Partner::Flip, Partner::ClusterAware { share: 0.25 }] {
            assert_eq!(read(&partner.to_string()).expect("read"), partner);
        }
        assert_eq!(read("ClusterAware()").expect("read"), Partner::ClusterAware { share: 0.5 });
        assert!(read("ClusterAware(part: 0.5)").expect_err("refused").to_string().contains("part"));
        let wrong = Pairing { partner: Partner::ClusterAware { share: 1.5 }, ..Pairing::default() };
        assert!(wrong.validate().expect_err("refused").to_string().contains("partner.share is 1.5"));
    }

    #[test]
    fn a_share_of_the_batches_is_mixed_until_it_is_over() {
        let mut draws = crate::Streams::new(1).draws("test", "", 0, 0);
        let mut mixed = |prob, until, epochs, progress| {
            let pairing = Pairing { prob, until, ..Pairing::default() };
            (0..1000).filter(|_| pairing.mixes(epochs, progress, &mut draws)).count()
        };
        assert_eq!(mixed(1.0, Until::End, 9, 0.99), 1000);
        assert_eq!(mixed(0.0, Until::End, 0, 0.0), 0);
        assert!((200..300).contains(&mixed(0.25, Until::End, 0, 0.0)));
        assert_eq!((mixed(1.0, Until::Epochs(3), 2, 0.9), mixed(1.0, Until::Epochs(3), 3, 0.1)), (1000, 0));
        assert_eq!(
            (mixed(1.0, Until::Share(0.9), 7, 0.89), mixed(1.0, Until::Share(0.9), 0, 0.9)),
            (1000, 0)
        );
    }
}
