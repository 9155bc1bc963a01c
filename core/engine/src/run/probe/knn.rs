//! k nearest neighbours: each test image gets the class that its nearest training images vote for.
//!
//! Source  Wu et al., CVPR 2018, arXiv:1805.01978 (weighted votes; here over pooled features).

use admix_data::{Dataset, Split};
use admix_torch::{Kind, Tensor};
use serde::{Deserialize, Serialize};

use super::{Protocol, Tally, all_features, features, needs_labels, probed};
use crate::run::evaluate::Accuracy;
use crate::session::Session;
use crate::{Error, Result};

/// Similarities that are held at once, at most.
const AT_ONCE: i64 = 1 << 25;
/// A class without a vote has this share.
const NO_VOTE: f64 = 1e-12;

/// Settings of the neighbours' vote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

/// Accuracy on the test set by the votes of the nearest training images, all without augmentation. `net` is a network's
/// name, or the first trained one. The loss is -log of the share of votes for the label, a share being 1e-12 at least.
///
/// # Errors
/// No such network, images without labels, settings out of range.
pub fn knn(
    session: &Session,
    dataset: &Dataset,
    net: Option<&str>,
    settings: &Knn,
    batch: usize,
) -> Result<Accuracy> {
    if settings.k == 0 || !(settings.temperature > 0.0 && settings.temperature.is_finite()) {
        return Err(Error::Input(format!(
            "k-NN with k {} and temperature {}: expected k from 1 and a temperature above 0",
            settings.k, settings.temperature
        )));
    }
    needs_labels(dataset, Protocol::Knn)?;
    let _guard = admix_torch::no_grad();
    let world = session.world();
    let net = probed(&world, net)?;
    let (bank, labels) = all_features(&world, net, dataset, Split::Labelled, batch)?;
    let bank = admix_api::unit(&bank)?;
    let classes = dataset.info().classes as i64;
    let total = dataset.len(Split::Test);
    let mut tally = Tally::default();
    for start in (0..total).step_by(batch) {
        let test = dataset.clean_batch(Split::Test, start, batch.min(total - start))?;
        let queries = admix_api::unit(&features(world.precision, net, &test.images)?)?;
        tally.add(&votes(&queries, &bank, &labels, classes, settings)?.f_log()?, &test.labels)?;
    }
    tally.read("k-NN")
}

/// The share of votes for each class, `[N, classes]`, of queries `[N, D]` among a bank `[n, D]`, all of unit length.
fn votes(queries: &Tensor, bank: &Tensor, labels: &Tensor, classes: i64, settings: &Knn) -> Result<Tensor> {
    let n = queries.size()[0];
    let (similarity, at) = nearest(queries, bank, settings.k as i64, AT_ONCE)?;
    let each = labels.f_index_select(0, &at.f_reshape([-1])?)?.f_reshape(at.size())?;
    // Against the nearest one, so that no exponential overflows; the shares stay.
    let largest = similarity.f_narrow(1, 0, 1)?;
    let weights = similarity.f_sub(&largest)?.f_mul_scalar(1.0 / settings.temperature)?.f_exp()?;
    let votes = Tensor::f_zeros([n, classes], (Kind::Float, queries.device()))?;
    let votes = votes.f_scatter_add(1, &each, &weights)?;
    let whole = votes.f_sum_dim_intlist(1i64, true, None)?;
    Ok(votes.f_div(&whole)?.f_clamp_min(NO_VOTE)?)
}

/// The `k` rows of a bank that are most alike, `[N, k]` each: similarities, largest first, and rows. The bank is taken in
/// parts, so that no more than `at_once` similarities are held.
fn nearest(queries: &Tensor, bank: &Tensor, k: i64, at_once: i64) -> Result<(Tensor, Tensor)> {
    let (n, rows) = (queries.size()[0], bank.size()[0]);
    let part = (at_once / n.max(1)).clamp(1, rows);
    let mut best: Option<(Tensor, Tensor)> = None;
    for start in (0..rows).step_by(part as usize) {
        let piece = bank.f_narrow(0, start, part.min(rows - start))?;
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
    fn a_bank_in_parts_has_the_same_neighbours() {
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
