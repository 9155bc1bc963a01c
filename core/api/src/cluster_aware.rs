//! Partners by pseudo label: the pairing `ClusterAware`.

use admix_torch::{Kind, Tensor};

use crate::{Draws, Error, Result};

/// The random choices of a cluster-aware pairing, which are made on the host: the labels are not known there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shuffle {
    /// A random order of the samples.
    pub(crate) order: Vec<i64>,
    /// For each sample a coin: 1 stays with its label, with the probability that was asked for.
    pub(crate) inside: Vec<i64>,
}

/// The names of a plan's values for a cluster-aware pairing. They come after "partner": a plan that crosses a boundary
/// does so in the order of names, and partners that are given end a pairing that was planned before them.
pub(crate) const SHUFFLE: [&str; 2] = ["partner_inside", "partner_order"];

impl Shuffle {
    pub(crate) fn draw(n: usize, share: f64, draws: &mut Draws) -> Self {
        let order = draws.permutation(n);
        Self { order, inside: (0..n).map(|_| i64::from(draws.coin(share))).collect() }
    }

    /// Partners for samples that are all of different labels: a random cyclic order.
    pub(crate) fn cyclic(&self) -> Vec<i64> {
        let mut partner = vec![0; self.order.len()];
        for (place, own) in self.order.iter().enumerate() {
            partner[*own as usize] = self.order[(place + 1) % self.order.len()];
        }
        partner
    }
}

/// Partners `[N]` int64 for pseudo labels `[N]` int64: a permutation, without fixed points unless N is 1.
///
/// `order [N]` int64 is a random permutation of the samples, `inside [N]` int64 a coin for each. In the random order, the
/// samples of each label are cut into twos (the last into a three); one whose first sample has the coin 1 stays with its
/// label: there each sample meets the next of its label that stays, the last the first. All others, and those that are
/// alone with their label, meet the next of the rest in the random order. So a sample whose label is there twice meets
/// one of its label with the coin's probability, and else by chance alone. One that is left over alone joins a label.
///
/// Sorts, scans and gathers of whole numbers: no host sync, no shape that depends on values, the same on every device.
///
/// # Errors
/// Other shapes or kinds.
pub fn cluster_aware(pseudo: &Tensor, order: &Tensor, inside: &Tensor) -> Result<Tensor> {
    let n = order.size1()?;
    if pseudo.size() != [n] || pseudo.kind() != Kind::Int64 {
        return Err(Error::shape(
            format!("pseudo labels of {:?}", pseudo.kind()),
            pseudo.size(),
            format!("[{n}] int64"),
        ));
    }
    if n == 0 {
        return Ok(order.shallow_clone());
    }
    let index = Tensor::f_arange(n, (Kind::Int64, order.device()))?;

    // In the random order of each label: where its run begins, how long it is.
    let (by_label, runs) = runs(order, pseudo, &index)?;
    let last = last_of_run(&runs, &index)?;
    let first = first_of_run(&runs, &index)?;
    let length = last.f_sub(&first)?.f_add_scalar(1)?;
    let place = index.f_sub(&first)?;
    // The first of each two; an odd one at the end belongs to the two before it.
    let odd_end = index.f_eq_tensor(&last)?.f_logical_and(&place.f_remainder(2)?.f_eq(0)?)?;
    let odd_end = odd_end.f_logical_and(&length.f_gt(1)?)?;
    let head =
        index.f_sub(&place.f_remainder(2)?)?.f_sub(&odd_end.f_to_kind(Kind::Int64)?.f_mul_scalar(2)?)?;
    let stays = inside.f_index_select(0, &by_label)?.f_index_select(0, &head)?.f_gt(0)?;
    let stays = stays.f_logical_and(&length.f_gt(1)?)?;

    // Those that stay keep their label's run as their group; the rest is one group, the last.
    let group = first.f_where_self(&stays, &index.f_full_like(n)?)?;
    let group = group.f_zeros_like()?.f_scatter(0, &by_label, &group)?;
    let (by_group, starts) = self::runs(order, &group, &index)?;
    let alone = group.f_index_select(0, &by_group)?.f_eq(n)?.f_logical_and(&index.f_eq(n - 1)?)?;
    let starts = starts.f_logical_and(&alone.f_logical_not()?)?.f_logical_or(&index.f_eq(0)?)?;
    let first = first_of_run(&starts, &index)?;
    let ends = index.f_eq_tensor(&last_of_run(&starts, &index)?)?;
    let next = first.f_where_self(&ends, &index.f_add_scalar(1)?)?;
    let partners = by_group.f_index_select(0, &next)?;
    Ok(partners.f_zeros_like()?.f_scatter(0, &by_group, &partners)?)
}

/// The samples sorted by key, those of one key in the given order; and whether a new key begins at each place.
fn runs(order: &Tensor, key: &Tensor, index: &Tensor) -> Result<(Tensor, Tensor)> {
    let (sorted, places) = key.f_index_select(0, order)?.f_sort_stable(true, 0, false)?;
    let before = sorted.f_roll([1i64], [0i64])?;
    let begins = sorted.f_ne_tensor(&before)?.f_logical_or(&index.f_eq(0)?)?;
    Ok((order.f_index_select(0, &places)?, begins))
}

/// The place at which the run of each place begins.
fn first_of_run(begins: &Tensor, index: &Tensor) -> Result<Tensor> {
    Ok(index.f_where_self(begins, &index.f_zeros_like()?)?.f_cummax(0)?.0)
}

