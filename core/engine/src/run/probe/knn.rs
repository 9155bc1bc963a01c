//! k nearest neighbours: each test image gets the class that its nearest training images vote for.
//!
//! Source  Wu et al., CVPR 2018, arXiv:1805.01978 (weighted votes; here over pooled features).

use admix_data::Split;
use admix_torch::{Kind, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::probe::{AfterEpoch, Features, Measured, Probe, probe};
use super::tally::Tally;
use crate::ranges::{expect, number};
use crate::{Error, Result};

/// Similarities that are held at once, at most.
const AT_ONCE: i64 = 1 << 25;
/// A class without a vote has this share.
const NO_VOTE: f64 = 1e-12;

/// Settings of the neighbours' vote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Knn {
    /// Neighbours that vote; no more than there are training images. Default 200.
    pub k: usize,
    /// A vote weighs exp(cosine / T). Default 0.07.
    pub temperature: f64,
}

impl Default for Knn {
    fn default() -> Self {
        Self { k: 200, temperature: 0.07 }
    }
}

probe! {
    Knn, "Knn", "knn",
    "Accuracy of the votes of the nearest training images.",
    source: "Wu et al., CVPR 2018, arXiv:1805.01978 (weighted votes)"
}

impl Probe for Knn {
    fn validate(&self) -> admix_api::Result<()> {
        expect("k", self.k, self.k > 0, "a whole number from 1")?;
        number("temperature", self.temperature, self.temperature > 0.0, "a number above 0")
    }

    /// Training and test images without augmentation. The loss is -log of the share of votes for the label, a share being
    /// 1e-12 at least.
    fn measure(&self, features: &dyn Features, _: AfterEpoch<'_>) -> Result<Measured> {
        let _guard = admix_torch::no_grad();
        let (given, labels) = features.whole(Split::Labelled)?;
        let given = admix_api::unit(&given)?;
        let (test, test_labels) = features.whole(Split::Test)?;
        let (total, batch) = (test.size()[0], features.batch());
        let mut tally = Tally::default();
        for start in (0..total).step_by(batch) {
            let count = (batch as i64).min(total - start);
            let queries = admix_api::unit(&test.f_narrow(0, start, count)?)?;
            let found = votes(&queries, &given, &labels, features.classes(), self)?;
            tally.add(&found.f_log()?, &test_labels.f_narrow(0, start, count)?)?;
        }
        // There are no more neighbours than training images.
        let mut decided = Map::new();
        let most = given.size()[0];
        if self.k as i64 > most {
            decided.insert("k".into(), json!(most));
        }
        Ok(Measured { accuracy: tally.read("k-NN")?, best_top1: None, decided })
    }

    fn resolved(&self) -> Json {
        json!(self)
    }
}

/// The share of votes for each class, `[N, classes]`, of queries `[N, D]` among references `[n, D]`, all of unit length.
fn votes(
    queries: &Tensor,
    references: &Tensor,
    labels: &Tensor,
    classes: i64,
    settings: &Knn,
) -> Result<Tensor> {
    let n = queries.size()[0];
    let (similarity, at) = nearest(queries, references, settings.k as i64, AT_ONCE)?;
    let each = labels.f_index_select(0, &at.f_reshape([-1])?)?.f_reshape(at.size())?;
    // Against the nearest one, so that no exponential overflows; the shares stay.
    let largest = similarity.f_narrow(1, 0, 1)?;
    let weights = similarity.f_sub(&largest)?.f_mul_scalar(1.0 / settings.temperature)?.f_exp()?;
    let votes = Tensor::f_zeros([n, classes], (Kind::Float, queries.device()))?;
    let votes = votes.f_scatter_add(1, &each, &weights)?;
    let whole = votes.f_sum_dim_intlist(1i64, true, None)?;
    Ok(votes.f_div(&whole)?.f_clamp_min(NO_VOTE)?)
}

/// The `k` references that are most alike, `[N, k]` each: similarities, largest first, and rows. They are taken in
/// parts, so that no more than `at_once` similarities are held.
fn nearest(queries: &Tensor, references: &Tensor, k: i64, at_once: i64) -> Result<(Tensor, Tensor)> {
    let (n, rows) = (queries.size()[0], references.size()[0]);
    let part = (at_once / n.max(1)).clamp(1, rows);
    let mut best: Option<(Tensor, Tensor)> = None;
    for start in (0..rows).step_by(part as usize) {
        let piece = references.f_narrow(0, start, part.min(rows - start))?;
        let similarity = queries.f_matmul(&piece.f_transpose(0, 1)?)?;
        let (values, at) = similarity.f_topk(k.min(piece.size()[0]), 1, true, true)?;
        let at = at.f_add_scalar(start)?;
        best = Some(match best {
            None => (values, at),
            Some((before, of)) => {
                let (all, places) = (Tensor::f_cat(&[before, values], 1)?, Tensor::f_cat(&[of, at], 1)?);
                let (values, which) = all.f_topk(k.min(all.size()[1]), 1, true, true)?;
                (values, places.f_gather(1, &which, false)?)
            }
        });
    }
    best.ok_or_else(|| Error::Input("there is no training image to vote".into()))
}

#[cfg(test)]
mod tests {
    use admix_api::contract::wild;

    use super::*;

    fn units(rows: i64, seed: f64) -> Tensor {
        admix_api::unit(&wild(&[rows, 8], seed, Kind::Float)).expect("units")
    }

    #[test]
    fn references_in_parts_have_the_same_neighbours() {
        let (queries, bank) = (units(5, 0.1), units(103, 0.2));
        for k in [1, 7, 103, 500] {
            let (whole, at) = nearest(&queries, &bank, k, 1 << 20).expect("neighbours");
            let (parts, of) = nearest(&queries, &bank, k, 5 * 10).expect("neighbours");
            assert_eq!(whole.size(), [5, k.min(103)]);
            assert!((whole - parts).abs().max().double_value(&[]) < 1e-6 && at.equal(&of), "k {k}");
        }
    }

    #[test]
    fn votes_weigh_the_exponential_of_the_cosine() {
        // Cosines 1, 0.6 and -1 with the query; classes 0, 1 and 1.
        let bank = Tensor::from_slice(&[1f32, 0.0, 0.6, 0.8, -1.0, 0.0]).reshape([3, 2]);
        let query = Tensor::from_slice(&[1f32, 0.0]).reshape([1, 2]);
        let labels = Tensor::from_slice(&[0i64, 1, 1]);
        let settings = Knn { k: 2, temperature: 0.5 };
        let found = votes(&query, &bank, &labels, 3, &settings).expect("votes");
        let own = (2.0f64).exp() / ((2.0f64).exp() + (1.2f64).exp());
        for (class, wanted) in [own, 1.0 - own, NO_VOTE].into_iter().enumerate() {
            assert!((found.double_value(&[0, class as i64]) - wanted).abs() < 1e-6, "class {class}");
        }
        let all = Knn { k: 200, temperature: 0.01 };
        let found = votes(
            &units(4, 0.3),
            &units(9, 0.4),
            &Tensor::zeros([9], (Kind::Int64, query.device())),
            3,
            &all,
        );
        assert_eq!(found.expect("votes").isfinite().all().int64_value(&[]), 1);
    }
}