/// The place at which the run of each place ends: itself or later.
fn last_of_run(begins: &Tensor, index: &Tensor) -> Result<Tensor> {
    let end = index.size1()? - 1;
    let is_last = begins.f_roll([-1i64], [0i64])?.f_logical_or(&index.f_eq(end)?)?;
    let marked = index.f_where_self(&is_last, &index.f_full_like(end)?)?;
    Ok(marked.f_flip([0])?.f_cummin(0)?.0.f_flip([0])?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::Streams;

    /// The partners of these labels by one draw.
    fn partners(labels: &[i64], share: f64, seed: u64) -> Vec<i64> {
        let shuffle = Shuffle::draw(labels.len(), share, &mut Streams::new(seed).draws("mix", "t", 0, 0));
        let tensor = |values: &[i64]| Tensor::from_slice(values);
        let found = cluster_aware(&tensor(labels), &tensor(&shuffle.order), &tensor(&shuffle.inside));
        Vec::try_from(found.expect("partners")).expect("whole numbers")
    }

    /// The same in words: twos of each label, then cycles.
    fn slowly(labels: &[i64], share: f64, seed: u64) -> Vec<i64> {
        let shuffle = Shuffle::draw(labels.len(), share, &mut Streams::new(seed).draws("mix", "t", 0, 0));
        let mut of_label: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for own in &shuffle.order {
            of_label.entry(labels[*own as usize]).or_default().push(*own);
        }
        let mut staying: Vec<Vec<i64>> = Vec::new();
        for all in of_label.values().filter(|all| all.len() > 1) {
            let twos = all.len() / 2;
            let mut stay = Vec::new();
            for two in 0..twos {
                let end = if two + 1 == twos { all.len() } else { 2 * two + 2 };
                if shuffle.inside[all[2 * two] as usize] == 1 {
                    stay.extend_from_slice(&all[2 * two..end]);
                }
            }
            staying.push(stay);
        }
        staying.retain(|stay| !stay.is_empty());
        // The order within a group is the random one.
        let rest: Vec<i64> = shuffle
            .order
            .iter()
            .copied()
            .filter(|own| !staying.iter().any(|stay| stay.contains(own)))
            .collect();
        match (&rest[..], staying.last_mut()) {
            ([one], Some(label)) => label.push(*one),
            _ => staying.push(rest),
        }
        let mut partner = vec![0; labels.len()];
        for cycle in staying {
            for (place, own) in cycle.iter().enumerate() {
                partner[*own as usize] = cycle[(place + 1) % cycle.len()];
            }
        }
        partner
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn partners_are_a_permutation_in_which_nobody_meets_itself(
            labels in proptest::collection::vec(-3i64..6, 1..40), share in 0.0..=1.0f64, seed in 0u64..1000,
        ) {
            let found = partners(&labels, share, seed);
            let mut sorted = found.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..labels.len() as i64).collect::<Vec<_>>());
            prop_assert!(labels.len() == 1 || found.iter().enumerate().all(|(own, other)| own as i64 != *other));
            prop_assert_eq!(&found, &partners(&labels, share, seed), "the same draws, the same partners");
            prop_assert_eq!(found, slowly(&labels, share, seed));
        }
    }

    /// Of the samples whose label is there twice, the share that meets its own label, over many batches.
    fn measured(labels: &[i64], share: f64) -> f64 {
        let (mut met, mut all) = (0, 0);
        for seed in 0..400 {
            let found = partners(labels, share, seed);
            for (own, other) in found.iter().enumerate() {
                if labels.iter().filter(|label| **label == labels[own]).count() > 1 {
                    all += 1;
                    met += i32::from(labels[own] == labels[*other as usize]);
                }
            }
        }
        f64::from(met) / f64::from(all)
    }

    #[test]
    fn the_share_that_meets_its_own_label_is_the_one_that_was_asked_for() {
        let twice: Vec<i64> = (0..60).map(|i| i % 30).collect();
        let thrice: Vec<i64> = (0..60).map(|i| i % 20).collect();
        let mixed: Vec<i64> = (0..60).map(|i| i % 7 * i64::from(i < 40) + i * i64::from(i >= 40)).collect();
        for share in [0.0, 0.25, 0.5, 0.9, 1.0] {
            for labels in [&twice, &thrice, &mixed] {
                // 400 batches of at least 40 samples in twos and threes: five standard errors are below 0.03. The rest
                // meets its own label by chance, at most one in ten of all.
                let found = measured(labels, share);
                assert!(found > share - 0.03 && found < share + 0.1, "{share}: {found:.3}");
            }
        }
        assert_eq!(measured(&twice, 1.0), 1.0);
        assert_eq!(measured(&[4; 9], 0.3), 1.0, "one label alone");
    }

    #[test]
    fn samples_that_nobody_shares_a_label_with_meet_in_a_random_cyclic_order() {
        let labels: Vec<i64> = (0..6).collect();
        let mut seen = BTreeMap::new();
        for seed in 0..600 {
            *seen.entry(partners(&labels, 1.0, seed)[0]).or_insert(0) += 1;
        }
        // 120 each; five standard errors are 49.
        assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert!(seen.values().all(|count: &i32| (count - 120).abs() < 49), "{seen:?}");
    }

    #[test]
    fn labels_of_another_shape_or_kind_are_refused() {
        let one = Tensor::from_slice(&[0i64, 1, 2]);
        let message = |labels: &Tensor| cluster_aware(labels, &one, &one).expect_err("refused").to_string();
        assert!(message(&one.narrow(0, 0, 2)).contains("[3] int64"));
        assert!(message(&one.to_kind(Kind::Float)).contains("[3] int64"));
    }
}
